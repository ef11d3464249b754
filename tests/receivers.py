"""Receivers of webhooks: real HTTP servers on loopback, which answer as they are told."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from standardwebhooks.webhooks import Webhook

from service import app
from service.model.addresses import trust
from service.security.vault import Vault
from service.worker.deliveries import Settings
from tests.support import SECRET_KEY

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
            body = self.rfile.read(int(self.headers["Content-Length"]))
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
