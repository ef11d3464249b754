"""Engines that are slow, or never stop, while files are copied: with a double at the other end."""

import socket
import threading
from contextlib import suppress
from types import SimpleNamespace

import pytest

from service.drivers.bounds import BoundedSocket
from service.drivers.docker import volumes
from tests.drivers.test_volume_contract import an_archive
from tests.sick_engines import STOPPED

CONTAINER = {"Id": "c", "State": STOPPED}
HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.fixture
def a_client():
    """Make the client of an engine that sends something once it has read a request to this end."""
    threads, connections = [], []

    def make(send, end):
        ours, theirs = socket.socketpair()

        def run():
            with theirs, suppress(OSError):
                received = b""
                while not received.endswith(end) and (part := theirs.recv(2**16)):
                    received += part
                send(theirs)

        threads.append(threading.Thread(target=run))
        threads[-1].start()
        connections.append(BoundedSocket(fileno=ours.detach()))
        connections[-1].limit(60, 2**63)
        return SimpleNamespace(
            dial=lambda *_: connections[-1], node_id="n", is_podman=False, api_version="1.41"
        )

    yield make
    for connection in connections:
        connection.close()
    for thread in threads:
        thread.join()


def a_piece(content):
    """Frame a piece of an answer."""
    return b"%x\r\n%s\r\n" % (len(content), content)


def test_what_comes_slowly_is_passed_on_as_it_comes(a_client):
    """
    So whoever reads is asked again and again whether it is still wanted.
    """
    passed = threading.Event()

    def trickle(theirs):
        theirs.sendall(HEAD + a_piece(b"a"))
        if passed.wait(20):
            theirs.sendall(a_piece(b"b") + a_piece(b""))

    pieces = volumes.read(a_client(trickle, end=b"\r\n\r\n"), CONTAINER)
    first = next(pieces)
    passed.set()

    assert (b"a", [b"b"]) == (first, list(pieces))


def test_nobody_listens_to_what_follows_a_copy(a_client):
    """
    An engine that never stops is hung up on.
    """
    sent = []

    def go_on(theirs):
        theirs.sendall(HEAD)
        for _ in range(100):
            theirs.sendall(a_piece(bytes(2**20)))
            sent.append(1)
        theirs.sendall(a_piece(b""))

    client = a_client(go_on, end=b"\r\n0\r\n\r\n")
    volumes.write(client, CONTAINER, an_archive(), lambda: None)

    assert len(sent) < 100
