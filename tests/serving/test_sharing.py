"""One address for several processes: who gets new connections, and what waits where."""

import socket
from contextlib import ExitStack

import pytest

from service.config import Config, ConfigError
from service.serving import sharing
from service.serving.listening import bind
from service.serving.sharing import SharedAddress

PROCESSES = 3
CLIENTS = 120
"""Enough that each process gets some: by chance one of three gets none once in 10^21 times."""


@pytest.fixture
def listen():
    """Serve an address for so many processes."""
    with ExitStack() as stack:

        def listen(host="127.0.0.1"):
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            address = SharedAddress(socket.create_server((host, 0), family=family), PROCESSES)
            stack.callback(address.close)
            return address

        yield listen


@pytest.fixture
def connect():
    """Connect so many clients."""
    with ExitStack() as stack:

        def connect(address, clients=CLIENTS):
            for _ in range(clients):
                stack.enter_context(
                    socket.create_connection(address.sockets[0].getsockname()[:2], timeout=10)
                )

        yield connect


def count_waiting(address):
    """Accept all that wait at each socket; count them."""
    counts = []
    for each in address.sockets:
        each.setblocking(False)
        counts.append(0)
        while True:
            try:
                each.accept()[0].close()
            except BlockingIOError:
                break
            counts[-1] += 1
    return counts


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_each_process_gets_some(listen, connect, host):
    """
    Of clients that connect at once each process gets its part.
    """
    address = listen(host)

    connect(address)

    counts = count_waiting(address)
    assert (PROCESSES, CLIENTS) == (len(counts), sum(counts))
    assert all(counts)


@pytest.mark.parametrize("living", [[0, 2], [1, 2], [1]])
def test_who_does_not_serve_gets_none(listen, connect, living):
    """
    New connections go to those that serve, whichever they are.
    """
    address = listen()

    address.share_among(living)
    connect(address)

    counts = count_waiting(address)
    assert (living, CLIENTS) == ([n for n, count in enumerate(counts) if count], sum(counts))


def test_who_serves_again_gets_some_again(listen, connect):
    """
    A process that was replaced has its part again, and so has each where none serves yet.
    """
    address = listen()
    for living in ([1], [0, 1, 2], [2], []):
        address.share_among(living)

    connect(address)

    assert all(count_waiting(address))


def test_what_waits_stays_where_it_is(listen, connect):
    """
    A connection that a process that ended did not accept waits for its successor.
    """
    address = listen()
    address.share_among([1])
    connect(address, 5)

    address.share_among([0, 2])

    assert [0, 5, 0] == count_waiting(address)


def test_the_address_is_taken(listen):
    """
    Nobody else can serve it meanwhile.
    """
    port = listen().sockets[0].getsockname()[1]

    with pytest.raises(ConfigError, match="Address already in use"):
        bind(Config(listen=f"127.0.0.1:{port}"))


def test_a_system_that_cannot_has_one_socket(monkeypatch, listen, connect, caplog):
    """
    Where the system cannot share connections out, all processes accept from one socket.
    """
    monkeypatch.setattr(sharing, "_SO_ATTACH_REUSEPORT_CBPF", 0x7FFF)
    address = listen()

    address.share_among([1])
    connect(address)

    assert (1, PROCESSES) == (len(set(address.sockets)), len(address.sockets))
    assert [CLIENTS, 0, 0] == count_waiting(address)
    assert "connections.not_shared_out" in caplog.text


def test_what_the_system_refuses_for_a_while_is_done_later(monkeypatch, listen, connect, caplog):
    """
    All get connections as before until it no longer refuses.
    """
    address = listen()
    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(sharing, "_SO_ATTACH_REUSEPORT_CBPF", 0x7FFF)
        address.share_among([1])
    connect(address)
    before = count_waiting(address)

    address.share_among([1])
    connect(address)

    assert all(before)
    assert [0, CLIENTS, 0] == count_waiting(address)
    assert "connections.not_shared_out" in caplog.text
