"""The WSGI app behind an event loop, so that a slow client holds none of its threads.

The loop reads each request to its end, within bounds; only then it gets a thread. The health
endpoints have threads of their own, and answer whatever other requests wait for.
"""

import asyncio
import logging
import sys
from collections import Counter
from contextlib import suppress
from io import BytesIO
from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Any

import orjson
from granian._granian import RSGIHTTPProtocol
from granian.rsgi import Scope

from service.config import Config
from service.model.addresses import find_caller
from service.telemetry import metrics

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

log = logging.getLogger(__name__)

BODY_TIMEOUT_S = 30.0
"""How long a client may take to send a body."""

BODIES_LIMIT = 64
"""How many bodies of the largest size a process holds at a time, or as much of smaller ones."""

DISCARDED = 4
"""How many times the largest size is read of a body that is too large: many clients look for an
answer only when they have sent everything."""

CALLER_LIMIT = 500
"""How many requests of one address a process reads and answers at a time. Behind proxies, whose
addresses stand for many clients, they are not counted."""

OWN_THREAD = ("/healthz", "/readyz")

Answer = tuple[int, list[tuple[str, str]], bytes]
"""The status, the headers and the body."""


class Bridge:
    """An RSGI app that has the WSGI app answer."""

    def __init__(self, app: "WSGIApplication", config: Config, *, max_body_bytes: int) -> None:
        self.is_leaving = False
        """Set to have clients connect anew after the next answer."""
        self.begun = asyncio.Event()
        """Set when requests come in."""
        self.busy = Counter[str]()
        """The clients, as "ADDRESS:PORT", with requests that are read or answered."""
        self._max_body_bytes = max_body_bytes
        self._counts_callers = not config.trusted_proxies
        self._in_flight = Counter[str]()
        self._held_bytes = 0
        self._lane = _Lane(app, threads=config.threads)
        self._own_lanes = {path: _Lane(app, threads=1) for path in OWN_THREAD}

    def __rsgi_init__(self, _: asyncio.AbstractEventLoop) -> None:
        """Note that granian begins. It does so before it lets the loop go on."""
        self.begun.set()

    async def __call__(self, scope: Scope, proto: RSGIHTTPProtocol) -> None:
        """Answer a request, in one piece."""
        caller = find_caller(scope.client.rpartition(":")[0].strip("[]"))
        pieces: list[bytes] = []
        self.busy[scope.client] += 1
        self._in_flight[caller] += 1
        try:
            if self._counts_callers and self._in_flight[caller] > CALLER_LIMIT:
                raise _Rejected(503, "busy", "Too many requests of one address at a time.")
            size = await self._read(scope, proto, pieces)
            environ = _make_environ(scope, b"".join(pieces), size)
            lane = self._own_lanes.get(scope.path, self._lane)
            status, headers, body = await lane.answer(environ)
        except _Rejected as exc:
            log.info("request.rejected", extra={"code": exc.code, "address": caller})
            metrics.REJECTED.labels(exc.code).inc()
            status, headers, body = exc.answer
        finally:
            self._held_bytes -= sum(map(len, pieces))
            _decrement(self._in_flight, caller)
            _decrement(self.busy, scope.client)
        if self.is_leaving:
            headers.append(("connection", "close"))
        headers.append(("server", "skyquay"))
        proto.response_bytes(status, headers, body)

    async def _read(self, scope: Scope, proto: RSGIHTTPProtocol, pieces: list[bytes]) -> int:
        """Read the body into `pieces`; return its size.

        Of one that is larger than the app takes, some pieces are left out, and it may not be read
        to its end: the app answers by its size alone. Raises _Rejected.
        """
        declared = scope.headers.get("content-length")
        if declared is None and "transfer-encoding" not in scope.headers:
            return 0
        most = self._max_body_bytes * DISCARDED
        if declared is not None and int(declared) > most:
            return int(declared)
        size = 0
        try:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                async for piece in proto:
                    size += len(piece)
                    if size > most:
                        return size
                    if size <= self._max_body_bytes:
                        self._hold(piece, pieces)
        except TimeoutError:
            raise _Rejected(408, "request_timeout", "The body came too slowly.") from None
        if declared is not None and size < int(declared):
            raise _Rejected(400, "bad_request", "The body ended early.")
        return size

    def _hold(self, piece: bytes, pieces: list[bytes]) -> None:
        if self._held_bytes + len(piece) > BODIES_LIMIT * self._max_body_bytes:
            raise _Rejected(503, "busy", "Too many large bodies at a time.")
        self._held_bytes += len(piece)
        pieces.append(piece)


