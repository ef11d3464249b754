"""Skyquay beside others that do the same work, on one real mongod, as ratios.

`make bench` runs it and writes bench/RESULTS.md. Every server gets the same two processes, the same
documents and the same sixteen clients. They are asked in turn, round after round, so that whatever
else the machine does strikes each alike. What counts is the ratio to FastAPI in the same round: its
median, and the spread. Servers that are not asked stand still.
"""

import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import click
import psutil
import pymongo
import requests

from bench.database import start_mongod
from bench.load import CLIENTS, Load, Work, read_load, run_wrk
from bench.report import FIRST, OURS, BySize, Rates, describe_machine, print_growth, print_table
from bench.seed import KEY, fill

ROOT = Path(__file__).resolve().parent.parent
PEERS = ROOT / "bench" / "peers"
INSTALLED = ROOT / ".bench"
RESULTS = ROOT / "bench" / "RESULTS.md"
PROCESSES = 2
Database = pymongo.database.Database[dict[str, object]]
CHANGES_A_SECOND = 50

SMALL = 1000
"""Of how many instances the whole list is asked for, at most."""


def list_servers(port: int, log: Path) -> dict[str, tuple[list[str], dict[str, str]]]:
    """List the commands to compare, each with variables of its own."""
    python = str(INSTALLED / "venv" / "bin" / "python")
    uvicorn = [
        *(python, "-m", "uvicorn", "--workers", str(PROCESSES), "--port", str(port)),
        *("--no-access-log", "--log-level", "warning"),
        # It would end processes that stood still while others were asked.
        *("--timeout-worker-healthcheck", "3600"),
    ]
    granian = [
        *(python, "-m", "granian", "--interface", "wsgi", "--no-ws", "--port", str(port)),
        *("--workers", str(PROCESSES), "--blocking-threads", "4", "--log-level", "warning"),
    ]
    skyquay = [str(Path(sys.executable).with_name("skyquay")), "serve", "--no-worker"]
    return {
        FIRST: ([*uvicorn, "fastapi_peer:app"], {}),
        "FastAPI, the same work": ([*uvicorn, "fastapi_full_peer:app"], {"PEER_LOG": str(log)}),
        "Express": (
            ["node", "express_peer.js"],
            {
                "WORKERS": str(PROCESSES),
                "PORT": str(port),
                "NODE_PATH": str(INSTALLED / "node_modules"),
            },
        ),
        "bare Flask": ([*granian, "flask_peer:app"], {}),
        OURS: (
            skyquay,
            {
                "SKYQUAY_LISTEN": f"127.0.0.1:{port}",
                "SKYQUAY_PROCESSES": str(PROCESSES),
                "SKYQUAY_API_KEY": KEY,
                "SKYQUAY_SECRET_KEY": "a secret key of the bench",
                # Counted like FastAPI's, and never reached.
                "SKYQUAY_KEY_RATE": "100000000",
                "SKYQUAY_ADDRESS_RATE": "100000000",
            },
        ),
    }


