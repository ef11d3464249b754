"""The WSGI app behind an event loop, so that a slow client holds none of its threads.

The loop reads each request to its end, within bounds; only then it gets a thread, and what is long
of an answer gets one for each of its pieces. An answer that is live needs none while it goes on.
The health endpoints have threads of their own, and answer whatever other requests wait for.
"""

import asyncio
import logging
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING

from granian._granian import RSGIHTTPProtocol
from granian.rsgi import Scope

from service.api.live_answer import LiveAnswer
from service.config import Config
from service.model.addresses import find_caller
from service.serving import live_sending, streaming
from service.serving.lane import Answer, Lane, Pieces, make_error
from service.serving.live_sending import Waker
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

STREAMS_LIMIT = 32
"""How many answers a process sends in several pieces at a time; of each it holds a few MiB."""

CALLER_LIMIT = 500
"""How many requests of one address a process reads and answers at a time. Behind proxies, whose
addresses stand for many clients, they are not counted."""

OWN_THREAD = ("/healthz", "/readyz")


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
        self._streams = 0
        self._lane = Lane(app, threads=config.threads)
        self._own_lanes = {path: Lane(app, threads=1) for path in OWN_THREAD}

    def __rsgi_init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Note that granian begins. It does so before it lets the loop go on."""
        self._waker = Waker(loop)
        self.begun.set()

    async def __call__(self, scope: Scope, proto: RSGIHTTPProtocol) -> None:
        """Answer a request: in one piece, or in several while the app makes them."""
        caller = find_caller(scope.client.rpartition(":")[0].strip("[]"))
        lane = self._own_lanes.get(scope.path, self._lane)
        self.busy[scope.client] += 1
        self._in_flight[caller] += 1
        try:
            answer = await self._answer(scope, proto, lane, caller)
            if self.is_leaving:
                answer.headers.append(("connection", "close"))
            answer.headers.append(("server", "skyquay"))
            if isinstance(answer.body, bytes):
                proto.response_bytes(answer.status, answer.headers, answer.body)
            elif isinstance(answer.body, LiveAnswer):
                send = partial(live_sending.send, answer.body, proto, self._waker)
                await streaming.send(scope, proto, lane, answer, answer.body, send)
            else:
                self._streams += 1
                send = partial(streaming.send_pieces, answer.body, lane)
                try:
                    await streaming.send(scope, proto, lane, answer, answer.body, send)
                finally:
                    self._streams -= 1
        finally:
            _decrement(self._in_flight, caller)
            _decrement(self.busy, scope.client)

    async def _answer(
        self, scope: Scope, proto: RSGIHTTPProtocol, lane: Lane, caller: str
    ) -> Answer:
        pieces: list[bytes] = []
        try:
            if self._counts_callers and self._in_flight[caller] > CALLER_LIMIT:
                raise _Rejected(503, "busy", "Too many requests of one address at a time.")
            size = await self._read(scope, proto, pieces)
            answer = await lane.answer(scope, b"".join(pieces), size)
            if isinstance(answer.body, Pieces) and self._streams >= STREAMS_LIMIT:
                lane.run(answer.body.close)
                raise _Rejected(503, "busy", "Too many long answers at a time.")
        except _Rejected as exc:
            log.info("request.rejected", extra={"code": exc.code, "address": caller})
            metrics.REJECTED.labels(exc.code).inc()
            return exc.answer
        finally:
            self._held_bytes -= sum(map(len, pieces))
        return answer

    async def _read(self, scope: Scope, proto: RSGIHTTPProtocol, pieces: list[bytes]) -> int:
        """Read the body into `pieces`; return its size.

        Of one that is larger than the app takes, some pieces are left out, and it may not be read
        to its end: the app answers by its size alone. Raises _Rejected.
        """
        declared = scope.headers.get("content-length")
        is_chunked = "transfer-encoding" in scope.headers
        if declared is None and not is_chunked:
            return 0
        most = self._max_body_bytes * DISCARDED
        length = None if declared is None else int(declared)
        if length is not None and length > most:
            return length
        size = 0
        try:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                async for piece in proto:
                    size += len(piece)
                    if size > most:
                        return size
                    if size <= self._max_body_bytes:
                        self._hold(piece, pieces)
                    if size == length and not is_chunked:
                        break  # its end is known: to be told of it takes as long as a piece
        except TimeoutError:
            raise _Rejected(408, "request_timeout", "The body came too slowly.") from None
        if length is not None and size < length:
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
        self.answer = make_error(status, code, message)
        if status == 503:
            self.answer.headers.append(("retry-after", "1"))
