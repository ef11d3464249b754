"""Live answers as they are served: none holds a thread, and all end when they are to."""

import threading
from contextlib import ExitStack, contextmanager

import pytest

from service.api import live_answer
from service.api.live_answer import LiveAnswer
from service.config import Config
from service.serving import server, streaming
from tests.feeds import Feed, Flood
from tests.serving.test_server import REQUEST, TIMEOUT_S, ask, sent, served
from tests.serving.test_streaming import END, Short, begin
from tests.support import eventually


class Live:
    """A WSGI app with live answers at `/asked`, each of a new feed."""

    def __init__(self, make_feed=Feed):
        self.feeds = []
        self.ended = []
        self.stopping = threading.Event()
        self._make_feed = make_feed

    def __call__(self, environ, start_response):
        """Answer `/asked` for long, and everything else shortly."""
        if environ["PATH_INFO"] != "/asked":
            start_response("200 OK", [("Content-Length", "2")])
            return Short(self)
        start_response("200 OK", [("Content-Type", "text/event-stream")])
        feed = self._make_feed()
        answer = LiveAnswer(
            feed, family="", permit=None, stopping=self.stopping, on_close=self.ended.append
        )
        self.feeds.append(feed)
        return answer

    def close(self):
        """Do nothing: a short answer has nothing to let go of."""


@contextmanager
def opened(app, *, threads=1):
    """Serve the app, and open one live answer; yield the port, the client and the feed."""
    with (
        served(app, Config(threads=threads)) as port,
        sent(port, REQUEST) as client,
    ):
        read_until(client, b"retry: 1000\n\n")
        yield port, client, app.feeds[-1]


def read_until(client, expected):
    """Read until this came; return all that did."""
    received = b""
    while expected not in received:
        piece = client.recv(65536)
        assert piece, received
        received += piece
    return received


def test_what_happens_is_sent_at_once():
    """The client reads the first before there is a second."""
    with opened(Live()) as (_, client, feed):
        feed.put(b"data: 1\n\n")
        first = read_until(client, b"data: 1\n\n")
        feed.put(b"data: 2\n\n")
        read_until(client, b"data: 2\n\n")

    assert b"data: 2" not in first


def test_live_answers_hold_no_thread():
    """With one thread, others are answered while many are open, and each goes on."""
    app = Live()
    with opened(app) as (port, _, _), ExitStack() as stack:
        clients = [stack.enter_context(sent(port, REQUEST)) for _ in range(20)]
        for client in clients:
            read_until(client, b"retry")

        assert "ok" == ask(port, "/short").text
        for feed in app.feeds:
            feed.put(b"data: 1\n\n")
        for client in clients:
            read_until(client, b"data: 1")


def test_a_source_that_ends_ends_the_answer():
    """The last chunk says so, and the connection may bring the next request."""
    with opened(Live()) as (_, client, feed):
        feed.put(b"data: 1\n\n")
        feed.put(None)
        read_until(client, END)
        client.sendall(REQUEST.replace(b"asked", b"short"))
        read_until(client, b"ok")

        assert feed.closed.wait(TIMEOUT_S)


def test_silence_is_broken(monkeypatch):
    """Silence longer than what granian waits for a request's headers ends nothing."""
    monkeypatch.setattr(live_answer, "COMMENT_S", 0.4)
    monkeypatch.setattr(server, "HEADERS_TIMEOUT_S", 1)
    with opened(Live()) as (_, client, feed):
        received = b""
        while received.count(b":\n\n") < 4:
            received += read_until(client, b":\n\n")
        feed.put(b"data: 1\n\n")
        read_until(client, b"data: 1\n\n")


def test_a_client_that_is_gone_is_noticed_in_silence():
    """The source is let go of although there was nothing to send."""
    app = Live()
    with served(app) as port:
        with sent(port, REQUEST) as client:
            read_until(client, b"retry")

        assert app.feeds[0].closed.wait(TIMEOUT_S)
        assert eventually(lambda: len(app.ended) == 1)


def test_who_reads_too_slowly_is_cut_off(monkeypatch):
    """Little waits for it in memory until then."""
    monkeypatch.setattr(streaming, "ROOM_TIMEOUT_S", 0.3)
    app = Live(Flood)
    with served(app) as port, ExitStack() as stack:
        begin(port, stack)

        assert eventually(lambda: app.feeds and app.feeds[0].closed.is_set())
    assert app.feeds[0].taken < 8


def test_a_flood_leaves_others_their_turn():
    """While one client takes all that there is, without end, another is answered."""
    app = Live(Flood)
    with served(app) as port, sent(port, REQUEST) as client:
        is_over = threading.Event()

        def read():
            while not is_over.is_set():
                client.recv(1 << 20)

        reader = threading.Thread(target=read)
        reader.start()
        try:
            assert "ok" == ask(port, "/short").text
        finally:
            is_over.set()
            reader.join(TIMEOUT_S)


def test_a_source_that_fails_is_cut_off(logged):
    """No part passes for the whole."""

    class Broken(Feed):
        def take(self):
            raise RuntimeError("of the test")

    app = Live(Broken)
    with served(app) as port, sent(port, REQUEST) as client:
        received = b""
        while piece := client.recv(65536):
            received += piece

        assert app.feeds[0].closed.wait(TIMEOUT_S)
    assert not received.endswith(END)
    assert "of the test" in logged.getvalue()


@pytest.mark.parametrize("make_feed", [Feed, Flood])
def test_a_stop_ends_all(make_feed):
    """Also those whose clients do not read; so a process need not wait for them."""
    app = Live(make_feed)
    with served(app) as port, ExitStack() as stack:
        begin(port, stack)
        begin(port, stack)
        assert eventually(lambda: len(app.feeds) == 2)
        app.stopping.set()
        for feed in app.feeds:
            feed._wake()

        assert eventually(lambda: len(app.ended) == 2)


def test_a_request_says_whether_its_server_needs_a_thread():
    """Only this server drives live answers."""
    seen = []

    def app(environ, start_response):
        seen.append(environ[live_answer.DRIVEN])
        start_response("200 OK", [("Content-Length", "0")])
        return []

    with served(app) as port:
        ask(port)

    assert [True] == seen
