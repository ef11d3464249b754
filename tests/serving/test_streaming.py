"""Answers that are sent while they are made: to clients that read, that do not, and that go."""

import asyncio
import os
import socket
import threading
from contextlib import ExitStack, contextmanager

import pytest

from service.serving import bridge, streaming
from service.serving.bridge import Bridge
from service.serving.server import Http
from tests.serving.test_server import CONFIG, REQUEST, TIMEOUT_S, ask, read_all, sent, served
from tests.support import eventually

PIECE = b"x" * 65536
END = b"\r\n0\r\n\r\n"


class Long:
    """A WSGI app with a long answer, and what became of it."""

    def __init__(self, pieces=None, status="200 OK"):
        self.made = 0
        self.closed = threading.Event()
        self._pieces = pieces
        self._status = status

    def __call__(self, environ, start_response):
        """Answer `/asked` at length, and everything else shortly."""
        long = environ["PATH_INFO"] == "/asked"
        start_response(self._status, [] if long else [("Content-Length", "2")])
        has_no_body = environ["REQUEST_METHOD"] == "HEAD" or self._status.startswith("304")
        return self if long and not has_no_body else Short(self)

    def __iter__(self):
        """Make the pieces; without end where none are given."""
        for piece in self._pieces or iter(lambda: PIECE, None):
            self.made += 1
            yield piece

    def close(self):
        """Note that the server has let go."""
        self.closed.set()


class Short:
    """A body that is known."""

    def __init__(self, app):
        self.close = app.close

    def __iter__(self):
        """Make it."""
        yield b"ok"


def begin(port, stack):
    """Ask for the long answer, and read its beginning on a connection that holds little."""
    client = stack.enter_context(socket.socket())
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.settimeout(TIMEOUT_S)
    client.connect(("127.0.0.1", port))
    client.sendall(REQUEST)
    return client, client.recv(12)


def test_what_is_made_is_sent_at_once():
    """The client reads the first piece before there is a second."""
    go_on = threading.Event()

    def make():
        yield b"first"
        assert go_on.wait(TIMEOUT_S)
        yield b"second"

    with served(Long(make())) as port, sent(port, REQUEST) as connection:
        received = b""
        while b"first" not in received:
            received += connection.recv(65536)
        go_on.set()
        while not received.endswith(END):
            received += connection.recv(65536)

    assert b"second" in received


def test_a_connection_is_kept_after_a_streamed_answer():
    """Its end is told by a last chunk, and the next request is answered on the same connection."""
    with served(Long([b"a", b"b"])) as port:
        last = REQUEST.replace(b"asked", b"short")[:-2] + b"Connection: close\r\n\r\n"
        with sent(port, REQUEST + last) as connection:
            received = read_all(connection)

    assert (2, True) == (received.count(b"HTTP/1.1 200"), received.endswith(b"ok"))


@pytest.mark.parametrize(
    ("request_", "status"), [(REQUEST.replace(b"GET", b"HEAD"), "200 OK"), (REQUEST, "304 X")]
)
def test_what_has_no_body_is_not_streamed(request_, status):
    """Nothing follows the head, and the app lets go of its answer."""
    app = Long([b"a"], status)
    with served(app) as port, sent(port, request_[:-2] + b"Connection: close\r\n\r\n") as client:
        received = read_all(client)

    assert (True, True) == (received.endswith(b"\r\n\r\n"), app.closed.is_set())
    assert b"chunked" not in received


def test_an_answer_that_fails_is_cut_off(logged):
    """No part passes for the whole: the connection ends before the answer does."""

    go_on = threading.Event()

    def fail():
        yield PIECE
        assert go_on.wait(TIMEOUT_S)
        raise RuntimeError("of the test")

    app = Long(fail())
    with served(app) as port, ExitStack() as stack:
        client, status = begin(port, stack)
        go_on.set()
        received = read_all(client)

        assert app.closed.wait(TIMEOUT_S)
    assert (b"HTTP/1.1 200", False) == (status, received.endswith(END))
    assert "of the test" in logged.getvalue()


def test_no_more_is_made_than_a_client_takes(monkeypatch):
    """Who reads too slowly is cut off, and until then little waits for it in memory."""
    monkeypatch.setattr(streaming, "ROOM_TIMEOUT_S", 0.3)
    monkeypatch.setattr(streaming, "WINDOW_BYTES", 4 * len(PIECE))
    app = Long()
    with served(app) as port, ExitStack() as stack:
        client, _ = begin(port, stack)

        assert app.closed.wait(TIMEOUT_S)
        received = read_all(client)

    assert app.made < 8
    assert not received.endswith(END)


def test_a_client_that_is_gone_ends_its_answer():
    """The app lets go of what it held for it."""
    app = Long()
    with served(app) as port:
        with ExitStack() as stack:
            begin(port, stack)

        assert app.closed.wait(TIMEOUT_S)


def test_slow_readers_hold_no_thread():
    """With one thread, others are answered while several do not read on."""
    app = Long()
    with served(app) as port, ExitStack() as stack:
        for _ in range(5):
            begin(port, stack)

        assert "ok" == ask(port, "/short").text


def test_only_so_many_answers_are_sent_at_length(monkeypatch):
    """One more is refused until one of them has ended."""
    monkeypatch.setattr(bridge, "STREAMS_LIMIT", 1)
    app = Long()
    with served(app) as port:
        with ExitStack() as stack:
            begin(port, stack)
            answer = ask(port, "/asked")

        assert (503, "busy", "1") == (
            answer.status_code, answer.json()["code"], answer.headers["Retry-After"]
        )  # fmt: skip

        def is_begun():
            with ExitStack() as stack:
                return begin(port, stack)[1] == b"HTTP/1.1 200"

        assert eventually(is_begun)


@contextmanager
def stoppable(app, drain_s):
    """Serve as a process does; return the port, and the function that has it stop."""
    stopped = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]

    async def serve():
        http = Http(Bridge(app, CONFIG, max_body_bytes=1), listener)
        serving = asyncio.create_task(http.serve())
        await asyncio.to_thread(stopped.wait, TIMEOUT_S)
        http.stop()
        await asyncio.wait({serving}, timeout=drain_s)

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    try:
        yield port, stopped.set
    finally:
        stopped.set()
        thread.join(TIMEOUT_S)


def test_a_stop_lets_an_answer_come_to_its_end():
    """As every request that is under way."""
    go_on = threading.Event()

    def make():
        yield PIECE
        assert go_on.wait(TIMEOUT_S)
        yield b"last"

    with stoppable(Long(make()), drain_s=TIMEOUT_S) as (port, stop), ExitStack() as stack:
        client, _ = begin(port, stack)
        stop()
        go_on.set()
        received = read_all(client)

    assert received.endswith(b"last" + END)


def test_a_process_that_ends_cuts_its_answers_off():
    """What it cannot finish in its time does not pass for the whole."""
    app = Long()
    with stoppable(app, drain_s=0) as (port, stop), ExitStack() as stack:
        client, _ = begin(port, stack)
        stop()
        received = read_all(client)

    assert (True, False) == (app.closed.is_set(), received.endswith(END))


def test_a_connection_that_is_gone_is_not_found():
    """Then there is nobody to send to. The search leaves no file open."""

    class Scope:
        client, server = "127.0.0.1:1", "127.0.0.1:2"

    before = os.listdir("/proc/self/fd")

    with pytest.raises(streaming.CutOff):
        streaming.Connection(Scope())
    assert set() == set(os.listdir("/proc/self/fd")) - set(before)