def _decrement(counts: Counter[str], name: str) -> None:
    counts[name] -= 1
    if not counts[name]:
        del counts[name]


class _Rejected(Exception):
    """A request that does not reach the app."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.answer: Answer = (
            status,
            # What was not read of the body is not taken for the next request.
            [("content-type", "application/json"), ("connection", "close")],
            orjson.dumps({"error": message, "code": code, "details": {}}),
        )
        if status == 503:
            self.answer[1].append(("retry-after", "1"))


class _Lane:
    """Threads in which the app answers. They end with the process."""

    def __init__(self, app: "WSGIApplication", *, threads: int) -> None:
        self._app = app
        self._requests = SimpleQueue[tuple[dict[str, Any], "asyncio.Future[Answer]"]]()
        for _ in range(threads):
            Thread(target=self._run, daemon=True).start()

    def answer(self, environ: dict[str, Any]) -> "asyncio.Future[Answer]":
        """Have a thread answer, when one is free."""
        answered = asyncio.get_running_loop().create_future()
        self._requests.put((environ, answered))
        return answered

    def _run(self) -> None:
        while True:
            environ, answered = self._requests.get()
            if answered.cancelled():
                continue  # the client is gone
            answer = _call(self._app, environ)
            with suppress(RuntimeError):  # the process is ending, and its loop has
                answered.get_loop().call_soon_threadsafe(_settle, answered, answer)


def _settle(answered: "asyncio.Future[Answer]", answer: Answer) -> None:
    if not answered.cancelled():
        answered.set_result(answer)


def _call(app: "WSGIApplication", environ: dict[str, Any]) -> Answer:
    begun: list[Any] = []

    def start_response(status: str, headers: list[tuple[str, str]], _: Any = None, /) -> Any:
        begun[:] = int(status[:3]), headers

    try:
        pieces = app(environ, start_response)
        try:
            body = b"".join(pieces)
        finally:
            if hasattr(pieces, "close"):
                pieces.close()
    except Exception:
        log.exception("request.crashed")
        return _Rejected(500, "internal_error", "Unexpected error.").answer
    status, headers = begun
    return status, headers, body


def _make_environ(scope: Scope, body: bytes, size: int) -> dict[str, Any]:
    """Make what WSGI (PEP 3333) hands an app of a request."""
    server, _, port = scope.server.rpartition(":")
    client, _, client_port = scope.client.rpartition(":")
    environ: dict[str, Any] = {
        "REQUEST_METHOD": scope.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": scope.path.encode().decode("latin-1"),
        "QUERY_STRING": scope.query_string,
        "SERVER_NAME": server.strip("[]"),
        "SERVER_PORT": port,
        "SERVER_PROTOCOL": f"HTTP/{scope.http_version}",
        "REMOTE_ADDR": client.strip("[]"),
        "REMOTE_PORT": client_port,
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope.scheme,
        "wsgi.input": BytesIO(body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    for name, value in scope.headers.items():
        # X_Forwarded_For would become the variable of X-Forwarded-For, which proxies vouch for.
        if "_" not in name:
            variable = f"HTTP_{name.replace('-', '_').upper()}"
            before = environ.get(variable)
            environ[variable] = value if before is None else f"{before}, {value}"
    environ.pop("HTTP_TRANSFER_ENCODING", None)
    if "HTTP_CONTENT_TYPE" in environ:
        environ["CONTENT_TYPE"] = environ.pop("HTTP_CONTENT_TYPE")
    environ.pop("HTTP_CONTENT_LENGTH", None)
    environ["CONTENT_LENGTH"] = str(size)
    return environ
