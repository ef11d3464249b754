"""What one process that serves takes from clients, kind and hostile, that reach it directly."""

import asyncio
import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from http.client import HTTPResponse
from select import select

import pytest
import requests

from service.app import create_app
from service.config import Config
from service.serving import bridge, connection_limit, server
from service.serving.bridge import DISCARDED, Bridge
from service.serving.server import HEADERS_LIMIT_BYTES, Http, Server
from tests.support import a_key, eventually

CONFIG = Config(threads=1)
MAX_BODY_BYTES = 1000
TIMEOUT_S = 30
REQUEST = b"GET /asked HTTP/1.1\r\nHost: h\r\n\r\n"
LAST = b"Connection: close\r\n\r\n"
EXPECTING = b"POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
HALF_A_BODY = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\n" + b"x" * 500


@contextmanager
def served(
    app: Callable, config: Config = CONFIG, *, max_body_bytes: int = MAX_BODY_BYTES
) -> Iterator[int]:
    """Serve a WSGI app as a process would; return the port."""
    with served_by(Bridge(app, config, max_body_bytes=max_body_bytes)) as port:
        yield port


@contextmanager
def served_by(app: Bridge) -> Iterator[int]:
    """Serve what this bridge leads to; return the port."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)
    port = listener.getsockname()[1]
    http = Http(app, listener)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_until_complete, args=(http.serve(),))
    thread.start()
    try:
        yield port
    finally:
        loop.call_soon_threadsafe(http.stop)
        thread.join(TIMEOUT_S)
        loop.close()


def echo(environ, start_response):
    """Answer what the app sees of a request."""
    body = environ["wsgi.input"].read()
    seen = {name: value for name, value in environ.items() if isinstance(value, str)}
    answer = json.dumps({**seen, "body": body.decode("latin-1")}).encode()
    start_response("200 OK", [("Content-Length", str(len(answer)))])
    return [answer]


@pytest.fixture
def port():
    """Where `echo` is served."""
    with served(echo) as port:
        yield port


@pytest.fixture
def app(config, store, memory_nodes):
    """The real app, which takes only small bodies."""
    app = create_app(config, store, memory_nodes)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    return app


@contextmanager
def sent(port: int, *pieces: bytes) -> Iterator[socket.socket]:
    """Connect and send this."""
    with socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S) as connection:
        for piece in pieces:
            connection.sendall(piece)
        yield connection


def read_all(connection: socket.socket) -> bytes:
    """Read until the server closes."""
    received = b""
    while piece := connection.recv(65536):
        received += piece
    return received


def read_answer(connection: socket.socket) -> tuple[int, dict]:
    """Read one answer: its status and its JSON."""
    answer = HTTPResponse(connection)
    answer.begin()
    return answer.status, json.loads(answer.read())


def ask(port: int, path: str = "/", **kwargs) -> requests.Response:
    """Ask on a connection of its own."""
    return requests.get(f"http://127.0.0.1:{port}{path}", timeout=TIMEOUT_S, **kwargs)


# What any client may send


def test_a_request_reaches_the_app_as_it_was_sent(port):
    """
    Method, path, query, headers, address and body are what the client sent.
    """
    seen = requests.put(
        f"http://127.0.0.1:{port}/a%20b/%C3%A9?c=%20",
        data=b"\0body",
        headers={"Content-Type": "text/x", "X-Api-Key": "k"},
        timeout=TIMEOUT_S,
    ).json()

    assert {
        "REQUEST_METHOD": "PUT", "PATH_INFO": "/a b/Ã©", "QUERY_STRING": "c=%20",
        "CONTENT_TYPE": "text/x", "CONTENT_LENGTH": "5", "HTTP_X_API_KEY": "k",
        "HTTP_HOST": f"127.0.0.1:{port}", "REMOTE_ADDR": "127.0.0.1", "SERVER_PORT": str(port),
        "body": "\0body",
    }.items() <= seen.items()  # fmt: skip


def test_an_answer_is_sent_whole(port):
    """
    Head and body leave in one piece: of a process that is killed a proxy has all of an answer or
    nothing, and cannot ask again once it has some.
    """
    with sent(port, REQUEST) as connection:
        piece = connection.recv(65536)

    head, _, body = piece.partition(b"\r\n\r\n")
    assert (True, "/asked") == (head.startswith(b"HTTP/1.1 200"), json.loads(body)["PATH_INFO"])


def test_requests_in_a_row_are_answered_in_order(port):
    """
    A client may send further requests before it has an answer.
    """
    first, second, third = (REQUEST.replace(b"asked", name) for name in (b"1", b"2", b"3"))
    with sent(port, first + second + third[:-2] + LAST) as connection:
        received = read_all(connection)

    places = [received.find(b'"PATH_INFO": "/%d"' % number) for number in (1, 2, 3)]
    assert (3, sorted(places)) == (received.count(b"HTTP/1.1 200"), places)
    assert -1 not in places


def test_a_body_in_chunks_arrives_whole(port):
    """
    A body whose size was not declared is put together, and its size is what it came to.
    """
    head = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
    with sent(port, head, b"2\r\nab\r\n", b"1\r\nc\r\n0\r\n\r\n") as connection:
        _, seen = read_answer(connection)

    assert ("abc", "3") == (seen["body"], seen["CONTENT_LENGTH"])


def test_who_expects_to_be_asked_for_the_body_is_asked(port):
    """
    A client that sends `Expect: 100-continue` is told to go on.
    """
    with sent(port, EXPECTING) as connection:
        told = connection.recv(65536)
        connection.sendall(b"ab")
        _, seen = read_answer(connection)

    assert (b"HTTP/1.1 100 Continue\r\n\r\n", "ab") == (told, seen["body"])


def test_head_has_no_body(port):
    """
    HEAD answers how long the body would be, without it.
    """
    with sent(port, REQUEST.replace(b"GET", b"HEAD")[:-2] + LAST) as connection:
        received = read_all(connection)

    assert (True, True) == (b"content-length: " in received, received.endswith(b"\r\n\r\n"))


def test_a_crash_is_answered():
    """
    Where the app itself fails, the answer is a 500 in JSON, and the thread goes on.
    """

    def crash(environ, start_response):
        raise RuntimeError("of the test")

    with served(crash) as port:
        answers = [ask(port) for _ in range(2)]

    assert [(500, "internal_error")] * 2 == [(a.status_code, a.json()["code"]) for a in answers]


# Bounds


def test_headers_that_come_slowly_hold_nothing(monkeypatch):
    """
    Who does not finish the headers in time is cut off, however often a further one comes.
    """
    monkeypatch.setattr(server, "HEADERS_TIMEOUT_S", 1)
    over, received = threading.Event(), b""
    with served(echo) as port, sent(port, REQUEST[:-2]) as connection:

        def send_on():
            while not over.wait(0.2):
                with suppress(OSError):  # it is cut off
                    connection.sendall(b"X-A: b\r\n")

        sender = threading.Thread(target=send_on)
        sender.start()
        with suppress(ConnectionResetError):
            received = read_all(connection)
        over.set()
        sender.join()

    assert b"HTTP/1.1 200" not in received


def test_a_body_that_comes_slowly_is_refused(monkeypatch):
    """
    Who does not finish the body in time is told so, in JSON, and cut off.
    """
    monkeypatch.setattr(bridge, "BODY_TIMEOUT_S", 0.2)
    with served(echo) as port, sent(port, HALF_A_BODY) as connection:
        status, answer = read_answer(connection)

        assert (408, "request_timeout") == (status, answer["code"])
        assert b"" == connection.recv(1)


def test_slow_clients_hold_no_thread(port):
    """
    With one thread, requests are answered while many others have sent half a body or half a head.
    """
    with ExitStack() as stack:
        for piece in [HALF_A_BODY, REQUEST[:-2], b""] * 20:
            stack.enter_context(sent(port, piece))

        assert 200 == ask(port).status_code


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_health_is_told_while_all_threads_wait(path):
    """
    The health endpoints answer also when no other request gets a thread.
    """
    waiting, go_on = threading.Semaphore(0), threading.Event()

    def wait(environ, start_response):
        if environ["PATH_INFO"] == "/asked":
            waiting.release()
            go_on.wait(TIMEOUT_S)
        return echo(environ, start_response)

    with served(wait) as port, sent(port, REQUEST), sent(port, REQUEST):
        assert waiting.acquire(timeout=TIMEOUT_S)
        answer = ask(port, path)
        go_on.set()

    assert 200 == answer.status_code


@pytest.mark.parametrize("size", [1001, DISCARDED * 1000, 10_000_000])
@pytest.mark.parametrize("chunked", [True, False])
def test_a_body_that_is_too_large_is_refused_by_the_app(app, store, size, chunked):
    """
    The answer is the API's own 413, whether the size is declared or not; of what is far too large
    no more is read than that.
    """
    body = b"x" * min(size, 100_000)
    size_line = b"Content-Length: %d" % size
    if chunked:
        size_line, body = (
            b"Transfer-Encoding: chunked",
            b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body),
        )
    head = b"POST /api/getUser HTTP/1.1\r\nHost: h\r\nx-api-key: %s\r\n" % a_key(store).encode()
    with served(app) as port, sent(port, head + size_line + b"\r\n\r\n") as connection:
        with suppress(OSError):  # it may be answered, and closed, before all was sent
            connection.sendall(body)
        status, answer = read_answer(connection)

    assert (413, "request_entity_too_large") == (status, answer["code"])


def test_only_so_many_bodies_are_held(monkeypatch):
    """
    Bodies that would take too much memory together are refused, until others are gone.
    """
    monkeypatch.setattr(bridge, "BODIES_LIMIT", 1)
    with served(echo) as port:

        def post():
            answer = requests.post(f"http://127.0.0.1:{port}/", b"x" * 1000, timeout=TIMEOUT_S)
            return answer.status_code, answer.json().get("code")

        with sent(port, HALF_A_BODY):
            assert eventually(lambda: post() == (503, "busy"))

        assert eventually(lambda: post() == (200, None))


@pytest.mark.parametrize(("proxies", "status"), [(0, 503), (1, 200)])
def test_one_address_has_so_many_requests_at_a_time(monkeypatch, proxies, status):
    """
    Who has too many under way is refused one more; a proxy is not, as it asks for many.
    """
    monkeypatch.setattr(bridge, "CALLER_LIMIT", 1)
    config = replace(CONFIG, trusted_proxies=proxies)
    with served(echo, config) as port, sent(port, EXPECTING) as first:
        first.recv(65536)  # it is being read
        answer = ask(port)

    assert status == answer.status_code


def test_connections_of_one_address_are_bounded(monkeypatch):
    """
    What one address opens past its limit is closed, but nothing with a request under way.
    """
    monkeypatch.setattr(connection_limit, "ADDRESS_LIMIT", 3)
    started, may_answer = threading.Event(), threading.Event()

    def wait(environ, start_response):
        started.set()
        may_answer.wait(TIMEOUT_S)
        return echo(environ, start_response)

    app = Bridge(wait, CONFIG, max_body_bytes=MAX_BODY_BYTES)
    with served_by(app) as port, ExitStack() as stack:
        silent = [stack.enter_context(sent(port)) for _ in range(5)]
        asking = stack.enter_context(sent(port, REQUEST))
        assert started.wait(TIMEOUT_S)
        closed = eventually(lambda: connection_limit.close_excess(port, app.busy))["127.0.0.1"]
        may_answer.set()
        status, _ = read_answer(asking)
        ended, _, _ = select(silent, [], [], TIMEOUT_S)

    assert (200, True) == (status, 2 <= closed == len(ended))


def test_a_look_at_all_files_leaves_none_open(monkeypatch):
    """
    Also of those that are no sockets, which a process with many connections has as well.
    """
    monkeypatch.setattr(connection_limit, "ADDRESS_LIMIT", 0)
    connection_limit.close_excess(1, set())
    before = len(os.listdir("/proc/self/fd"))

    connection_limit.close_excess(1, set())

    assert before == len(os.listdir("/proc/self/fd"))


def test_a_look_that_fails_does_not_end_the_bound(monkeypatch):
    """
    The connections are counted again and again, although the files cannot be listed once.
    """
    monkeypatch.setattr(connection_limit, "INTERVAL_S", 0)
    monkeypatch.setattr(connection_limit, "OPEN_FILES", "/nowhere")

    with pytest.raises(TimeoutError):  # and not what the look raised
        asyncio.run(asyncio.wait_for(connection_limit.enforce(1, ()), 0.05))


def test_a_stop_at_the_beginning_is_heard(monkeypatch, app):
    """
    A process that is told to stop as it begins to serve leaves no thread of granian's behind.
    """
    before, begins = set(os.listdir("/proc/self/task")), Bridge.__rsgi_init__

    def begin_and_stop(bridge, loop):
        begins(bridge, loop)
        serving._on_stop()

    monkeypatch.setattr(Bridge, "__rsgi_init__", begin_and_stop)
    for _ in range(10):  # where the stop was missed, it was so once in six times
        serving = Server(app, CONFIG, socket.create_server(("127.0.0.1", 0)))
        asyncio.run(serving._serve())

    known = before | {str(thread.native_id) for thread in threading.enumerate()}
    assert eventually(lambda: known.issuperset(os.listdir("/proc/self/task")))


def test_headers_are_bounded(port):
    """
    A head that is too long is refused.
    """
    with sent(port, REQUEST[:-2] + b"X-A: " + b"a" * HEADERS_LIMIT_BYTES) as connection:
        assert b"HTTP/1.1 431" == connection.recv(12)


# What is meant to deceive


@pytest.mark.parametrize(
    "head",
    [
        "Content-Length: 4\r\nContent-Length: 5",
        "Content-Length: +4",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding: xchunked\r\nContent-Length: 4",
        "X-A: a\r\n b",
        "X-A: a\0b",
    ],
)
def test_what_two_servers_may_read_in_two_ways_is_refused(port, head):
    """
    Where a request would end is no matter of opinion; nothing after it is answered.
    """
    data = f"POST / HTTP/1.1\r\nHost: h\r\n{head}\r\n\r\n".encode() + b"body" + REQUEST
    with sent(port, data) as connection:
        received = read_all(connection)

    assert [b"400"] == [part[:3] for part in received.split(b"HTTP/1.1 ")[1:]]


def test_after_two_sizes_nothing_is_answered(port):
    """
    With both a size and chunks, the chunks count, and the connection ends with the answer.
    """
    data = (
        b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"3\r\nabc\r\n0\r\n\r\n"
    )
    with sent(port, data + REQUEST) as connection:
        received = read_all(connection)

    assert (1, False) == (received.count(b"HTTP/1.1 "), b"/asked" in received)


def test_a_body_that_ends_early_reaches_nobody(port):
    """
    Half a request is not carried out.
    """
    with sent(port, HALF_A_BODY) as connection:
        connection.shutdown(socket.SHUT_WR)
        received = read_all(connection)

    assert b"HTTP/1.1 200" not in received


def test_a_header_with_underscores_is_no_other(port):
    """
    What proxies vouch for cannot be written by a client in a way that they do not know.
    """
    seen = ask(port, headers={"X-Forwarded-For": "198.51.100.1", "X_Forwarded_For": "::1"}).json()

    assert "198.51.100.1" == seen["HTTP_X_FORWARDED_FOR"]


def test_a_header_that_comes_twice_is_joined(port):
    """
    The last entry is what the nearest proxy added.
    """
    lines = b"X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-For: 198.51.100.1\r\n\r\n"
    with sent(port, REQUEST[:-2] + lines) as connection:
        _, seen = read_answer(connection)

    assert "192.0.2.1, 198.51.100.1" == seen["HTTP_X_FORWARDED_FOR"]


def test_the_environment_is_no_header(monkeypatch):
    """
    A variable of the process does not become a header of a request.
    """
    monkeypatch.setenv("HTTP_X_API_KEY", "a secret")
    with served(echo) as port:
        assert "HTTP_X_API_KEY" not in ask(port).json()
