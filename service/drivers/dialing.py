"""Connections to a node, which go only to addresses that it may have, over TLS where it has that.

Names are looked up for every connection, and somebody else may have changed what they mean since
the node was added. So what was found is looked at before anything connects to it, and nothing is
looked up a second time. Each is a socket with bounds (bounds.py), which its adapter renews for each
exchange.
"""

import math
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError
from urllib3.response import HTTPResponse

from service.drivers.bounds import (
    MAX_EXCHANGE_S,
    BoundedSocket,
    BoundedTLSSocket,
    Bounds,
    Compressed,
    TooSlow,
)
from service.errors import NodeUnreachable
from service.model.addresses import Refuse


@dataclass(frozen=True, slots=True)
class Dialer:
    """How one node is connected to."""

    node_id: str
    refuse: Refuse
    tls: ssl.SSLContext | None = None
    whose: str = "The node's"
    """Whose address it is, in what is said of one that is refused."""

    def __post_init__(self) -> None:
        if self.tls is not None:
            self.tls.sslsocket_class = BoundedTLSSocket

    def connect(self, host: str, port: int, timeout_s: float | None) -> BoundedSocket:
        """Connect over TCP, within `timeout_s` for all together; nothing is sent yet.

        Of several addresses each has its share of the time that is left. Raises NodeUnreachable for
        an address that is refused, among several that a name has too; OSError when nothing answers.
        """
        timeout_s = MAX_EXCHANGE_S if timeout_s is None else timeout_s
        end = time.monotonic() + timeout_s
        failure = OSError(f"{host} has no address.")
        found = _resolve(host, port, timeout_s)
        for *_, target in found:
            self._check(str(target[0]))
        for number, (family, kind, protocol, _, target) in enumerate(found):
            try:
                connection = BoundedSocket(family, kind, protocol)
            except OSError as exc:  # IPv6 where there is none
                failure = exc
                continue
            try:
                connection.limit(timeout_s)
                connection.settimeout((end - time.monotonic()) / (len(found) - number))
                connection.connect(target)
                self._check(connection.getpeername()[0])
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                connection.limit(end - time.monotonic())
                connection.settimeout(None)
            except OSError as exc:
                connection.close()
                failure = exc
            except NodeUnreachable:
                connection.close()
                raise
            else:
                return connection
        raise failure

    def secure(self, connection: BoundedSocket, host: str) -> BoundedSocket:
        """Speak TLS on a connection, if the node has that. Closes it when that fails."""
        if self.tls is None:
            return connection
        try:
            secured = self.tls.wrap_socket(connection, server_hostname=host.strip("[]"))
        except OSError:
            connection.close()
            raise
        assert isinstance(secured, BoundedSocket)  # noqa: S101 - see __post_init__
        return secured

    def _check(self, ip: str) -> None:
        reason = self.refuse(ip)
        if reason is not None:
            raise NodeUnreachable(self.node_id, f"{self.whose} address {ip} is refused. {reason}")


class DialingAdapter(HTTPAdapter):
    """Carries the requests of a session over checked connections, within bounds."""

    def __init__(self, dialer: Dialer, bounds: Bounds = Bounds()) -> None:  # noqa: B008 - frozen
        """Keep to `bounds`, for each of the requests and for all."""
        self.bounds = bounds
        self._dialer = dialer
        self._plain, self._secure = _make_connections(self)
        super().__init__()

    @contextmanager
    def within(self, seconds: float = math.inf, *, max_bytes: int | None = None) -> Iterator[None]:
        """Bound all that is asked meanwhile together, and each answer by `max_bytes`."""
        before = self.bounds
        until = min(before.until, time.monotonic() + seconds)
        self.bounds = replace(before, until=until, max_bytes=max_bytes or before.max_bytes)
        try:
            yield
        finally:
            self.bounds = before

    def send(self, request: requests.PreparedRequest, *args: Any, **options: Any) -> Any:
        """Ask for an answer that is not compressed: what it becomes could have any size."""
        request.headers["Accept-Encoding"] = "identity"
        return super().send(request, *args, **options)

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        """Use the node's own certificates."""
        super().init_poolmanager(*args, ssl_context=self._dialer.tls, **options)

    def cert_verify(self, *args: Any) -> None:
        """Leave out what `requests` would trust besides: the node's context says it all."""

    def get_connection_with_tls_context(self, *args: Any, **options: Any) -> Any:
        """Find a pool, whose connections are checked."""
        pool: Any = super().get_connection_with_tls_context(*args, **options)
        pool.ConnectionCls = self._secure if pool.scheme == "https" else self._plain
        return pool

    def open(self, host: str, port: int, timeout_s: float | None) -> BoundedSocket:
        """Connect to the node."""
        return self._dialer.connect(host, port, timeout_s)


class SocketAdapter(DialingAdapter):
    """Carries the requests of a session over a local socket, within bounds."""

    def __init__(self, dialer: Dialer, path: str, bounds: Bounds = Bounds()) -> None:  # noqa: B008
        """Connect to the socket of this path."""
        self._path = path
        super().__init__(dialer, bounds)

    def get_connection_with_tls_context(self, *_args: Any, **_options: Any) -> Any:
        """Find the pool of the socket, whatever the request's URL is."""
        pool: Any = self.poolmanager.connection_from_host("localhost", scheme="http")
        pool.ConnectionCls = self._plain
        return pool

    def open(self, _host: str, _port: int, timeout_s: float | None) -> BoundedSocket:
        """Connect to the socket."""
        connection = BoundedSocket(socket.AF_UNIX)
        try:
            connection.limit(MAX_EXCHANGE_S if timeout_s is None else timeout_s)
            connection.connect(self._path)
        except OSError:
            connection.close()
            raise
        return connection


def _make_connections(
    adapter: DialingAdapter,
) -> tuple[type[HTTPConnection], type[HTTPSConnection]]:
    class Plain(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            timeout_s = adapter.bounds.limit(self.timeout)
            try:
                return adapter.open(self.host, self.port, timeout_s)
            except TimeoutError as exc:
                raise ConnectTimeoutError(self, f"no connection in {timeout_s} s") from exc
            except OSError as exc:
                raise NewConnectionError(self, str(exc)) from exc

        def request(self, *args: Any, **options: Any) -> None:
            self._begin(self.timeout)
            super().request(*args, **options)

        def getresponse(self) -> HTTPResponse:  # type: ignore[override]
            self._begin(adapter.bounds.exchange_s or self.timeout)
            response = super().getresponse()
            if response.headers.get("Content-Encoding", "identity").lower() != "identity":
                response.close()
                raise Compressed
            return response

        def _begin(self, seconds: float | None) -> None:
            if isinstance(self.sock, BoundedSocket):  # there is none before it is connected
                self.sock.limit(adapter.bounds.limit(seconds), adapter.bounds.max_bytes)

    class Secure(Plain, HTTPSConnection):
        pass

    return Plain, Secure


def _resolve(host: str, port: int, timeout_s: float) -> list[Any]:
    """Look up a name. In a thread, as the system's look-up has no end that could be chosen."""
    found: Future[list[Any]] = Future()

    def look_up() -> None:
        try:
            found.set_result(
                list(socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM))
            )
        except BaseException as exc:  # noqa: BLE001 - handed to the one who waits below
            found.set_exception(exc)

    threading.Thread(target=look_up, daemon=True, name="look-up").start()
    try:
        return found.result(timeout_s)
    except UnicodeError as exc:
        raise OSError(f"{host!r} is no host name.") from exc
    except TimeoutError:
        raise TooSlow(timeout_s) from None
