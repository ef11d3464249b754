"""Whether a host port is served: what counts as an answer, and what it may take."""

import socket
import threading
from contextlib import contextmanager, suppress
from functools import partial

import pytest

from service.drivers import reach
from service.drivers.dialing import Dialer
from service.drivers.reach import MAX_HEAD_BYTES, Network
from service.errors import NodeUnreachable
from service.model.addresses import refusal, trust
from tests.support import free_port


@contextmanager
def serving(answer, *, host="127.0.0.1"):
    """Have a port at which `answer` gets each connection; yield its number."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as server:
        ended = threading.Event()

        def serve():
            while not ended.is_set():
                with suppress(OSError):
                    connection = server.accept()[0]
                    with connection:
                        answer(connection, ended)

        thread = threading.Thread(target=serve)
        thread.start()
        port = server.getsockname()[1]
        yield port
        ended.set()
        socket.create_connection((host, port)).close()
        thread.join()


def keep(connection, ended):
    """Say nothing, until the other end goes."""
    connection.recv(1)


def close(connection, ended):
    """Hang up, like a proxy in front of a port that nobody serves."""


def reset(connection, ended):
    """Hang up rudely."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


def say(text, connection, ended):
    """Say something at once, and hang up."""
    connection.sendall(text)
    with suppress(OSError):
        connection.recv(65536)


def a_network(host="127.0.0.1", refuse=trust):
    """Make a node's network."""
    return Network(Dialer("node", refuse), host)


@pytest.mark.parametrize(
    ("answer", "is_served"),
    [(keep, True), (partial(say, b"220 ready\r\n"), True), (close, False), (reset, False)],
)
def test_a_connection_must_last(answer, is_served):
    """Or bring something."""
    with serving(answer) as port:
        assert is_served == a_network().accepts(port)


def test_nothing_listens():
    """That is an answer."""
    assert [False, False] == [
        a_network().accepts(port := free_port()),
        a_network().answers(port, "/"),
    ]


def test_a_name_that_means_nothing_serves_nothing():
    """That too."""
    assert not a_network("nowhere.invalid").accepts(80)


def test_over_ipv6():
    """As the address of the node is."""
    with serving(partial(say, b"HTTP/1.1 200 OK\r\n\r\n"), host="::1") as port:
        assert a_network("::1").accepts(port)
        assert a_network("::1").answers(port, "/")


@pytest.mark.parametrize("ask", ["accepts", "answers"])
def test_the_address_is_under_the_rule_of_the_node(ask):
    """What a name has come to mean is looked at before anything is sent there."""
    reached = []
    with serving(lambda *_: reached.append(1)) as port:
        network = a_network(refuse=partial(refusal, allow_loopback=False))
        with pytest.raises(NodeUnreachable):
            network.accepts(port) if ask == "accepts" else network.answers(port, "/")

    assert 1 == len(reached)  # by the end of this test's own server


@pytest.mark.parametrize(
    ("line", "is_good"),
    [
        (b"HTTP/1.1 200 OK", True),
        (b"HTTP/1.0 204 No Content", True),
        (b"HTTP/1.1 302 Found", True),
        (b"HTTP/1.1 399", True),
        (b"HTTP/1.1 404 Not Found", False),
        (b"HTTP/1.1 503 Starting", False),
        (b"HTTP/1.1 101 Switching Protocols", False),
        (b"HTTP/1.1 2xx", False),
        (b"HTTP/1.1 20", False),
        (b"HTTP/1.1", False),
        (b"SSH-2.0-OpenSSH 200", False),
        (b"", False),
        (b"\xff\xfe 200", False),
    ],
)
def test_only_a_good_status_counts(line, is_good):
    """Of HTTP/1."""
    with serving(partial(say, line + b"\r\nLocation: http://elsewhere.example/\r\n\r\n")) as port:
        assert is_good == a_network().answers(port, "/")


def test_the_path_is_asked_for():
    """And nothing else."""
    asked = []

    def answer(connection, ended):
        asked.append(connection.recv(65536))
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")

    with serving(answer) as port:
        assert a_network().answers(port, "/health?deep=1")

    head = asked[0].split(b"\r\n")
    assert b"GET /health?deep=1 HTTP/1.1" == head[0]
    assert f"Host: 127.0.0.1:{port}".encode() in head
    assert [b"", b""] == head[-2:]


def test_a_redirect_is_not_followed():
    """It shows that the program serves; where it leads is nobody's business."""
    with (
        serving(keep) as other,
        serving(
            partial(
                say, f"HTTP/1.1 301 Moved\r\nLocation: http://127.0.0.1:{other}/\r\n\r\n".encode()
            )
        ) as port,
    ):
        assert a_network().answers(port, "/")


def test_an_answer_that_does_not_come_is_none(monkeypatch):
    """Within its time."""
    monkeypatch.setattr(reach, "ANSWER_S", 0.1)
    with serving(keep) as port:
        assert not a_network().answers(port, "/")


def test_an_answer_that_comes_in_drops_is_none(monkeypatch):
    """The time is for all of it."""
    monkeypatch.setattr(reach, "ANSWER_S", 0.3)

    def drip(connection, ended):
        with suppress(OSError):
            while not ended.wait(0.02):
                connection.sendall(b"H")

    with serving(drip) as port:
        assert not a_network().answers(port, "/")


def test_an_answer_without_an_end_is_none():
    """No more of it is read than a first line may have."""
    sent = 0

    def flood(connection, ended):
        nonlocal sent
        with suppress(OSError):
            while True:
                sent += connection.send(b"H" * 4096)

    with serving(flood) as port:
        assert not a_network().answers(port, "/")

    assert MAX_HEAD_BYTES < sent < 64 * 2**20
