"""The threads in which the WSGI app answers."""

import asyncio
import logging
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from io import BytesIO
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import orjson
from granian.rsgi import Scope

from service.api.live_answer import DRIVEN, LiveAnswer
from service.contract.error_catalogue import make_problem

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

log = logging.getLogger(__name__)

Result = TypeVar("Result")

FEW = 4
"""How many threads do the work as long as it goes on."""

STALL_S = 0.005
"""After how long another one helps, when something waits and nothing begins."""

HELP_S = 1.0
"""For how long it helps: what comes meanwhile need not wait for it."""

_WITHOUT_BODY = (204, 304)


class Pieces:
    """The pieces of an answer. Any thread may make the next one; they take turns."""

    def __init__(self, answered: Iterable[bytes]) -> None:
        self._answered = answered
        self._pieces = iter(answered)
        self._is_closed = False
        self._lock = Lock()

    def make(self) -> bytes | None:
        """Make the next piece; None at the end. Raises what the app raises."""
        with self._lock:
            return None if self._is_closed else next(self._pieces, None)

    def close(self) -> None:
        """Have the app let go of what it holds for the answer. Repeating it is harmless."""
        with self._lock:
            if not self._is_closed and hasattr(self._answered, "close"):
                self._answered.close()
            self._is_closed = True


class Answer(NamedTuple):
    """What the app answers; in pieces when it does not say how many bytes it will be.

    What is live has no end that anybody knows.
    """

    status: int
    headers: list[tuple[str, str]]
    body: bytes | Pieces | LiveAnswer


def make_error(status: int, code: str, message: str) -> Answer:
    """Make the answer to a request that the app does not answer."""
    # What was not read of the body is not taken for the next request.
    headers = [("content-type", "application/json"), ("connection", "close")]
    body = orjson.dumps(make_problem(status, message, code, {}))
    return Answer(status, headers, body)


class Lane:
    """Some threads, which end with the process. Each does one thing at a time.

    Few of them do the work as long as it goes on, since all take turns with the one interpreter,
    and hand it over the more often the more they are. The others help while work waits and none
    begins, as when the few wait for a database that is slow.
    """

    def __init__(self, app: "WSGIApplication", *, threads: int) -> None:
        self._app = app
        self._work = SimpleQueue[tuple[Callable[[], Any], "asyncio.Future[Any]"]]()
        self._begun = 0
        """Changes when work begins, and is no more exact."""
        self._is_watched = False
        self._calls = SimpleQueue[None]()
        self._done = deque[tuple["asyncio.Future[Any]", Any, Exception | None]]()
        self._is_settling = False
        for number in range(threads):
            target = self._run if number < FEW else self._help
            Thread(target=target, name="lane", daemon=True).start()

    def answer(self, scope: Scope, body: bytes, size: int) -> "asyncio.Future[Answer]":
        """Have the app answer a request, when a thread is free."""
        return self.run(partial(_call, self._app, _make_environ(scope, body, size)))

    def run(self, work: Callable[[], Result]) -> "asyncio.Future[Result]":
        """Do something of an answer, when a thread is free; raise what that raises."""
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        self._work.put((work, done))
        if not self._is_watched:
            self._watch(loop)
        return done

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        self._is_watched = True
        loop.call_later(STALL_S, self._look, loop, self._begun)

    def _look(self, loop: asyncio.AbstractEventLoop, begun_before: int) -> None:
        self._is_watched = not self._work.empty()
        if self._is_watched:
            if self._begun == begun_before and self._calls.empty():
                self._calls.put(None)
            self._watch(loop)

    def _run(self) -> None:
        while True:
            self._do(*self._work.get())

    def _help(self) -> None:
        while True:
            self._calls.get()
            ends_at = time.monotonic() + HELP_S
            with suppress(Empty):
                while (left_s := ends_at - time.monotonic()) > 0:
                    self._do(*self._work.get(timeout=left_s))

    def _do(self, work: Callable[[], Any], done: "asyncio.Future[Any]") -> None:
        self._begun += 1
        if done.cancelled():
            return  # the client is gone
        result = error = None
        try:
            result = work()
        except Exception as exc:  # noqa: BLE001 (it is raised where the result is awaited)
            error = exc
        self._done.append((done, result, error))
        if not self._is_settling:  # else the loop is to be woken already
            self._is_settling = True
            with suppress(RuntimeError):  # the process is ending, and its loop has
                done.get_loop().call_soon_threadsafe(self._settle_all)

    def _settle_all(self) -> None:
        self._is_settling = False  # before it looks: what is done from here on wakes it again
        while self._done:
            self._settle(*self._done.popleft())

    def _settle(self, done: "asyncio.Future[Any]", result: Any, error: Exception | None) -> None:
        if done.cancelled():
            if isinstance(result, Answer) and not isinstance(result.body, bytes):
                self.run(result.body.close)
        elif error is None:
            done.set_result(result)
        else:
            done.set_exception(error)


def _call(app: "WSGIApplication", environ: dict[str, Any]) -> Answer:
    begun: list[Any] = []

    def start_response(status: str, headers: list[tuple[str, str]], _: Any = None, /) -> Any:
        begun[:] = int(status[:3]), headers

    try:
        answered = app(environ, start_response)
        status, headers = begun
        if isinstance(answered, LiveAnswer):
            return Answer(status, headers, answered)
        pieces = Pieces(answered)
        has_body = environ["REQUEST_METHOD"] != "HEAD" and status not in _WITHOUT_BODY
        if has_body and not any(name.lower() == "content-length" for name, _ in headers):
            return Answer(status, headers, pieces)
        try:
            return Answer(status, headers, b"".join(iter(pieces.make, None)))
        finally:
            pieces.close()
    except Exception:
        log.exception("request.crashed")
        return make_error(500, "internal_error", "Unexpected error.")


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
        DRIVEN: True,
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
