"""What do samples cost the worker and mongod, and how large do they become?

Run `python -m bench.sampling`. Nodes in memory with instances that are busy, on a real mongod,
sampled every 15 s: by a call for all of a node, or with `--single` by one for each, as `docker`
nodes have it. What counts is CPU time by the clock, and so it is of what reads. `--hour` stores an
hour of samples first.
"""

import time
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import click
import psutil

from bench.fleet import fill
from bench.installation import install
from service import stats
from service.app import utc_now
from service.drivers import ContainerSample
from service.drivers.memory import MemoryNodes, OpenedNode
from service.drivers.memory_usage import SAMPLE
from service.model.documents import Node
from service.model.driver_traits import MEMORY
from service.model.listing import Listing
from service.model.orders import StatsSearch
from service.serving import embedded_mongod
from service.store import Store
from service.telemetry.usage import measure_usage
from service.worker import sampling
from service.worker.sampler import Sampler


class BusyNodes(MemoryNodes):
    """Nodes of which every instance is busy with a third of a core."""

    def __call__(self, node: Node, /, **options: Any) -> OpenedNode:
        """Open a node."""
        opened = super().__call__(node, **options)
        opened.sample = partial(_sample, opened.sample)
        return opened


def _sample(ask: Any, instance_ids: list[str]) -> dict[str, ContainerSample]:
    now, ms = utc_now(), int(time.time() * 1000) % 10**9
    busy = replace(SAMPLE, measured_at=now, cpu_ms=ms // 3, received_bytes=ms, sent_bytes=ms * 2)
    return dict.fromkeys(ask(instance_ids), busy)


def store_hour(store: Store, count: int, each: int, now: datetime) -> None:
    """Store a sample of each instance for each 15 s of the last hour."""
    for ago_s in range(3600, 0, -15):
        at = now - timedelta(seconds=ago_s)
        store.samples.add(
            [
                {"at": at, "of": {"instance": f"i{node}x{n}", "node": f"node-{node}"},
                 "cpu_milli": 300 + (ago_s * n) % 50, "memory_bytes": 33_000_000 + ago_s * n,
                 "received_rate": (ago_s * n) % 900, "sent_rate": n, "disk_bytes": 4096}
                for node in range(count) for n in range(each)
            ]
        )  # fmt: skip


def time_reads(store: Store, mongod: psutil.Process) -> None:
    """Print what one chart, a page of charts, a page of the latest, and a scrape take."""
    now = utc_now()
    listing = Listing({}, limit=100)
    search = StatsSearch(listing=listing, since=None, resolution_s=None, latest=False)
    grid = stats.make_grid(search, now=now)
    page, _ = stats.list_instances(store, listing)
    ids = [each["_id"] for each in page]
    reads: dict[str, Any] = {
        "a chart of an hour": lambda: stats.list_series(store, ids[:1], grid),
        "100 charts of an hour": lambda: stats.list_series(store, ids, grid),
        "the latest of 100": lambda: stats.find_sampled(store, page),
        "a scrape": lambda: [
            family.samples for family in measure_usage(store.sampling.list_usage(), most=500)
        ],
    }
    for name, read in reads.items():
        read()
        before = time.process_time(), sum(mongod.cpu_times()[:2])
        for _ in range(20):
            read()
        ours, theirs = time.process_time() - before[0], sum(mongod.cpu_times()[:2]) - before[1]
        click.echo(f"{name}: {ours * 50:.1f} ms of CPU, mongod: {theirs * 50:.1f} ms")


@click.command(help=__doc__)
@click.option("--count", default=10, show_default=True, help="Nodes.")
@click.option("--each", default=100, show_default=True, help="Instances of a node.")
@click.option("--seconds", default=60.0, show_default=True, help="How long to look.")
@click.option("--single", is_flag=True, help="A call for each instance.")
@click.option("--hour", is_flag=True, help="Store an hour of samples first.")
def main(count: int, each: int, seconds: float, single: bool, hour: bool) -> None:
    """Measure, and print the parts of a core."""
    if single:
        sampling.traits_of = lambda _: replace(MEMORY, sample_size=1)  # type: ignore[attr-defined]
    with ExitStack() as stack:
        installation = install(stack)
        store, fleet = installation.store, BusyNodes()
        fill(store, fleet, installation.place, count=count, each=each)
        database = store._database
        if hour:
            store_hour(store, count, each, utc_now())
        sampler = Sampler(store, fleet, now=utc_now)
        running = embedded_mongod.find_running(installation.folder)
        assert running is not None
        mongod = psutil.Process(running.process.pid)

        def spent() -> tuple[float, float, float]:
            return time.monotonic(), time.process_time(), sum(mongod.cpu_times()[:2])

        before = spent()
        time.sleep(10)
        idle = [now - then for now, then in zip(spent(), before, strict=True)]
        sampler.start()
        stack.callback(sampler.stop)
        time.sleep(20)
        before, calls = spent(), sum(fleet[f"node-{n}"].calls for n in range(count))
        time.sleep(seconds)
        took = [now - then for now, then in zip(spent(), before, strict=True)]
        calls = sum(fleet[f"node-{n}"].calls for n in range(count)) - calls
        ours, theirs = took[1] / took[0], took[2] / took[0] - idle[2] / idle[0]
        interval = max(each["interval_ms"] or 0 for each in store.sampling.list_usage()) / 1000
        click.echo(f"{calls / took[0]:.1f} calls a second, every {interval:.1f} s")
        click.echo(f"worker: {ours:.4f} of a core, mongod: {theirs:.4f} of a core more than idle")
        size = database.command("collStats", "samples")
        click.echo(
            f"samples: {size['size'] / 2**20:.1f} MiB, {size['storageSize'] / 2**20:.1f} on disk"
        )
        time_reads(store, mongod)


if __name__ == "__main__":
    main()
