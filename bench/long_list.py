"""The whole list of many instances: the first byte, and the memory of the process that sends it.

Run `python -m bench.long_list`. One client reads the list ten times from one process of
`skyquay serve`, whose memory is looked at meanwhile: each time another thread may answer.
"""

import threading
import time
from contextlib import ExitStack, closing

import click
import psutil
import requests

from bench.database import start_mongod
from bench.installation import KEY, Installation, serve
from bench.seed import fill
from service.store import Store


def watch(process: psutil.Process, ended: threading.Event, seen: list[int]) -> None:
    """Note the memory of the process and its children again and again."""
    while not ended.wait(0.02):
        tree = [process, *process.children(recursive=True)]
        seen.append(max(each.memory_info().rss for each in tree))


@click.command(help=__doc__)
@click.option("--count", default=100_000, show_default=True)
def main(count: int) -> None:
    """Measure, and print a line for each time."""
    with ExitStack() as stack:
        folder, mongod = start_mongod(stack)
        fill(mongod.uri, "bench", count)
        store = stack.enter_context(closing(Store(mongod.uri, "bench")))
        url = serve(stack, Installation(folder, mongod.uri, store, ("", "")))
        port = int(url.rpartition(":")[2])
        process = next(
            psutil.Process(each.pid)
            for each in psutil.net_connections("tcp")
            if each.status == "LISTEN" and each.laddr.port == port and each.pid
        )
        headers = {"x-api-key": KEY}
        requests.get(f"{url}/api/nodes", headers=headers, timeout=60).raise_for_status()
        idle = process.memory_info().rss
        for _ in range(10):
            seen, ended = [idle], threading.Event()
            watcher = threading.Thread(target=watch, args=(process, ended, seen))
            watcher.start()
            began = time.monotonic()
            with requests.get(
                f"{url}/api/instances", headers=headers, stream=True, timeout=600
            ) as answer:
                pieces = answer.iter_content(65536)
                length = len(next(pieces))
                first_s = time.monotonic() - began
                length += sum(map(len, pieces))
            took_s = time.monotonic() - began
            ended.set()
            watcher.join()
            click.echo(
                f"{count:,}: {length / 2**20:.1f} MiB, the first byte after {first_s:.2f} s, all "
                f"after {took_s:.1f} s; {idle / 2**20:.0f} MiB idle, "
                f"{(max(seen) - idle) / 2**20:.0f} more at the most"
            )


if __name__ == "__main__":
    main()
