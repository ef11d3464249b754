"""Kill the serving process at random moments, and prove that nothing acknowledged was lost.

Run `python -m tests.soak.crash --rounds 100`. Each round serves on one database, asks for deploys,
suspensions and deletions from several threads, kills one of the serving processes, or all, with
SIGKILL, serves again, waits until no operation is open, and compares what was acknowledged with the
documents, and the documents with the containers.
"""

import itertools
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import requests
from pymongo import MongoClient

from service import images, nodes, users
from service.app import make_drivers, utc_now
from service.config import Config
from service.drivers import NodeDriver
from service.model.documents import Image, Node, User
from service.model.lifecycle import OPEN
from service.model.node_policy import NodePolicy
from service.model.quantities import disk_mib
from service.serving import embedded_mongod
from service.store import Store
from tests.docker_images import SOCKET, ensure_image, require_engine
from tests.support import DEPLOY, SKYQUAY, a_deploy, eventually, free_port

KEY = "soak-key-0123456789abcdef"
IMAGE = "skyquay-soak/busybox:1"
SLEEP = "trap 'exit 0' TERM; while :; do sleep 0.2; done"
PORTS = 12
MEMORY_MIB = 64
ASKERS = 4
CONVERGE_S = 60.0


@dataclass
class Told:
    """What clients were told, over all rounds."""

    deployed: set[str] = field(default_factory=set)
    deleted: set[str] = field(default_factory=set)
    suspended: dict[str, bool] = field(default_factory=dict)
    unsure: set[str] = field(default_factory=set)
    """Instances of which a request had no answer: what it asked for may have happened."""
    outcomes: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass(frozen=True)
class Round:
    """One round: what was done, and what was found wrong."""

    kills: int
    converged_s: float
    lost: list[str]


class Arena:
    """One database and one node, which outlive all rounds, and the processes that serve them."""

    def __init__(self, config: Config, driver: str, stack: ExitStack) -> None:
        self.config = config
        self._stack = stack
        self.mongo: MongoClient[dict[str, Any]] = stack.enter_context(
            closing(MongoClient(config.mongodb_uri, tz_aware=True))
        )
        self.documents = self.mongo[config.database]
        self.store = stack.enter_context(closing(Store(config.mongodb_uri, config.database)))
        self.store.prepare()
        self.ports = [free_port() for _ in range(PORTS)]
        self.place = self._make_place(driver)
        self.driver: NodeDriver = stack.enter_context(
            closing(make_drivers(config, self.store)(self.node))
        )
        stack.callback(self._remove_everything)

    @property
    def node(self) -> Node:
        """The node that everything runs on."""
        return self.place[1]

    def _make_place(self, driver: str) -> tuple[User, Node, Image]:
        now = utc_now()
        user = users.create(
            self.store, username="soak", email="soak@example.org", password="soak", now=now
        )
        order: nodes.NodeOrder = {
            "name": "soak",
            "driver": driver,
            "ram": f"{MEMORY_MIB * 8}M",
            "address": f"unix://{SOCKET}",
        }
        node = nodes.create(
            self.store,
            make_drivers(self.config, self.store),
            order,
            policy=NodePolicy(allow_process=True),
            trusted_address=True,
            now=now,
        )
        image = {"name": "sleeper", "image": IMAGE, "cmd": SLEEP, "process": True}
        return user, node, images.put(self.store, image, now=now)

    def serve(self) -> "Served":
        """Start a process that serves and one that works, and wait until they are ready."""
        port = free_port()
        environ = {
            **os.environ,
            "SKYQUAY_MONGODB_URI": self.config.mongodb_uri,
            "SKYQUAY_DATABASE": self.config.database,
            "SKYQUAY_DATA_DIR": str(self.config.data_dir),
            "SKYQUAY_LISTEN": f"127.0.0.1:{port}",
            "SKYQUAY_API_KEY": KEY,
            "SKYQUAY_SECRET_KEY": "a secret key of the tests",
            "SKYQUAY_ALLOW_PROCESS": "1",
            "SKYQUAY_PROBE_INTERVAL_S": "2",
            "SKYQUAY_LOG_LEVEL": "WARNING",
            "SKYQUAY_PROCESSES": "1",
        }
        serve = [SKYQUAY, "serve", "--no-worker"]
        work = [sys.executable, "-m", "tests.brief_worker", "3"]
        processes = [
            subprocess.Popen(words, env=environ, stdout=subprocess.DEVNULL)
            for words in (serve, work)
        ]
        served = Served(processes, f"http://127.0.0.1:{port}")
        self._stack.callback(served.kill)
        if not eventually(served.is_ready, timeout_s=30):
            raise RuntimeError("skyquay did not become ready")
        return served

    def list_containers(self) -> dict[str, str]:
        """Tell the power of what the node has of this soak's, by instance id."""
        known = {operation["instance_id"] for operation in self.documents.operations.find()}
        return {
            name: status.power.value for name, status in self.driver.list().items() if name in known
        }

    def _remove_everything(self) -> None:
        for name in self.list_containers():
            self.driver.remove(name)


