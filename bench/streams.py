"""Many streams of events: how late they tell, and what other requests notice of them.

Run `python -m bench.streams`. One process of `skyquay serve` answers getInstance to wrk, in turn
without streams and with them, while users are changed at the same rate in both.
"""

import asyncio
import json
import statistics
import tempfile
import threading
import time
from contextlib import ExitStack, closing, suppress
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

import click

from bench.installation import Installation, find_process, serve
from bench.load import Work, read_load, run_wrk
from bench.seed import fill
from service import keys
from service.app import utc_now
from service.serving import embedded_mongod
from service.store import Store

PER_KEY = 50
"""How many streams a key may have."""

PER_ADDRESS = 100

_REQUEST = (
    "GET /api/events HTTP/1.1\r\nHost: bench\r\nAccept: text/event-stream\r\n"
    "x-api-key: {key}\r\n\r\n"
)


class Streams:
    """Clients that follow, in a thread of their own."""

    def __init__(self, url: str, values: list[str], count: int) -> None:
        self.delays_ms: list[float] = []
        self.open = 0
        self._target, self._values, self._count = urlsplit(url), values, count
        self._loop = asyncio.new_event_loop()
        self._ended = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._run(),))

    def __enter__(self) -> "Streams":
        self._thread.start()
        while self.open < self._count and self._thread.is_alive():
            time.sleep(0.05)
        self.delays_ms.clear()  # those that were told late because it had just begun
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join()

    async def _run(self) -> None:
        streams = [asyncio.create_task(self._follow(n)) for n in range(self._count)]
        await self._ended.wait()
        for stream in streams:
            stream.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*streams, return_exceptions=True)

    async def _follow(self, number: int) -> None:
        host, port = self._target.hostname, self._target.port
        source = f"127.0.0.{2 + number // PER_ADDRESS}", 0
        reader, writer = await asyncio.open_connection(host, port, local_addr=source)
        writer.write(_REQUEST.format(key=self._values[number // PER_KEY]).encode())
        status = await reader.readline()
        if b"200" not in status:
            raise click.ClickException(f"A stream was answered {status!r}.")
        await reader.readuntil(b"id: ")
        self.open += 1
        while line := await reader.readline():
            if line.startswith(b"data: "):
                told = datetime.fromisoformat(json.loads(line[6:])["time"])
                self.delays_ms.append((utc_now() - told).total_seconds() * 1000)


@click.command(help=__doc__)
@click.option("--count", default=500, show_default=True, help="Streams.")
@click.option("--rate", default=5.0, show_default=True, help="Changes a second.")
@click.option("--rounds", default=3, show_default=True)
@click.option("--seconds", default=8, show_default=True, help="Of one round.")
def main(count: int, rate: float, rounds: int, seconds: int) -> None:
    """Measure, and print a line for each round and the ratio of all."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        mongod = stack.enter_context(embedded_mongod.start(folder))
        ids, _ = fill(mongod.uri, "bench", 1000)
        store = stack.enter_context(closing(Store(mongod.uri, "bench")))
        values = [
            keys.create(store, name=f"k{n}", now=utc_now())[1] for n in range(-(-count // PER_KEY))
        ]
        url = serve(stack, Installation(folder, mongod.uri, store, ("", "")))
        stack.enter_context(_changing(store, rate))
        work = Work("getInstance", "/api/getInstance", body='{"id": "%s"}', ids=ids)
        script = folder / "work.lua"
        run_wrk(url, work, script, seconds)
        ratios = []
        for _ in range(rounds):
            without = read_load(run_wrk(url, work, script, seconds), 0)
            with Streams(url, values, count) as streams:
                loaded = read_load(run_wrk(url, work, script, seconds), 0)
            ratios.append(loaded.p99_ms / without.p99_ms)
            delays = statistics.quantiles(streams.delays_ms, n=100)
            click.echo(
                f"getInstance p99 {without.p99_ms:.0f} ms without, {loaded.p99_ms:.0f} ms with "
                f"{count} streams ({loaded.rate / without.rate:.2f} of the rate); told after "
                f"{delays[49]:.0f} ms (median), {delays[98]:.0f} ms (p99)"
            )
        _echo_cpu(url, values, count, seconds)
        if ratios:
            click.echo(f"ratio of p99: {statistics.median(ratios):.2f} (median)")


def _echo_cpu(url: str, values: list[str], count: int, seconds: int) -> None:
    """Print what telling costs the process: that is the same on a busy machine."""
    process = find_process(url)

    def measure() -> float:
        before = process.cpu_times()
        time.sleep(seconds)
        after = process.cpu_times()
        return after.user + after.system - before.user - before.system

    idle_s = measure()
    with Streams(url, values, count) as streams:
        time.sleep(2)
        streams.delays_ms.clear()
        busy_s = measure()
        told = len(streams.delays_ms)
    click.echo(
        f"{1e6 * (busy_s - idle_s) / max(1, told):.0f} us of CPU for each event and stream, "
        f"{busy_s / seconds:.0%} of a core ({idle_s / seconds:.0%} without streams)"
    )


class _changing:
    """Changes users meanwhile, so many a second."""

    def __init__(self, store: Store, rate: float) -> None:
        self._store, self._pause_s = store, 1 / rate
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        users = [user["_id"] for user in self._store.users.all()]
        number = 0
        while not self._ended.wait(self._pause_s):
            number += 1
            user_id = users[number % len(users)]
            self._store.users.change(user_id, {"labels": {"n": str(number)}})


if __name__ == "__main__":
    main()
