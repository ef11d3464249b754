"""Connections to a node, which go only to addresses that it may have, over TLS where it has that.

Names are looked up for every connection, and somebody else may have changed what they mean since
the node was added. So what was found is looked at before anything connects to it, and nothing is
looked up a second time.
"""

import socket
import ssl
from dataclasses import dataclass
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

from service.addresses import Refuse
from service.errors import NodeUnreachable


@dataclass(frozen=True, slots=True)
class Guard:
    """How one node is connected to."""

    node_id: str
    refuse: Refuse
    tls: ssl.SSLContext | None = None

    def connect(self, host: str, port: int, timeout_s: float | None) -> socket.socket:
        """Connect over TCP; nothing is sent yet.

        Raises NodeUnreachable for an address that is refused, among several that a name has too;
        OSError when nothing answers.
        """
        failure = OSError(f"{host} has no address.")
        found = _resolve(host, port)
        for *_, target in found:
            self._check(str(target[0]))
        for family, kind, protocol, _, target in found:
            try:
                connection = socket.socket(family, kind, protocol)
            except OSError as exc:  # IPv6 where there is none
                failure = exc
                continue
            try:
                connection.settimeout(timeout_s)
                connection.connect(target)
                self._check(connection.getpeername()[0])
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            except OSError as exc:
                connection.close()
                failure = exc
            except NodeUnreachable:
                connection.close()
                raise
            else:
                return connection
        raise failure

    def secure(self, connection: socket.socket, host: str) -> socket.socket:
        """Speak TLS on a connection, if the node has that. Closes it when that fails."""
        if self.tls is None:
            return connection
        try:
            return self.tls.wrap_socket(connection, server_hostname=host.strip("[]"))
        except OSError:
            connection.close()
            raise

    def _check(self, ip: str) -> None:
        reason = self.refuse(ip)
        if reason is not None:
            raise NodeUnreachable(self.node_id, f"The node's address {ip} is refused. {reason}")


class GuardedAdapter(HTTPAdapter):
    """Carries the requests of a session over guarded connections."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._plain, self._secure = _make_connections(guard)
        super().__init__()

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        """Use the node's own certificates."""
        super().init_poolmanager(*args, ssl_context=self._guard.tls, **options)

    def cert_verify(self, *args: Any) -> None:
        """Leave out what `requests` would trust besides: the node's context says it all."""

    def get_connection_with_tls_context(self, *args: Any, **options: Any) -> Any:
        """Find a pool, whose connections are guarded."""
        pool: Any = super().get_connection_with_tls_context(*args, **options)
        pool.ConnectionCls = self._secure if pool.scheme == "https" else self._plain
        return pool


def _make_connections(guard: Guard) -> tuple[type[HTTPConnection], type[HTTPSConnection]]:
    def connect(connection: HTTPConnection) -> socket.socket:
        timeout_s = connection.timeout
        try:
            return guard.connect(connection.host, connection.port, timeout_s)
        except TimeoutError as exc:
            raise ConnectTimeoutError(connection, f"no connection in {timeout_s} s") from exc
        except OSError as exc:
            raise NewConnectionError(connection, str(exc)) from exc

    class Plain(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            return connect(self)

    class Secure(HTTPSConnection):
        def _new_conn(self) -> socket.socket:
            return connect(self)

    return Plain, Secure


def _resolve(host: str, port: int) -> list[Any]:
    try:
        return list(socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM))
    except UnicodeError as exc:
        raise OSError(f"{host!r} is no host name.") from exc
