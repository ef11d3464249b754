"""The memory of the processes of `skyquay serve` while they are under load.

Run `python -m bench.memory --minutes 60`. wrk asks for one instance by the other, and for the whole
list of 1,000 in between. What counts: 100 MiB a process at the most, and no growth.
"""

import time
from contextlib import ExitStack, closing

import click
import psutil

from bench.database import start_mongod
from bench.installation import Installation, serve
from bench.load import Work, run_wrk
from bench.seed import fill
from service.store import Store


def largest_mib(port: int) -> float:
    """Return the memory of the largest process that serves the port."""
    pids = {
        each.pid
        for each in psutil.net_connections("tcp")
        if each.status == "LISTEN" and each.laddr.port == port and each.pid
    }
    return max(psutil.Process(pid).memory_info().rss for pid in pids) / 2**20


@click.command(help=__doc__)
@click.option("--minutes", default=60, show_default=True)
@click.option("--size", default=1000, show_default=True, help="How many instances there are.")
def main(minutes: int, size: int) -> None:
    """Measure, and print a line for each minute, and how much there was at most."""
    with ExitStack() as stack:
        folder, mongod = start_mongod(stack)
        ids, _ = fill(mongod.uri, "bench", size)
        store = stack.enter_context(closing(Store(mongod.uri, "bench")))
        rates = {"SKYQUAY_KEY_RATE": "100000000", "SKYQUAY_ADDRESS_RATE": "100000000"}
        installation = Installation(folder, mongod.uri, store, ("", ""))
        url = serve(stack, installation, SKYQUAY_PROCESSES="2", **rates)
        works = [
            (Work("one", "/api/getInstance", '{"id":"%s"}', ids), 50),
            (Work("list", "/api/instances"), 10),
        ]
        seen = []
        ends_at = time.monotonic() + 60 * minutes
        while time.monotonic() < ends_at:
            for work, seconds in works:
                run_wrk(url, work, folder / "work.lua", seconds)
            seen.append(largest_mib(int(url.rpartition(":")[2])))
            click.echo(f"minute {len(seen)}: {seen[-1]:.1f} MiB")
        click.echo(f"{seen[0]:.1f} MiB after the first minute, {max(seen):.1f} MiB at the most")


if __name__ == "__main__":
    main()
