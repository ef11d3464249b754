"""Nodes that answer without an end: a byte now and then, or as much as they can send."""

import http.client
import socket
import ssl
import threading
import time
from contextlib import closing, contextmanager, suppress

import pytest
import requests
import urllib3
from docker.errors import DockerException

from service.api.context import WAIT_S
from service.drivers import STOP_GRACE_S, bounds, split_grace
from service.drivers.bounds import Compressed, TooLarge, TooSlow
from service.drivers.dialing import Dialer
from service.drivers.docker import client as docker_client
from service.drivers.docker.engine import DockerEngine
from service.drivers.docker.pull import MAX_LINE_BYTES, Pull
from service.drivers.reasons import explain_silence
from service.drivers.skyportd.console import ConsoleError, read_last
from service.drivers.skyportd.daemon import Skyportd
from service.errors import NodeFailure, NodeUnreachable
from service.security.certificates import make_context
from tests.tls import Authority

WITHIN_S = 20
"""Where it would be for ever."""

HEAD = b"HTTP/1.1 200 OK\r\nConnection: close\r\n"
VERSION = HEAD + b'Content-Length: 22\r\n\r\n{"ApiVersion": "1.41"}'
MIB = 2**20


def trickle(connection, first):
    """Send a beginning, and then a byte now and then."""
    connection.sendall(first)
    while True:
        connection.sendall(b"x")
        time.sleep(0.05)


def flood(connection, first):
    """Send a beginning, and then as much as there is room for."""
    connection.sendall(first)
    while True:
        connection.sendall(bytes(65536))


@contextmanager
def a_node(manner, first, *, family=socket.AF_INET, address=("127.0.0.1", 0), version=VERSION):
    """Run a node that answers with this beginning in this manner, its version aside."""
    stopping = threading.Event()
    threads = []

    def answer(connection):
        with connection, suppress(OSError):
            asked = connection.recv(65536)
            if b"GET /version" in asked and version is not None:
                connection.sendall(version)
            else:
                manner(connection, first)

    def serve():
        while not stopping.is_set():
            with suppress(TimeoutError):
                connection, _ = server.accept()
                connection.settimeout(10)
                threads.append(threading.Thread(target=answer, args=[connection]))
                threads[-1].start()

    with socket.socket(family) as server:
        server.bind(address)
        server.listen()
        server.settimeout(0.05)
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()
        finally:
            stopping.set()
            for each in (thread, *threads):
                each.join()


def a_docker(url, **over):
    """The driver of a Docker Engine with short timeouts."""
    return DockerEngine("node", base_url=url, connect_timeout_s=1, read_timeout_s=0.5, **over)


def a_skyportd(url):
    """The driver of a daemon with short timeouts."""
    return Skyportd("node", base_url=url, key="k", connect_timeout_s=1, read_timeout_s=0.5)


MAKERS = {
    "docker": lambda port: a_docker(f"tcp://127.0.0.1:{port}"),
    "skyportd": lambda port: a_skyportd(f"http://127.0.0.1:{port}"),
}
BEGINNINGS = {
    "status line": b"HTTP/1.1 2",
    "headers": HEAD + b"X-A: ",
    "body": HEAD + b"Content-Length: 99999\r\n\r\n",
    "chunks": HEAD + b"Transfer-Encoding: chunked\r\n\r\n2000\r\n",
    "no length": HEAD + b"\r\n",
}


def call(driver, name):
    """Make a call; answer the error and how long it took."""
    began = time.monotonic()
    with closing(driver), pytest.raises(NodeFailure) as raised:
        getattr(driver, name)(*(() if name in ("probe", "list") else ("i1",)))
    return raised.value, time.monotonic() - began


@pytest.mark.heavy
@pytest.mark.parametrize("name", ["probe", "list", "status", "remove"])
@pytest.mark.parametrize("beginning", BEGINNINGS)
@pytest.mark.parametrize("kind", MAKERS)
def test_a_node_that_sends_a_byte_now_and_then_is_left(kind, beginning, name, monkeypatch):
    """
    A call takes as long as it may in all, wherever in its answer the node dawdles.
    """
    for module in ("docker.engine", "skyportd.timing"):
        monkeypatch.setattr(f"service.drivers.{module}.LIST_TIMEOUT_S", 0.5)
    with a_node(trickle, BEGINNINGS[beginning]) as (_, port):
        failure, took_s = call(MAKERS[kind](port), name)

    assert isinstance(failure, NodeUnreachable)
    assert "there was no complete answer within" in failure.reason
    assert took_s < WITHIN_S