@dataclass
class Served:
    """A process that serves, and one that works for it: they crash together."""

    processes: "list[subprocess.Popen[bytes]]"
    url: str

    def is_ready(self) -> bool:
        """Ask it whether it can be used."""
        with suppress(requests.RequestException):
            return requests.get(f"{self.url}/readyz", timeout=2).status_code == 200
        return False

    def kill(self) -> None:
        """End both at once, as a crash does."""
        for process in self.processes:
            process.send_signal(signal.SIGKILL)
        for process in self.processes:
            process.wait()


@contextmanager
def open_arena(driver: str) -> Iterator[Arena]:
    """Make an arena, and remove everything in it at the end."""
    with ExitStack() as stack:
        if driver == "docker":
            with closing(require_engine()) as client:
                ensure_image(client, IMAGE)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="skyquay-soak-")))
        mongod = stack.enter_context(embedded_mongod.start(folder))
        config = Config(
            mongodb_uri=mongod.uri, database="soak", data_dir=folder, allow_process=True
        )
        yield Arena(config, driver, stack)


def play(arena: Arena, told: Told, lots: random.Random, *, processes: int) -> Round:
    """Play one round: ask, kill, serve again, wait, and look for what was lost."""
    serving = [arena.serve() for _ in range(processes)]
    over = threading.Event()
    with ThreadPoolExecutor(ASKERS) as threads:
        asked = [
            threads.submit(_ask, arena, told, random.Random(lots.random()), serving, over)
            for _ in range(ASKERS)
        ]
        time.sleep(lots.uniform(0.05, 1.5))  # the moment of the crash is what is random here
        victims = lots.sample(serving, lots.randint(1, processes))
        for victim in victims:
            victim.kill()
        over.set()
        for one in asked:
            one.result()

    began = time.monotonic()
    last = arena.serve()
    converged = eventually(lambda: not _list_open(arena), timeout_s=CONVERGE_S)
    took_s = time.monotonic() - began
    lost = [] if converged else [f"still open: {_list_open(arena)}"]
    lost += find_lost(arena, told)
    for served in [last, *serving]:
        served.kill()
    return Round(len(victims), took_s, lost)


def find_lost(arena: Arena, told: Told) -> list[str]:
    """Compare what was told, the documents and the containers; list all that does not agree."""
    documents = {document["_id"]: document for document in arena.documents.instances.find()}
    containers = arena.list_containers()
    node = arena.documents.nodes.find_one({"_id": arena.node["_id"]})
    assert node is not None
    wrong = [f"deleted, but there: {name}" for name in told.deleted & documents.keys()]
    gone = told.deployed - told.deleted - told.unsure - documents.keys()
    wrong += [f"deployed, but gone: {name}" for name in gone]
    wrong += [f"no document: {name}" for name in containers.keys() - documents.keys()]
    for name, document in documents.items():
        wrong += [f"{name}: {text}" for text in _find_wrong(document, containers, told)]
    ports = [port for document in documents.values() for port in document["ports"]]
    wrong += [f"port {port} given twice" for port, n in Counter(ports).items() if n > 1]
    sums = {
        "memory_mib": sum(document["memory_mib"] for document in documents.values()),
        "cpu_milli": sum(document["cpu_milli"] for document in documents.values()),
        "disk_mib": sum(disk_mib(document["disk_gb"]) for document in documents.values()),
        "instances": len(documents),
    }
    if node["allocated"] != sums:
        wrong.append(f"the node promised {node['allocated']}, and there is {sums}")
    if sums["memory_mib"] > node["capacity"]["memory_mib"]:
        wrong.append(f"the node has {node['capacity']}, and there is {sums}")
    for operation in arena.documents.operations.find():
        if _overlap(operation["steps"]):
            wrong.append(f"done by two at once: {operation['_id']}")
    return wrong


