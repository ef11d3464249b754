"""Are instances that name no node spread evenly, and what does the choice cost?

Run `python -m bench.placement`. First 500 deploys at once, each of another user, on 50 equal nodes:
no node may pass what it has, nor be more than 10 % from the even share. Then nodes are ranked one
after the other on a fleet of 1,000: what counts is the CPU time of this process.
"""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from threading import Barrier

import click

from bench.installation import Installation, install
from service import instances, nodes
from service.app import utc_now
from service.drivers.memory import MemoryNodes
from service.model.node_policy import NodePolicy
from service.model.orders import Order
from service.model.origin import Origin
from service.model.placement import Wish
from service.model.ports import parse
from service.placement import Beside, rank

ROOM = 12
"""How many instances each node has memory for."""


def add_nodes(installation: Installation, count: int) -> None:
    """Add nodes in memory that are equal."""
    fleet = MemoryNodes()
    order: nodes.NodeOrder = {"name": "n", "driver": "memory", "ram": f"{ROOM * 64}M"}
    node = nodes.create(installation.store, fleet, order, policy=NodePolicy(), now=utc_now())
    installation.store._database["nodes"].insert_many(
        [
            {**node, "_id": f"n{number}", "name": f"n{number}", "report": None}
            for number in range(count - 1)
        ]
    )


def deploy_at_once(installation: Installation, count: int) -> None:
    """Print how many instances the nodes have after so many deploys in as many threads."""
    store, start = installation.store, Barrier(count)
    user = store.users.get(installation.place[0])
    owners = [f"u{n}" for n in range(count)]
    store._database["users"].insert_many(
        [{**user, "_id": n, "username_key": n, "email_key": n} for n in owners]
    )

    def deploy(number: int) -> float:
        order: Order = {
            "name": "one", "user_id": owners[number], "node_id": None,
            "image": installation.place[1], "image_name": None, "memory_mib": 64, "cpu_milli": 1,
            "disk_gb": None, "ports": parse("80:auto", may_be_auto=True), "primary": None,
            "variables": {},
        }  # fmt: skip
        start.wait()
        began = time.perf_counter()
        instances.deploy(store, order, origin=Origin(utc_now()))
        return time.perf_counter() - began

    began = time.perf_counter()
    with ThreadPoolExecutor(count) as threads:
        took = sorted(threads.map(deploy, range(count)))
    took_s = time.perf_counter() - began
    found = store.nodes.all()
    counts = [node["allocated"]["instances"] for node in found]
    over = [
        node["_id"]
        for node in found
        if node["allocated"]["memory_mib"] > (node["capacity"]["memory_mib"] or 0)
    ]
    even = count / len(found)
    click.echo(
        f"{count} deploys on {len(found)} nodes in {took_s:.1f} s, the median after "
        f"{took[count // 2]:.1f} s: {min(counts)} to {max(counts)} on each, {even:g} are even, "
        f"{len(over)} over what they have"
    )
    if over or sum(counts) != count or max(abs(each - even) for each in counts) > even / 10:
        raise click.ClickException("That is not as promised.")


def measure(name: str, work: Callable[[], object], rounds: int) -> None:
    """Print the CPU time of doing something."""
    work()
    began = time.process_time()
    for _ in range(rounds):
        work()
    click.echo(f"{name}: {(time.process_time() - began) / rounds * 1000:.1f} ms of CPU")


@click.command(help=__doc__)
@click.option("--deploys", default=500, show_default=True)
@click.option("--nodes", "node_count", default=50, show_default=True)
@click.option("--fleet", default=1000, show_default=True, help="Nodes that are ranked.")
@click.option("--rounds", default=50, show_default=True)
def main(deploys: int, node_count: int, fleet: int, rounds: int) -> None:
    """Measure, and print what was found."""
    with ExitStack() as stack:
        installation = install(stack)
        add_nodes(installation, node_count)
        deploy_at_once(installation, deploys)
    with ExitStack() as stack:
        installation = install(stack)
        add_nodes(installation, fleet)
        store, beside = installation.store, Beside("user_id", installation.place[0])
        wish = Wish(memory_mib=64, cpu_milli=100, free_ports=1, tags=frozenset())
        measure(f"{fleet} nodes are read", store.nodes.list_for_placement, rounds)
        measure(f"{fleet} nodes are ranked", lambda: rank(store, wish), rounds)
        measure(
            f"{fleet} nodes are ranked, apart from a user's instances",
            lambda: rank(store, wish, apart_from=beside),
            rounds,
        )


if __name__ == "__main__":
    main()
