"""How much slower are answers that need no node when many nodes are dead?

Run `python -m bench.dead_nodes`. One process of `skyquay serve` on a real mongod answers the same
requests without dead nodes, with them, and without them again, each phase as often as the others;
dead ones refuse connections, accept them and say nothing, answer rubbish, or do not even accept
(their queue of connections is full). Each has operations waiting. What counts is the ratio of the
phases.
"""

import socket
import statistics
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager

import click
import requests

from bench.installation import KEY, install, serve
from service import instances, nodes
from service.app import utc_now
from service.drivers.memory import MemoryNodes
from service.model.lifecycle import NodeStatus
from service.model.node_policy import NodePolicy
from service.model.origin import Origin
from service.model.ports import parse
from service.store import Store

CLIENTS = 4
SETTLE_S = 4
WAITING = 5
"""How many deploys wait on each dead node."""


@contextmanager
def listen(kind: str) -> Iterator[int]:
    """Be a node that is dead in this way; tell its port."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        port = listener.getsockname()[1]
        if kind == "refuses":
            listener.close()
        elif kind == "accepts nobody":
            for _ in range(4):  # as many as the queue holds, and some more
                filler = stack.enter_context(closing(socket.socket()))
                filler.setblocking(False)
                filler.connect_ex(("127.0.0.1", port))
        else:
            threading.Thread(target=_answer, args=(listener, kind), daemon=True).start()
        yield port


def _answer(listener: socket.socket, kind: str) -> None:
    kept = []
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        kept.append(connection)  # open, and silent
        if kind == "answers rubbish":
            connection.sendall(b"\x00rubbish\r\n\r\n")
            connection.close()


KINDS = ("refuses", "says nothing", "answers rubbish", "accepts nobody")


def measure(url: str, user_id: str, requests_each: int) -> list[float]:
    """Send requests from several clients; list how many milliseconds each took."""

    def ask(_: int) -> list[float]:
        took = []
        with requests.Session() as session:
            session.headers["x-api-key"] = KEY
            for number in range(requests_each):
                began = time.perf_counter()
                if number % 2:
                    answer = session.get(f"{url}/api/instances", timeout=60)
                else:
                    body = {"type": "id", "value": user_id}
                    answer = session.post(f"{url}/api/getUser", json=body, timeout=60)
                answer.raise_for_status()
                took.append((time.perf_counter() - began) * 1000)
        return took

    with ThreadPoolExecutor(CLIENTS) as threads:
        return [one for took in threads.map(ask, range(CLIENTS)) for one in took]


def add_dead_nodes(store: Store, ports: list[int], place: tuple[str, str]) -> list[str]:
    """Add a node for each port, with deploys that wait for it."""
    user_id, image_id = place
    ids = []
    for port in ports:
        order: nodes.NodeOrder = {
            "name": "dead", "driver": "docker", "address": "127.0.0.1", "port": port,
        }  # fmt: skip
        node = nodes.create(
            store,
            MemoryNodes(),
            order,
            policy=NodePolicy(allow_loopback=True),
            now=utc_now(),
        )
        for number in range(WAITING):
            instances.deploy(
                store,
                {
                    "name": "waits", "user_id": user_id, "node_id": node["_id"],
                    "image": image_id, "image_name": None, "memory_mib": 64, "cpu_milli": 100,
                    "disk_gb": None, "ports": parse(f"80:{8000 + number}"),
                    "primary": 8000 + number, "variables": {},
                },
                origin=Origin(utc_now()),
            )  # fmt: skip
        ids.append(node["_id"])
    return ids


def switch(store: Store, node_ids: list[str], *, on: bool) -> None:
    """Have workers believe that the nodes are there, as after an outage; or leave them alone."""
    status = NodeStatus.ONLINE if on else NodeStatus.UNCONFIGURED
    for node_id in node_ids:
        store.nodes.update(node_id, {"status": status, "probed_at": None})
    mongo = store.operations._collection
    mongo.update_many(
        {"node_id": {"$in": node_ids}},
        {"$set": {"status": "pending" if on else "superseded", "lease": None}},
    )


def tell(took: list[float]) -> tuple[float, float]:
    """Return the median and the 99th percentile."""
    cuts = statistics.quantiles(took, n=100)
    return cuts[49], cuts[98]


@click.command(help=__doc__)
@click.option("--dead", default=20, show_default=True, help="Dead nodes, of each kind as many.")
@click.option("--requests-each", default=500, show_default=True, help="A client and phase.")
@click.option("--phases", default=3, show_default=True)
def main(dead: int, requests_each: int, phases: int) -> None:
    """Measure, and print the ratio."""
    with ExitStack() as stack:
        installation = install(stack)
        store, place = installation.store, installation.place
        ports = [stack.enter_context(listen(KINDS[n % len(KINDS)])) for n in range(dead)]
        settings = {"SKYQUAY_PROBE_INTERVAL_S": "5", "SKYQUAY_ALLOW_LOOPBACK_NODES": "1"}
        url = serve(stack, installation, **settings)
        measure(url, place[0], 50)
        alive, with_dead = [], []
        ids = add_dead_nodes(store, ports, place)
        for phase in range(phases):
            switch(store, ids, on=True)
            with_dead += measure(url, place[0], requests_each)
            switch(store, ids, on=False)
            time.sleep(SETTLE_S)  # calls that are under way have ended by then
            alive += measure(url, place[0], requests_each)
            click.echo(f"phase {phase + 1} of {phases}")
        without, within = tell(alive), tell(with_dead)
        click.echo(f"without dead nodes: median {without[0]:.1f} ms, p99 {without[1]:.1f} ms")
        click.echo(f"with {dead} of them:  median {within[0]:.1f} ms, p99 {within[1]:.1f} ms")
        click.echo(f"ratio: median {within[0] / without[0]:.2f}, p99 {within[1] / without[1]:.2f}")


if __name__ == "__main__":
    main()