def _find_wrong(document: dict[str, Any], containers: dict[str, str], told: Told) -> Iterator[str]:
    name, state = document["_id"], document["state"]
    if state not in ("READY", "FAILED"):
        yield f"is {state}"
    if state == "READY":
        wanted = "stopped" if document["suspended"] else "running"
        if containers.get(name) != wanted:
            yield f"should be {wanted}, and is {containers.get(name)}"
        if document["power"] != wanted:
            yield f"should be {wanted}, and says {document['power']}"
    wish = told.suspended.get(name)
    if wish is not None and name not in told.unsure and wish != document["suspended"]:
        yield f"was told suspended={wish}"


def _overlap(steps: list[dict[str, Any]]) -> bool:
    ended = [step for step in steps if step["ended_at"]]
    return any(
        after["started_at"] < before["ended_at"] for before, after in itertools.pairwise(ended)
    )


def _list_open(arena: Arena) -> list[dict[str, Any]]:
    return list(arena.documents.operations.find({"status": {"$in": sorted(OPEN)}}))


def _ask(
    arena: Arena,
    told: Told,
    lots: random.Random,
    serving: list[Served],
    over: threading.Event,
) -> None:
    with requests.Session() as session:
        session.headers["x-api-key"] = KEY
        while not over.is_set():
            _ask_once(arena, told, lots, session, lots.choice(serving).url)


def _ask_once(
    arena: Arena, told: Told, lots: random.Random, session: requests.Session, url: str
) -> None:
    with told.lock:
        # One thread at a time has an instance, so that the last thing told of it is known.
        mine = sorted(told.deployed - told.deleted - told.unsure)
        act = lots.choice(["deploy", "suspend", "unsuspend", "delete"])
        name = lots.choice(mine) if mine else None
        if act == "deploy" or name is None:
            act, name = "deploy", None
        else:
            told.deployed.discard(name)
    try:
        status, answer = _send(arena, session, url, act, name, lots.choice(arena.ports))
    except requests.RequestException:
        status, answer = 0, {}
    with told.lock:
        told.outcomes[f"{act} {status or 'no answer'}"] += 1
        if act == "deploy":
            if status == 201:
                told.deployed.add(answer["Id"])
            return
        assert name is not None
        told.deployed.add(name)
        if status == 0 or status >= 500:
            told.unsure.add(name)
        elif act == "delete":
            told.deleted.add(name)
        elif status == 200:
            told.suspended[name] = act == "suspend"


def _send(
    arena: Arena, session: requests.Session, url: str, act: str, name: str | None, port: int
) -> tuple[int, dict[str, Any]]:
    if act == "deploy":
        body = a_deploy(
            *arena.place, memory=MEMORY_MIB, cpu="0.1", ports=f"80:{port}", primary=port
        )
        answer = session.post(f"{url}{DEPLOY}", json=body, timeout=30)
    elif act == "delete":
        answer = session.delete(f"{url}/api/instance/delete", json={"id": name}, timeout=30)
    else:
        answer = session.post(f"{url}/api/instances/{act}/{name}", timeout=30)
    return answer.status_code, answer.json()


@click.command(help=__doc__)
@click.option("--rounds", default=100, show_default=True)
@click.option("--processes", default=1, show_default=True, help="That serve at the same time.")
@click.option("--driver", type=click.Choice(["docker", "process"]), default="docker")
@click.option("--seed", type=int, default=None, help="Of an earlier run, to repeat its choices.")
def main(rounds: int, processes: int, driver: str, seed: int | None) -> None:
    """Play rounds, print what happened, and tell by the exit code whether anything was lost."""
    seed = random.randrange(10**6) if seed is None else seed
    lots = random.Random(seed)
    told, kills, lost = Told(), 0, 0
    click.echo(f"seed {seed}")
    with open_arena(driver) as arena:
        for number in range(rounds):
            played = play(arena, told, lots, processes=processes)
            kills += played.kills
            lost += len(played.lost)
            click.echo(
                f"round {number}: {played.kills} killed, converged in {played.converged_s:.1f} s, "
                f"{len(played.lost)} lost {played.lost or ''}"
            )
    click.echo(f"{rounds} rounds, {kills} kills, {lost} lost")
    click.echo(", ".join(f"{what}: {count}" for what, count in sorted(told.outcomes.items())))
    sys.exit(1 if lost else 0)


if __name__ == "__main__":
    main()
