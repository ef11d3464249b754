"""How much longer does a deploy take when many nodes answer probes and swallow everything else?

Run `python -m bench.sick_nodes`. One process of `skyquay serve` on a real mongod deploys on healthy
nodes without sick ones, and then while the calls of all sick ones hang. All nodes are fake Docker
Engines on loopback, in processes of their own; the healthy ones answer at once. What counts is the
ratio of the medians.
"""

import statistics
import subprocess
import sys
import time
from contextlib import ExitStack
from itertools import count

import click

from bench.installation import install, serve
from service import instances, nodes
from service.app import utc_now
from service.drivers.memory import MemoryNodes
from service.model.lifecycle import OperationStatus
from service.model.node_policy import NodePolicy
from service.model.origin import Origin
from service.model.ports import parse
from service.store import Store

ENGINES = """
import json, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from urllib.parse import parse_qs, urlsplit

sick = sys.argv[1] == "sick"
STATE = {"Running": True, "Restarting": False, "StartedAt": "2026", "ExitCode": 0, "Error": "",
         "OOMKilled": False}
LOOKS = {"version": {"ApiVersion": "1.41"}, "containers/json": [],
         "info": {"ServerVersion": "24.0.0", "MemTotal": 2**36, "NCPU": 8}}

class Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    made = {}

    def do_GET(self):
        url = urlsplit(self.path)
        size = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(size)) if size else {}
        look = next((LOOKS[end] for end in LOOKS if url.path.endswith(end)), None)
        if look is not None:
            return self.answer(200, look)
        if sick:
            Event().wait()
        name = url.path.split("/")[3]
        if url.path.endswith("volumes/create"):
            return self.answer(201, {"Labels": body["Labels"]})
        if url.path.endswith("containers/create"):
            self.made[parse_qs(url.query)["name"][0]] = body["Labels"]
            return self.answer(201, {"Id": "c"})
        if "/images/" in url.path:
            return self.answer(200, {})
        if name not in self.made:
            return self.answer(404, {"message": "none"})
        if self.command == "GET":
            host = {"RestartPolicy": {"Name": "unless-stopped"}}
            config = {"Labels": self.made[name]}
            made = {"Id": "c", "State": STATE, "Config": config, "HostConfig": host}
            return self.answer(200, made)
        return self.answer(204, None)

    do_POST = do_DELETE = do_GET

    def answer(self, status, value):
        text = b"" if status == 204 else json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass

for _ in range(int(sys.argv[2])):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    server.daemon_threads = True
    print(server.server_port, flush=True)
    Thread(target=server.serve_forever, daemon=True).start()
Event().wait()
"""

HEALTHY = 4
PORTS = count(1024)


def start_engines(stack: ExitStack, kind: str, number: int) -> list[int]:
    """Start a process that is so many engines; list their ports."""
    process = subprocess.Popen(
        [sys.executable, "-c", ENGINES, kind, str(number)], stdout=subprocess.PIPE, text=True
    )
    stack.callback(process.wait, 20)
    stack.callback(process.kill)
    assert process.stdout is not None
    return [int(process.stdout.readline()) for _ in range(number)]


def add_nodes(store: Store, ports: list[int]) -> list[str]:
    """Add a node for each engine."""
    orders: list[nodes.NodeOrder] = [
        {"name": "n", "driver": "docker", "address": "127.0.0.1", "port": port} for port in ports
    ]
    # Online from the beginning: no worker has to probe it first.
    return [
        nodes.create(
            store, MemoryNodes(), order, policy=NodePolicy(allow_loopback=True), now=utc_now()
        )["_id"]
        for order in orders
    ]


def deploy(store: Store, place: tuple[str, str], node_id: str) -> str:
    """Take on an instance; answer its operation's id."""
    port = next(PORTS)
    order: instances.Order = {
        "name": "i", "user_id": place[0], "node_id": node_id, "image": place[1],
        "image_name": None, "memory_mib": 6, "cpu_milli": 10, "disk_gb": None,
        "ports": parse(f"80:{port}"), "primary": port, "variables": {},
    }  # fmt: skip
    return instances.deploy(store, order, origin=Origin(utc_now()))[1]["_id"]


def measure(store: Store, place: tuple[str, str], node_ids: list[str], times: int) -> list[float]:
    """Deploy so often, one after the other; list how many milliseconds each took to READY."""
    took = []
    for number in range(times):
        began = time.perf_counter()
        operation_id = deploy(store, place, node_ids[number % len(node_ids)])
        while store.operations.get(operation_id)["status"] != OperationStatus.SUCCEEDED:
            time.sleep(0.005)
            if time.perf_counter() - began > 60:
                raise SystemExit("a deploy on a healthy node was not READY within 60 s")
        took.append((time.perf_counter() - began) * 1000)
    return took


@click.command(help=__doc__)
@click.option("--sick", default=[4, 20, 100], multiple=True, show_default=True)
@click.option("--waiting", default=8, show_default=True, help="Deploys that wait on each.")
@click.option("--times", default=40, show_default=True, help="Deploys of each phase.")
def main(sick: list[int], waiting: int, times: int) -> None:
    """Measure, and print the ratios."""
    for number in sick:
        with ExitStack() as stack:
            without, within = compare(stack, number, waiting, times)
        click.echo(
            f"{number} sick nodes: {within:.0f} ms, without them {without:.0f} ms, "
            f"ratio {within / without:.2f}"
        )


def compare(stack: ExitStack, sick: int, waiting: int, times: int) -> tuple[float, float]:
    """Answer the median milliseconds of a deploy without sick nodes, and with them."""
    installation = install(stack)
    store, place = installation.store, installation.place
    healthy = add_nodes(store, start_engines(stack, "healthy", HEALTHY))
    serve(stack, installation, SKYQUAY_ALLOW_LOOPBACK_NODES="1")
    measure(store, place, healthy, 10)
    without = measure(store, place, healthy, times)
    sick_ids = add_nodes(store, start_engines(stack, "sick", sick))
    for node_id in sick_ids:
        for _ in range(waiting):
            deploy(store, place, node_id)
    wait_until_all_hang(store, set(sick_ids))
    within = measure(store, place, healthy, times)
    return statistics.median(without), statistics.median(within)


def wait_until_all_hang(store: Store, node_ids: set[str], *, timeout_s: float = 60) -> None:
    """Wait until an operation of each of the nodes has begun, if that ever comes."""
    deadline = time.monotonic() + timeout_s
    running: set[str] = set()
    while node_ids - running and time.monotonic() < deadline:
        time.sleep(0.5)
        found = store.operations.list_newest({"status": OperationStatus.RUNNING}, limit=10_000)
        running = {operation["node_id"] for operation in found}
    time.sleep(2)


if __name__ == "__main__":
    main()
