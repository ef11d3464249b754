"""The CPU of one request, in the app and in mongod, beside bare Flask with the same one query.

Run `python -m bench.hot_path`. Both apps are called as WSGI in this process, in turn, so what a
server and wrk take is left out, and what else the machine does counts little. `--profile FILE`
writes what cProfile saw of one kind of request instead.
"""

import cProfile
import importlib
import io
import os
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, redirect_stderr
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import click
import orjson
import psutil

from bench.database import start_mongod
from bench.seed import KEY, fill
from service.app import create_app
from service.config import Config
from service.telemetry import logs

WsgiApp = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

PATHS = {
    "name": ("GET", "/api/name"),
    "one": ("POST", "/api/getInstance"),
    "ten": ("POST", "/api/getUserInstance"),
    "list": ("GET", "/api/instances"),
}
"""Methods and paths, by the names for `--only`."""


def call(app: WsgiApp, method: str, path: str, body: bytes) -> None:
    """Send one request as granian does. Raises ClickException for any answer but a success."""
    environ = {
        "REQUEST_METHOD": method, "SCRIPT_NAME": "", "PATH_INFO": path, "QUERY_STRING": "",
        "SERVER_NAME": "127.0.0.1", "SERVER_PORT": "8080", "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": "127.0.0.1:8080", "HTTP_X_API_KEY": KEY, "REMOTE_ADDR": "127.0.0.1",
        "wsgi.version": (1, 0), "wsgi.url_scheme": "http", "wsgi.input": io.BytesIO(body),
        "wsgi.errors": None, "wsgi.multithread": True, "wsgi.multiprocess": True,
        "wsgi.run_once": False, "wsgi.input_terminated": True,
    }  # fmt: skip
    if body:
        environ |= {"CONTENT_TYPE": "application/json", "CONTENT_LENGTH": str(len(body))}
    status = []
    answered = app(environ, lambda code, *_: status.append(code))
    for _ in answered:
        pass
    if (close := getattr(answered, "close", None)) is not None:
        close()
    if not status[0].startswith("20"):
        raise click.ClickException(f"{path}: {status[0]}")


def call_each(app: WsgiApp, name: str, bodies: Iterator[bytes], count: int) -> None:
    """Send as many requests of this kind."""
    for body in islice(bodies, count):
        call(app, *PATHS[name], body)


def measure(work: Callable[[], None], mongod: psutil.Process) -> tuple[float, float]:
    """Do the work; return the CPU seconds that this process and mongod took for it."""
    before = sum(mongod.cpu_times()[:2])
    began = time.process_time()
    work()
    return time.process_time() - began, sum(mongod.cpu_times()[:2]) - before


@click.command(help=__doc__)
@click.option("--size", default=1000, show_default=True, help="How many instances there are.")
@click.option("--requests", default=500, show_default=True, help="Of each kind, app and round.")
@click.option("--rounds", default=15, show_default=True)
@click.option("--only", default="name,one,ten", show_default=True)
@click.option("--profile", type=click.Path(path_type=Path), help="Of the first kind only.")
def main(size: int, requests: int, rounds: int, only: str, profile: Path | None) -> None:
    """Measure, and print a line for each kind."""
    with ExitStack() as stack:
        _, mongod = start_mongod(stack)
        ids, user_ids = fill(mongod.uri, "bench", size)
        os.environ.update(PEER_MONGODB_URI=mongod.uri, PEER_DB="bench_peer")
        config = Config(
            mongodb_uri=mongod.uri, database="bench", api_key=KEY, log_format="json",
            secret_key="a secret key of the bench", key_rate=10**8, address_rate=10**8,
        )  # fmt: skip
        with redirect_stderr(stack.enter_context(Path(os.devnull).open("w"))):
            logs.set_up(config)
        apps: dict[str, WsgiApp] = {
            "bare Flask": importlib.import_module("bench.peers.flask_peer").app,
            "Skyquay": create_app(config),
        }
        bodies = {
            "one": [orjson.dumps({"id": each}) for each in ids],
            "ten": [orjson.dumps({"userId": each}) for each in user_ids],
        }
        for name in only.split(","):
            sent = cycle(bodies.get(name, [b""]))
            works = {
                each: partial(call_each, app, name, sent, requests) for each, app in apps.items()
            }
            for work in works.values():
                work()
            if profile is not None:
                profiler = cProfile.Profile()
                profiler.runcall(works["Skyquay"])
                profiler.dump_stats(profile)
                return
            taken: dict[str, list[tuple[float, float]]] = {each: [] for each in apps}
            for _ in range(rounds):
                for each, work in works.items():
                    taken[each].append(measure(work, mongod.process))
            report(name, taken, requests)


def report(name: str, taken: dict[str, list[tuple[float, float]]], requests: int) -> None:
    """Print the medians of each app, and the ratio of the rounds."""
    for each, rounds in taken.items():
        own = statistics.median(app for app, _ in rounds) / requests * 1e6
        # In hundredths of a second, so only all of them together say anything.
        database = statistics.mean(mongod for _, mongod in rounds) / requests * 1e6
        click.echo(f"{name}: {each} {own:.0f} us, mongod {database:.0f} us")
    pairs = zip(*taken.values(), strict=True)
    low, middle, high = statistics.quantiles([ours / bare for (bare, _), (ours, _) in pairs], n=4)
    click.echo(f"{name}: {middle:.2f} x the CPU of bare Flask ({low:.2f} to {high:.2f})")


if __name__ == "__main__":
    main()
