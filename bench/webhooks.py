"""How many deliveries does one worker send, and what does a receiver get that fails for an hour?

Run `python -m bench.webhooks`. The receiver is a process of its own on loopback. The hour is of a
clock that is told to go on; the database and the receiver are real.
"""

import multiprocessing
import resource
import time
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from typing import Any

import click

from bench.installation import install
from service import keys, webhook_matching, webhooks
from service.app import print_event, utc_now
from service.model.addresses import trust
from service.model.documents import Event
from service.security.vault import Vault
from service.store import Store
from service.worker.deliveries import Sender, Settings

VAULT = Vault("a secret key of the bench")
FAR = datetime(2999, 1, 1, tzinfo=UTC)


def receive(pipe: Connection, status: int) -> None:
    """Be a receiver that answers this."""

    class Handler(BaseHTTPRequestHandler):
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        request_queue_size = 128

    with Server(("127.0.0.1", 0), Handler) as server:
        pipe.send(server.server_address[1])
        server.serve_forever()


def run_receiver(stack: ExitStack, status: int) -> str:
    """Run one; tell its URL."""
    near, far = multiprocessing.Pipe()
    process = multiprocessing.Process(target=receive, args=(far, status), daemon=True)
    process.start()
    stack.callback(process.kill)
    return f"http://127.0.0.1:{near.recv()}/"


def add_webhooks(store: Store, url: str, count: int) -> None:
    """Add webhooks of one key."""
    key, _ = keys.create(store, name="bench", now=utc_now())
    order: Any = {"url": url, "types": None, "wanted": {}, "secret": None}
    for _ in range(count):
        webhooks.create(store, VAULT, key, order, acts_for=None, refuse=trust, now=utc_now())


def happen(store: Store, count: int, resources: int, *, now: datetime) -> float:
    """Have so many events happen, and make their deliveries; tell how many CPU seconds it took."""
    events = [
        Event(
            _id=number, type="image.updated", at=now, kind="image",
            resource_id=f"i{number % resources}", instance_id=None, user_id=None, node_id=None,
            cause=None, expires_at=FAR,
        )
        for number in range(1, count + 1)
    ]  # fmt: skip
    store._database["events"].insert_many([dict(event) for event in events])
    store.fan_out.take("t", lease_s=60)
    began = time.process_time()
    for start in range(0, count, 200):
        batch = events[start : start + 200]
        made = webhook_matching.make_deliveries(store, batch, now=now)
        assert store.fan_out.move("t", batch[-1]["_id"], made, lease_s=60)
    return time.process_time() - began


def settings() -> Settings:
    """Send what the API tells, to any address."""
    return Settings(VAULT.open, print_event, make_rule=lambda _: trust)


@click.command()
@click.option("--events", default=1000, help="How many happen.")
@click.option("--hooks", default=3, help="How many webhooks are told of each.")
def main(events: int, hooks: int) -> None:
    """Measure both."""
    with ExitStack() as stack:
        store = install(stack).store
        url = run_receiver(stack, 204)
        add_webhooks(store, url, hooks)
        made_s = happen(store, events, events, now=utc_now())
        click.echo(f"made {events * hooks} deliveries: {1e6 * made_s / events / hooks:.0f} µs each")
        sender = Sender(store, settings(), now=utc_now)
        began, cpu = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
        while store.deliveries.list_waiting_webhooks():
            if not sender.send_due():
                sender.wait()
        took, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF)
        spent = after.ru_utime + after.ru_stime - cpu.ru_utime - cpu.ru_stime
        each_ms = 1000 * spent / events / hooks
        click.echo(f"sent: {events * hooks / took:.0f} a second, {each_ms:.1f} ms of CPU each")
    with ExitStack() as stack:
        store = install(stack).store
        add_webhooks(store, run_receiver(stack, 503), 1)
        now = datetime(2026, 1, 31, 12, tzinfo=UTC)
        happen(store, events, events // 2, now=now)
        clock = [now]
        sender = Sender(store, settings(), now=lambda: clock[0])
        [webhook] = store.webhooks.all()
        attempts = 0
        while clock[0] < now + timedelta(hours=1):
            for delivery in sender.claim(webhook["_id"], most=1000):
                sender.send(webhook, delivery)
                attempts += 1
            clock[0] += timedelta(seconds=5)
        begun = store._database["deliveries"].count_documents({"begun": True})
        click.echo(f"an hour of 503: {attempts} attempts of {begun} deliveries of {events}")


if __name__ == "__main__":
    main()
