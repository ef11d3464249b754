"""How many requests a second do ways to serve answer, beside one process of `skyquay serve`?

Run `python -m bench.servers`; it needs `wrk`, and has granian take part where that is installed.
All serve the same instances of one real mongod, and are asked in turn, round after round, so that
what else the machine does strikes each alike. What counts is the ratio to the first, round by
round: its median, and the spread. The time that a request takes of a core, in the servers alone,
says what a machine with more cores could do.
"""

import importlib.util
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, closing
from pathlib import Path

import click
import psutil
import requests

from service import images, instances, nodes, users
from service.app import utc_now
from service.drivers.memory import MemoryNodes
from service.model.node_policy import NodePolicy
from service.model.origin import Origin
from service.model.ports import parse
from service.serving import embedded_mongod
from service.serving.supervisor import count_cores
from service.store import Store

KEY = "bench-key-0123456789abcdef"
SKYQUAY = Path(sys.executable).with_name("skyquay")


def list_ways(processes: int, port: int) -> dict[str, tuple[list[str], int]]:
    """List the commands to compare, each with the threads of its processes."""
    serve = [str(SKYQUAY), "serve", "--no-worker", "--processes"]
    ways = {
        "skyquay, 1 process of 16 threads": ([*serve, "1"], 16),
        "skyquay, 1 process of 4 threads": ([*serve, "1"], 4),
        f"skyquay, {processes} processes of 16 threads": ([*serve, str(processes)], 16),
        f"skyquay, {processes} processes of 4 threads": ([*serve, str(processes)], 4),
    }
    if importlib.util.find_spec("granian"):
        for threads in (1, 16):
            ways[f"granian, {processes} processes of {threads} threads"] = (
                [
                    sys.executable, "-m", "granian", "--interface", "wsgi", "--no-ws",
                    "--port", str(port), "--workers", str(processes),
                    "--blocking-threads", str(threads), "wsgi:app",
                ],
                threads,
            )  # fmt: skip
    return ways


def fill(store: Store, count: int) -> None:
    """Add as many instances."""
    now = utc_now()
    store.prepare()
    user = users.create(store, username="u", email="u@example.org", password="p", now=now)
    image = images.put(
        store,
        {
            "name": "i", "image": "i:1", "alt_images": [], "env": [], "cmd": None, "scripts": {},
            "variables": {}, "stop_command": None, "description": "", "author": "",
            "author_name": "", "meta": {}, "features": [], "process": False,
        },
        now=now,
    )  # fmt: skip
    order: nodes.NodeOrder = {"name": "n", "driver": "memory"}
    node = nodes.create(store, MemoryNodes(), order, policy=NodePolicy(), now=now)
    for number in range(count):
        instances.deploy(
            store,
            {
                "name": "one", "user_id": user["_id"], "node_id": node["_id"],
                "image": image["_id"], "image_name": None, "memory_mib": 64, "cpu_milli": 100,
                "disk_gb": None,
                "ports": parse(f"80:{8000 + number}"), "primary": 8000 + number, "variables": {},
            },
            origin=Origin(now),
        )  # fmt: skip


def ask(url: str, *, seconds: int, connections: int) -> tuple[float, str]:
    """Have wrk ask for the instances; return the requests a second, and the 99th percentile."""
    printed = subprocess.run(
        ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-H", f"x-api-key: {KEY}",
         f"{url}/api/instances"],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    if "Non-2xx" in printed or "Socket errors" in printed:
        raise click.ClickException(printed)
    return (
        float(re.search(r"Requests/sec: +([\d.]+)", printed)[1]),
        re.search(r"99% +(\S+)", printed)[1],
    )


def tell_cpu_s(process: psutil.Process) -> float:
    """Return the seconds of a core that a process and its children have used."""
    times = [each.cpu_times() for each in (process, *process.children(recursive=True))]
    return sum(each.user + each.system for each in times)


@click.command(help=__doc__)
@click.option("--processes", default=count_cores(), show_default=True)
@click.option("--instances", "count", default=20, show_default=True, help="In each answer.")
@click.option("--connections", default=16, show_default=True)
@click.option("--seconds", default=4, show_default=True, help="A way and round.")
@click.option("--rounds", default=5, show_default=True)
def main(processes: int, count: int, connections: int, seconds: int, rounds: int) -> None:
    """Measure, and print a line for each way."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        mongod = stack.enter_context(embedded_mongod.start(folder))
        fill(stack.enter_context(closing(Store(mongod.uri, "bench"))), count)
        urls, trees = {}, {}
        for name in list_ways(processes, 0):
            with socket.create_server(("127.0.0.1", 0)) as probe:
                port = probe.getsockname()[1]
            words, threads = list_ways(processes, port)[name]
            environ = {
                **os.environ, "SKYQUAY_MONGODB_URI": mongod.uri, "SKYQUAY_DATABASE": "bench",
                "SKYQUAY_LISTEN": f"127.0.0.1:{port}", "SKYQUAY_API_KEY": KEY,
                "SKYQUAY_KEY_RATE": "0", "SKYQUAY_ADDRESS_RATE": "0",
                "SKYQUAY_LOG_LEVEL": "ERROR", "SKYQUAY_THREADS": str(threads),
                "SKYQUAY_SECRET_KEY": "a secret key of the bench",
            }  # fmt: skip
            process = subprocess.Popen(
                words, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            stack.callback(process.wait, 60)
            stack.callback(process.terminate)
            urls[name], trees[name] = f"http://127.0.0.1:{port}", psutil.Process(process.pid)
        for url in urls.values():
            while True:
                try:
                    requests.get(f"{url}/readyz", timeout=5).raise_for_status()
                    break
                except requests.RequestException:
                    time.sleep(0.1)
            ask(url, seconds=1, connections=connections)
        seen: dict[str, list[tuple[float, str]]] = {name: [] for name in urls}
        used: dict[str, list[float]] = {name: [] for name in urls}
        for number in range(rounds):
            for name, url in urls.items():
                before_s = tell_cpu_s(trees[name])
                seen[name].append(ask(url, seconds=seconds, connections=connections))
                spent_s = tell_cpu_s(trees[name]) - before_s
                used[name].append(1000 * spent_s / (seen[name][-1][0] * seconds))
            click.echo(f"round {number + 1} of {rounds}", err=True)
        first = next(iter(seen.values()))
        for name, answers in seen.items():
            ratios = [rate / alone for (rate, _), (alone, _) in zip(answers, first, strict=True)]
            click.echo(
                f"{name:40} {statistics.median(ratios):5.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
                f"  {statistics.median(rate for rate, _ in answers):6.0f}/s"
                f"  {statistics.median(used[name]):5.2f} ms of a core each"
                f"  p99 {', '.join(p99 for _, p99 in answers)}"
            )


if __name__ == "__main__":
    main()