def test_a_local_socket_that_sends_a_byte_now_and_then_is_left(tmp_path):
    """
    What listens on this machine has no more time than others.
    """
    path = str(tmp_path / "docker.sock")
    with a_node(trickle, HEAD, family=socket.AF_UNIX, address=path):
        failure, took_s = call(a_docker(f"unix://{path}"), "probe")

    assert isinstance(failure, NodeUnreachable)
    assert took_s < WITHIN_S


def test_a_handshake_has_an_end():
    """
    A node that begins TLS and never goes on is left with the connect timeout.
    """
    tls = make_context(ca=Authority().pem)
    with a_node(trickle, b"\x16\x03\x03\x40\x00", version=None) as (_, port):
        failure, took_s = call(a_docker(f"tcp://127.0.0.1:{port}", tls=tls), "probe")

    assert isinstance(failure, NodeUnreachable)
    assert took_s < WITHIN_S


def test_a_look_up_has_an_end(monkeypatch):
    """
    A name that nobody looks up in time is no reason to wait.
    """
    found = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: found.wait(WITHIN_S * 2))

    failure, took_s = call(a_docker("tcp://node.test:2375"), "probe")
    found.set()

    assert isinstance(failure, NodeUnreachable)
    assert took_s < WITHIN_S


@pytest.mark.parametrize("name", ["probe", "list", "status"])
@pytest.mark.parametrize("beginning", BEGINNINGS)
@pytest.mark.parametrize("kind", MAKERS)
def test_an_endless_answer_is_left(kind, beginning, name, monkeypatch):
    """
    Of an answer only so much is read as makes sense.
    """
    for module in ("docker.engine", "skyportd.client"):
        monkeypatch.setattr(f"service.drivers.{module}.MAX_LIST_BYTES", 2 * MIB)
    with a_node(flood, BEGINNINGS[beginning]) as (_, port):
        failure, took_s = call(MAKERS[kind](port), name)

    assert failure.reason.endswith(".")
    assert took_s < WITHIN_S


def test_an_answer_that_is_too_large_is_named():
    """
    The reason says so, and how large an answer may be.
    """
    with a_node(flood, HEAD + b"\r\n") as (_, port):
        failure, _ = call(
            DockerEngine(
                "node",
                base_url=f"tcp://127.0.0.1:{port}",
                connect_timeout_s=WITHIN_S,
                read_timeout_s=WITHIN_S,
            ),
            "status",
        )

    assert NodeFailure is type(failure)
    expected = "The Docker Engine does not answer: its answer is larger than 4 MiB."
    assert expected == failure.reason


@pytest.mark.parametrize("manner", [trickle, flood])
def test_a_console_has_an_end(manner, monkeypatch):
    """
    The console of a daemon, too, has its time and its size.
    """
    monkeypatch.setattr("service.drivers.skyportd.console.MAX_CONSOLE_BYTES", MIB)
    monkeypatch.setattr("service.drivers.skyportd.console.MAX_READ_S", 0.1)
    with a_node(manner, b"HTTP/1.1 101 Switching Protocols\r\nX-A: ") as (_, port):
        began = time.monotonic()
        with pytest.raises(ConsoleError):
            read_last(
                Dialer("node", lambda ip: None),
                f"ws://127.0.0.1:{port}/exec/i1",
                "key",
                timeout_s=0.2,
            )

    assert time.monotonic() - began < WITHIN_S


def test_only_the_end_of_an_output_is_kept():
    """
    What comes in frames is put together, however they are cut.
    """
    frames = b"".join(
        b"\x01\0\0\0" + len(text).to_bytes(4) + text for text in (b"one\n", b"", b"two\n", b"three")
    )

    for size in range(1, len(frames)):
        parts = [frames[at : at + size] for at in range(0, len(frames), size)]
        assert b"one\ntwo\nthree" == b"".join(docker_client._unframe(parts))


def test_a_line_of_a_pull_has_an_end():
    """
    A pull whose progress never ends a line is left.
    """
    ours, theirs = socket.socketpair()
    with theirs:
        pull = Pull(lambda: ours, "/images/create", {})
        theirs.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        with suppress(OSError):  # it hangs up in the middle
            theirs.sendall(b" " * (MAX_LINE_BYTES + 1))

        with pytest.raises(ValueError, match="Expecting value"):
            pull.require_success()


# What it is called


def certificate_error(code):
    """An error of OpenSSL's about a certificate."""
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_code = code
    return error