class Server:
    """A server under load, with all of its processes."""

    def __init__(self, stack: ExitStack, name: str, uri: str, database: str, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        log = folder / f"{name}.log"
        words, environ = list_servers(port, log)[name]
        self.name = name
        self.url = f"http://127.0.0.1:{port}"
        peer = {"PEER_MONGODB_URI": uri, "PEER_DB": f"{database}_peer"}
        ours = {"SKYQUAY_MONGODB_URI": uri, "SKYQUAY_DATABASE": database}
        with log.open("wb") as output:
            process = subprocess.Popen(
                words,
                cwd=PEERS,
                env={**os.environ, **peer, **ours, **environ},
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        stack.callback(process.wait, 60)
        stack.callback(process.terminate)
        self._tree = psutil.Process(process.pid)

    def await_start(self) -> None:
        """Return when it answers. Raises ClickException when it does not within a minute."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                answer = requests.get(f"{self.url}/api/name", headers={"x-api-key": KEY}, timeout=5)
                answer.raise_for_status()
                return
            except requests.RequestException:
                time.sleep(0.1)
        raise click.ClickException(f"{self.name} does not start.")

    def load(self, work: Work, script: Path, seconds: int, mongod: Database) -> Load:
        """Have wrk send what the work is; return what it counted."""
        examined = count_examined(mongod)
        printed = run_wrk(self.url, work, script, seconds, etag=self._find_etag(work))
        examined = count_examined(mongod) - examined
        return read_load(printed, examined)

    def _find_etag(self, work: Work) -> str | None:
        if not work.knows:
            return None
        headers = {"x-api-key": KEY}
        return requests.get(self.url + work.path, headers=headers, timeout=30).headers.get("ETag")

    def largest_process_mib(self) -> float:
        """Return the memory of its largest process."""
        tree = [self._tree, *self._tree.children(recursive=True)]
        return max(each.memory_info().rss for each in tree) / 2**20

    def stand_still(self) -> None:
        """Stop all of its processes."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let them go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        for each in (self._tree, *self._tree.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):  # it was replaced
                each.send_signal(number)


def count_examined(mongod: Database) -> int:
    """Return how many documents mongod has examined so far for whatever query."""
    examined: int = mongod.command("serverStatus")["metrics"]["queryExecutor"]["scannedObjects"]
    return examined


@contextmanager
def changing(uri: str, database: str, ids: list[str]) -> Iterator[None]:
    """Change 1 % of these instances again and again, ours and the peers' alike."""
    ended = threading.Event()

    def change() -> None:
        with pymongo.MongoClient[dict[str, object]](uri) as client:
            ours, peer = (client[name]["instances"] for name in (database, f"{database}_peer"))
            while not ended.wait(1 / CHANGES_A_SECOND):
                some = {"$in": random.sample(ids, len(ids) // 100)}
                power = random.choice(("running", "stopped"))
                change = {"$set": {"power": power}, "$inc": {"revision": 1}}
                ours.update_many({"_id": some}, change)
                peer.update_many({"Id": some}, {"$set": {"power": power}})

    changer = threading.Thread(target=change)
    changer.start()
    try:
        yield
    finally:
        ended.set()
        changer.join()


def list_lookups(ids: list[str], user_ids: list[str]) -> list[Work]:
    """List what is to take as long however many instances there are."""
    return [
        Work("getInstance", "/api/getInstance", '{"id":"%s"}', ids),
        Work("getUserInstance (10)", "/api/getUserInstance", '{"userId":"%s"}', user_ids),
    ]


def list_small(ids: list[str], size: int) -> list[Work]:
    """List what is asked of few instances alone."""
    listed = f"list of {size:,}"
    return [
        Work(listed, "/api/instances"),
        Work(f"{listed}, 1 % changed since", "/api/instances", changes=ids),
        Work(f"{listed}, unchanged, If-None-Match", "/api/instances", knows=True),
        Work("GET /api/name", "/api/name"),
    ]


class Bench:
    """The databases of each size, and the rounds."""

    def __init__(self, stack: ExitStack, seconds: int, rounds: int) -> None:
        self.folder, self.mongod = start_mongod(stack)
        self._admin = stack.enter_context(pymongo.MongoClient[dict[str, object]](self.mongod.uri))[
            "admin"
        ]
        self._seconds, self._rounds = seconds, rounds

    def compare(self, size: int, names: list[str]) -> tuple[Rates, str]:
        """Ask these servers for the same; say how large their processes are afterwards."""
        database = f"bench_{size}"
        ids, user_ids = fill(self.mongod.uri, database, size)
        works = list_lookups(ids, user_ids) + (list_small(ids, size) if size <= SMALL else [])
        rates: Rates = {}
        with ExitStack() as stack:
            servers = self._start(stack, [(name, database) for name in names])
            for work in works:
                with ExitStack() as meanwhile:
                    if work.changes:
                        meanwhile.enter_context(changing(self.mongod.uri, database, work.changes))
                    loads = self._ask_in_turn([(server, work) for server in servers])
                rates[work.name] = dict(zip(names, loads, strict=True))
                click.echo(f"{size:,}: {work.name} {rates[work.name]}", err=True)
            memory = ", ".join(
                f"{server.name} {server.largest_process_mib():.0f} MiB" for server in servers
            )
        return rates, memory

    def compare_sizes(self, sizes: list[int], names: list[str]) -> dict[str, BySize]:
        """Ask each of these servers for the same of each size, in turn."""
        works = {
            size: [
                *list_lookups(*fill(self.mongod.uri, f"bench_{size}", size)),
                Work("page of 100", "/api/instances?limit=100", only_ours=True),
            ]
            for size in sizes
        }
        found: dict[str, BySize] = {}
        with ExitStack() as stack:
            by_name = {
                name: self._start(stack, [(name, f"bench_{size}") for size in sizes])
                for name in names
            }
            for of_sizes in zip(*works.values(), strict=True):
                work = of_sizes[0]
                found[work.name] = {}
                for name, servers in by_name.items():
                    if name == OURS or not work.only_ours:
                        loads = self._ask_in_turn(list(zip(servers, of_sizes, strict=True)))
                        found[work.name][name] = dict(zip(sizes, loads, strict=True))
                click.echo(f"by size: {work.name} {found[work.name]}", err=True)
        return found

    def _start(self, stack: ExitStack, wanted: list[tuple[str, str]]) -> list[Server]:
        servers = []
        for name, database in wanted:
            server = Server(stack, name, self.mongod.uri, database, self.folder)
            server.await_start()
            server.stand_still()
            stack.callback(server.go_on)
            servers.append(server)
        return servers

    def _ask_in_turn(self, asked: list[tuple[Server, Work]]) -> list[list[Load]]:
        loads: list[list[Load]] = [[] for _ in asked]
        for _ in range(self._rounds):
            for (server, work), of_server in zip(asked, loads, strict=True):
                server.go_on()
                server.await_start()
                script = self.folder / "work.lua"
                of_server.append(server.load(work, script, self._seconds, self._admin))
                server.stand_still()
        return loads


@click.command(help=__doc__)
@click.option("--sizes", default="1000,100000,1000000", show_default=True)
@click.option("--seconds", default=3, show_default=True, help="A server and round.")
@click.option("--rounds", default=5, show_default=True)
@click.option("--only", default=None, help="Names of servers, by commas.")
@click.option("--write/--no-write", default=True, help="Whether bench/RESULTS.md is written.")
def main(sizes: str, seconds: int, rounds: int, only: str | None, write: bool) -> None:
    """Measure, print, and write down."""
    names = only.split(",") if only else list(list_servers(0, Path("/dev/null")))
    report = [
        "# Results",
        "",
        f"Written by `make bench BENCH='--sizes {sizes} --seconds {seconds} --rounds {rounds}'`:",
        "see bench/compare.py. Ratios to FastAPI of the same round,",
        f"median (smallest-largest) of {rounds} rounds of {seconds} s; {PROCESSES} processes each,",
        f"{CLIENTS} clients, one mongod. {describe_machine(PEERS, INSTALLED)}.",
        "",
    ]
    with ExitStack() as stack:
        bench = Bench(stack, seconds, rounds)
        numbers = sorted(map(int, sizes.split(",")))
        for size in numbers:
            rates, memory = bench.compare(size, names)
            report += [*print_table(size, rates), f"Largest process after it: {memory}.", ""]
        if len(numbers) > 1:
            grown = bench.compare_sizes(numbers, [name for name in names if name in (FIRST, OURS)])
            report += print_growth(grown)
    click.echo("\n".join(report))
    if write:
        RESULTS.write_text("\n".join(report), "utf-8")


if __name__ == "__main__":
    main()
