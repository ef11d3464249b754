"""Receivers of webhooks: real HTTP servers on loopback, which answer as they are told."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast

from bson import Int64
from pymongo.database import Database
from standardwebhooks.webhooks import Webhook

from service import app, keys, webhook_matching, webhooks
from service.model.addresses import trust
from service.model.documents import Delivery, Event
from service.security.vault import Vault
from service.store import Store
from service.store.fan_out import STATE
from service.worker.deliveries import Sender, Settings
from tests.support import FAR, NOON, SECRET_KEY

Headers = dict[str, str]


@dataclass
class Receiver:
    """What was sent to it, oldest first."""

    port: int = 0
    got: list[tuple[Headers, bytes]] = field(default_factory=list)
    answer: Callable[[int], tuple[int, Headers, bytes]] = lambda _: (204, {}, b"")
    """Says with what the request of this number is answered, which begins with 0."""
    hangs: threading.Event | None = None
    """Nothing is answered until this is set."""

    @property
    def url(self) -> str:
        """Return its address."""
        return f"http://127.0.0.1:{self.port}/hook"

    @property
    def ids(self) -> list[str]:
        """List the `webhook-id` of each request."""
        return [headers["webhook-id"] for headers, _ in self.got]

    def events(self) -> list[dict[str, Any]]:
        """Read the events that it got."""
        return [json.loads(body) for _, body in self.got]

    def verify(self, secret: str) -> list[dict[str, Any]]:
        """Read them like a receiver that checks each signature. Raises WebhookVerificationError."""
        return [Webhook(secret).verify(body, headers) for headers, body in self.got]


@contextmanager
def receiving(**over: Any) -> Iterator[Receiver]:
    """Run a receiver meanwhile."""
    receiver = Receiver(**over)

    class Handler(BaseHTTPRequestHandler):
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            size = int(self.headers["Content-Length"])
            body = self.rfile.read(size)
            if len(body) < size:
                return  # whoever sent it was killed meanwhile
            number = len(receiver.got)
            receiver.got.append(({name.lower(): v for name, v in self.headers.items()}, body))
            if receiver.hangs is not None:
                receiver.hangs.wait(30)
                return
            status, headers, answer = receiver.answer(number)
            self.send_response(status)
            for name, value in {"Content-Length": str(len(answer)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: Any) -> None:
            pass

        def handle(self) -> None:
            with suppress(ConnectionError):
                super().handle()

    class Server(ThreadingHTTPServer):
        request_queue_size = 128
        daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as server:
        receiver.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield receiver
        finally:
            if receiver.hangs is not None:
                receiver.hangs.set()
            server.shutdown()
            thread.join()


def settings(**over: Any) -> Settings:
    """Make what deliveries are sent with. Every address is allowed."""
    usual = {
        "open_secret": Vault(SECRET_KEY).open,
        "print_event": app.print_event,
        "make_rule": lambda _: trust,
    }
    return Settings(**{**usual, **over})


def a_webhook(store: Store, url: str, **over: Any) -> tuple[dict[str, Any], str]:
    """Add a webhook of a key that may do everything, or of another; with its secret."""
    key = over.pop("key", None) or keys.create(store, name="hooks", now=NOON)[0]
    acts_for = over.pop("acts_for", None)
    order: Any = {"url": url, "types": None, "wanted": {}, "secret": None, **over}
    made, secret = webhooks.create(
        store, Vault(SECRET_KEY), key, order, acts_for=acts_for, refuse=trust, now=NOON
    )
    return cast("dict[str, Any]", made), secret


def an_event(number: int, **over: Any) -> Event:
    """Make an event of an image, which every key is told of, unless it is said otherwise."""
    event: Any = {
        "_id": Int64(number),
        "type": "image.updated",
        "at": NOON,
        "kind": "image",
        "resource_id": "i1",
        "instance_id": None,
        "user_id": None,
        "node_id": None,
        "cause": None,
        "expires_at": FAR,
    }
    return cast(Event, {**event, **over})


def make_deliveries(store: Store, database: Database[Any], *events: Event) -> list[Delivery]:
    """Have these happen, and their deliveries be made; list those that wait, oldest first."""
    database["events"].insert_many([dict(event) for event in events])
    begin = {"$set": {"place": events[0]["_id"] - 1, "lease": None}}
    database["meta"].update_one(STATE, begin, upsert=True)
    store.fan_out.take("t", lease_s=30)
    found = store.fan_out.list_after(store.fan_out.read_place(), limit=1000)
    made = webhook_matching.make_deliveries(store, found, now=NOON)
    assert store.fan_out.move("t", found[-1]["_id"], made, lease_s=30)
    store.fan_out.release("t")
    waiting = [each for each in store.deliveries.all() if each["status"] == "waiting"]
    return sorted(waiting, key=lambda each: each["event_id"])


def send_due(store: Store, sender: Sender) -> list[str]:
    """Send what is due now, and list what became of it."""
    return [
        str(sender.send(webhook, delivery))
        for webhook in store.webhooks.list_enabled()
        for delivery in sender.claim(webhook["_id"], most=100)
    ]