def tls_error(reason):
    """An error of OpenSSL's about anything else."""
    error = ssl.SSLError(1, f"[SSL: {reason}] (_ssl.c:1002)")
    error.reason = reason
    return error


def caused(outer, inner):
    """An error that comes from another."""
    outer.__cause__ = inner
    return outer


POOL = urllib3.HTTPConnectionPool("127.0.0.1")
KINDS = [
    (TooSlow(3), "there was no complete answer within 3 s"),
    (TooLarge(4 * MIB), "its answer is larger than 4 MiB"),
    (Compressed(), "its answer is compressed, which was not asked for"),
    (ConnectionRefusedError(111, "x"), "the connection was refused"),
    (ConnectionResetError(104, "x"), "it closed the connection"),
    (BrokenPipeError(32, "x"), "it closed the connection"),
    (http.client.RemoteDisconnected("x"), "it closed the connection"),
    (http.client.IncompleteRead(b""), "it closed the connection"),
    (http.client.BadStatusLine("x"), "what it answers is not understood"),
    (socket.gaierror(-2, "x"), "its name is not known"),
    (TimeoutError("x"), "there was no answer in time"),
    (FileNotFoundError(2, "x"), "there is no such socket"),
    (PermissionError(13, "x"), "the socket may not be used"),
    (OSError(101, "x"), "its network cannot be reached"),
    (OSError(113, "x"), "its machine cannot be reached"),
    (OSError("x"), "what it answers is not understood"),
    (certificate_error(10), "its TLS certificate has expired"),
    (certificate_error(9), "its TLS certificate is not valid yet"),
    (certificate_error(18), "its TLS certificate is not trusted"),
    (certificate_error(20), "its TLS certificate is not trusted"),
    (certificate_error(62), "its TLS certificate is for another name"),
    (certificate_error(64), "its TLS certificate is for another address"),
    (tls_error("WRONG_VERSION_NUMBER"), "it does not speak TLS there"),
    (tls_error("TLSV13_ALERT_CERTIFICATE_REQUIRED"), "it does not accept our TLS certificate"),
    (tls_error("INTERNAL_ERROR"), "TLS failed"),
    (requests.ConnectionError("x"), "there is no connection to it"),
    (requests.ConnectTimeout("x"), "there was no answer in time"),
    (requests.ReadTimeout("x"), "there was no answer in time"),
    (requests.TooManyRedirects("x"), "it redirects elsewhere, which is not followed"),
    (requests.exceptions.ChunkedEncodingError("x"), "what it answers is not understood"),
    (requests.exceptions.InvalidURL("x"), "what it answers is not understood"),
    (urllib3.exceptions.ProtocolError("x"), "what it answers is not understood"),
    (urllib3.exceptions.ReadTimeoutError(POOL, "/", "x"), "there was no answer in time"),
    (urllib3.exceptions.NewConnectionError(POOL, "x"), "there is no connection to it"),
    (DockerException("x"), "what it answers is not understood"),
    (
        caused(
            requests.ConnectionError(urllib3.exceptions.MaxRetryError(POOL, "/version")),
            caused(urllib3.exceptions.NewConnectionError(POOL, "x"), ConnectionRefusedError()),
        ),
        "the connection was refused",
    ),
]


@pytest.mark.parametrize(("error", "phrase"), KINDS, ids=lambda value: type(value).__name__)
def test_every_error_has_a_sentence(error, phrase):
    """
    What Python and its packages raise is said in plain words, by its type and codes.
    """
    assert phrase == explain_silence(error)


def test_no_sentence_is_python_s():
    """
    None has a name of a class, or the text that an object has for programmers.
    """
    for error, _ in KINDS:
        phrase = explain_silence(error)
        assert not {"(", "<", "0x", "Error", "Exception", "_", "object"} & set(phrase.split())
        assert not any(part in phrase for part in ("Error", "Exception", "(", "<", "_", "HTTP"))


@pytest.mark.parametrize("command", [None, "stop"])
def test_a_program_has_less_time_to_end_than_a_request_waits(command):
    """
    Its stop command and SIGTERM share it, so that the answer tells how it ended.
    """
    assert sum(split_grace(STOP_GRACE_S, command)) == STOP_GRACE_S <= WAIT_S - 2
    assert all(share >= 2 for share in split_grace(STOP_GRACE_S, "stop"))


def test_bounds_are_for_all_calls_together():
    """
    What one call used up, the next one has no more.
    """
    assert bounds.Bounds(until=time.monotonic() - 1).limit(60) < 0
    assert 60 == bounds.Bounds().limit(None)
