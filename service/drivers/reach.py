"""Whether the program of an instance serves, seen from outside, on a host port of its node.

The node's own address is called, under the same rule as the node itself, and not the address that
players have: that may lead back from nowhere but outside.
"""

from contextlib import closing
from dataclasses import dataclass
from typing import Protocol

from service.drivers.bounds import BoundedSocket, TooSlow
from service.drivers.dialing import Dialer

CONNECT_S = 2.0
"""How long a program may take to accept a connection."""

ANSWER_S = 3.0
"""How long it may take to begin an answer, connecting included."""

STAYS_S = 0.3
"""How long a connection must last. Docker's proxy accepts one for a port that nobody listens to,
and closes it then."""

THIS_MACHINE = "127.0.0.1"

MAX_HEAD_BYTES = 4096
"""How much of an answer is read, of which only the first line is needed."""


class Reach(Protocol):
    """What can be seen of host ports of a node."""

    def accepts(self, port: int) -> bool:
        """Return whether something accepts TCP connections there, and keeps them."""

    def answers(self, port: int, path: str) -> bool:
        """Return whether a GET of the path there is answered with 2xx or 3xx. None is followed."""


@dataclass(frozen=True, slots=True)
class Network:
    """A node that is reached over the network. See Reach. Raises NodeUnreachable like Dialer."""

    dialer: Dialer
    host: str

    def accepts(self, port: int) -> bool:
        """Connect, and see whether the connection lasts. See Reach."""
        try:
            connection = self.dialer.connect(self.host, port, CONNECT_S)
        except OSError:
            return False
        with closing(connection):
            connection.limit(STAYS_S, MAX_HEAD_BYTES)
            try:
                return connection.recv(1) != b""
            except TooSlow:
                return True
            except OSError:
                return False

    def answers(self, port: int, path: str) -> bool:
        """Ask, and read the first line. See Reach."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        request = (
            f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nUser-Agent: skyquay\r\n"
            "Accept: */*\r\nConnection: close\r\n\r\n"
        )
        try:
            with closing(self.dialer.connect(self.host, port, CONNECT_S)) as connection:
                connection.limit(ANSWER_S, MAX_HEAD_BYTES)
                connection.sendall(request.encode())
                return _is_good(_read_line(connection))
        except OSError:
            return False


def _read_line(connection: BoundedSocket) -> bytes:
    head = b""
    while b"\n" not in head and len(head) < MAX_HEAD_BYTES and (part := connection.recv(1024)):
        head += part
    return head.partition(b"\n")[0]


def _is_good(status_line: bytes) -> bool:
    protocol, _, rest = status_line.partition(b" ")
    return protocol.startswith(b"HTTP/1.") and rest[:1] in (b"2", b"3") and rest[:3].isdigit()
