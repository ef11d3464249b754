"""How much of a core does one worker take that has nothing to do but probe its nodes?

Run `python -m bench.fleet`. A thousand nodes in memory with a hundred instances each, none of which
changes, on a real mongod. What counts is CPU time by the clock: of the worker with what its nodes
in memory take, and of mongod.
"""

import time
from contextlib import ExitStack

import click
import psutil

from bench.installation import install
from service import instances, nodes
from service.app import utc_now
from service.drivers.memory import Container, MemoryNodes
from service.model.container import make_spec
from service.model.lifecycle import InstanceState, NodeStatus, Power
from service.model.node_policy import NodePolicy
from service.model.origin import Origin
from service.model.ports import parse
from service.serving import embedded_mongod
from service.store import Store
from service.worker.loop import Worker


def fill(
    store: Store, fleet: MemoryNodes, place: tuple[str, str], *, count: int, each: int
) -> None:
    """Add `count` nodes with `each` instances, which run there as their documents say."""
    now = utc_now()
    order: nodes.NodeOrder = {"name": "n", "driver": "memory"}
    node = nodes.create(store, fleet, order, policy=NodePolicy(), now=now)
    instance, _ = instances.deploy(
        store,
        {
            "name": "one", "user_id": place[0], "node_id": node["_id"], "image": place[1],
            "image_name": None, "memory_mib": 64, "cpu_milli": 100, "disk_gb": None,
            "ports": parse("80:8000"), "primary": 8000, "variables": {},
        },
        origin=Origin(now),
    )  # fmt: skip
    spec = make_spec(instance)
    database = store._database
    for name in ("operations", "instances", "nodes"):
        database[name].delete_many({})
    for number in range(count):
        node_id = f"node-{number}"
        database["nodes"].insert_one(
            {**node, "_id": node_id, "name": node_id, "report": None, "status": NodeStatus.ONLINE}
        )
        made = [
            {
                **instance, "_id": f"i{number}x{n}", "node_id": node_id, "ports": [8000 + n],
                "container_id": f"memory-i{number}x{n}", "state": InstanceState.READY,
                "power": Power.RUNNING,
            }
            for n in range(each)
        ]  # fmt: skip
        if made:
            database["instances"].insert_many(made, ordered=False)
        there = fleet[node_id].containers
        there.update({one["_id"]: Container(spec, power=Power.RUNNING) for one in made})


def await_probes(store: Store, count: int) -> None:
    """Wait until each node was probed by the worker."""
    while store.nodes.count_by("report.engine").get("memory", 0) < count:
        time.sleep(0.5)


@click.command(help=__doc__)
@click.option("--count", default=1000, show_default=True, help="Nodes.")
@click.option("--each", default=100, show_default=True, help="Instances of a node.")
@click.option("--interval", default=30.0, show_default=True, help="Seconds between two probes.")
@click.option("--seconds", default=60.0, show_default=True, help="How long to look.")
def main(count: int, each: int, interval: float, seconds: float) -> None:
    """Measure, and print the parts of a core."""
    with ExitStack() as stack:
        installation = install(stack)
        store, fleet = installation.store, MemoryNodes()
        fill(store, fleet, installation.place, count=count, each=each)
        worker = Worker(store, fleet, threads=16, probe_interval_s=interval, now=utc_now)
        worker.start()
        stack.callback(worker.stop)
        await_probes(store, count)
        running = embedded_mongod.find_running(installation.folder)
        assert running is not None
        mongod = psutil.Process(running.process.pid)
        before = (time.monotonic(), time.process_time(), sum(mongod.cpu_times()[:2]))
        calls = sum(fleet[f"node-{n}"].calls for n in range(count))
        time.sleep(seconds)
        took_s = time.monotonic() - before[0]
        probes = (sum(fleet[f"node-{n}"].calls for n in range(count)) - calls) / 2
        ours = (time.process_time() - before[1]) / took_s
        theirs = (sum(mongod.cpu_times()[:2]) - before[2]) / took_s
        oldest_s = store.probes.oldest_age_s()
        click.echo(f"{probes / took_s:.1f} probes a second; the oldest was {oldest_s:.0f} s ago")
        click.echo(f"worker: {ours:.3f} of a core, mongod: {theirs:.3f} of a core")


if __name__ == "__main__":
    main()
