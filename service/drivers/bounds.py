"""Bounds of what a node may take of us: the time of each exchange, and the bytes of its answer.

They are kept by the socket itself, below HTTP, TLS and WebSockets, so that no call can forget them:
a node that sends one byte a second, in the headers or anywhere, is left when the time is over, and
one that never stops when it has sent enough.
"""

import math
import socket
import ssl
import time
from dataclasses import dataclass
from typing import Any

MAX_ANSWER_BYTES = 4 * 2**20
"""How much one answer may have."""

MAX_LIST_BYTES = 32 * 2**20
"""The same for the list of a node's containers, which are some thousand bytes each."""

CONNECT_TIMEOUT_S = 3.0
"""How long a node may take to accept a connection."""

READ_TIMEOUT_S = 60.0
"""How long a node may take to answer."""

CONSOLE_TIMEOUT_S = 5.0
"""How long a node may take to hand a line to a program, beyond connecting."""

USAGE_TIMEOUT_S = 7.0
"""How long a node may take to measure what a container uses, beyond connecting."""

SAMPLE_TIMEOUT_S = 2.0
"""How long a node may take to say what containers have used, beyond connecting."""

VOLUMES_TIMEOUT_S = 15.0
"""How long a node may take to add up its volumes, beyond connecting."""

LOG_TIMEOUT_S = 10.0
"""How long a node may take to begin with a log, or to say how its container is, beyond
connecting."""

MAX_EXCHANGE_S = 60.0
"""How long one exchange takes for whoever says nothing of it."""

_MOMENT_S = 1e-6


class OutOfBounds(OSError):
    """What a node did not keep to. `phrase` says it, as in: the node does not answer: <phrase>."""

    phrase: str


class TooSlow(OutOfBounds, TimeoutError):
    """The time is over."""

    def __init__(self, seconds: float) -> None:
        self.phrase = f"there was no complete answer within {round(seconds, 1):g} s"
        super().__init__(self.phrase)


class TooLarge(OutOfBounds):
    """The answer is larger than any that makes sense."""

    def __init__(self, max_bytes: int) -> None:
        self.phrase = f"its answer is larger than {max_bytes / 2**20:g} MiB"
        super().__init__(self.phrase)


class Compressed(OutOfBounds):
    """The answer is compressed, although we asked for one that is not: it could hide any size."""

    def __init__(self) -> None:
        self.phrase = "its answer is compressed, which was not asked for"
        super().__init__(self.phrase)


@dataclass(frozen=True, slots=True)
class Bounds:
    """What the calls of one client may take, each and together."""

    max_bytes: int = MAX_ANSWER_BYTES
    """Of each answer, with its headers."""
    exchange_s: float | None = None
    """Of each answer, from its request to its last byte. None: as long as the call's own timeout,
    which is else only the longest silence in between."""
    until: float = math.inf
    """When all of them are over, by `time.monotonic`."""

    def limit(self, seconds: float | None) -> float:
        """Return how many seconds there are for what may take so many."""
        return min(MAX_EXCHANGE_S if seconds is None else seconds, self.until - time.monotonic())


class BoundedSocket(socket.socket):
    """A socket with an end. Whatever is done with it raises TooSlow or TooLarge past its bounds."""

    _seconds = _until = math.inf
    _max_bytes = _bytes_left = MAX_ANSWER_BYTES
    _silence_s: float | None = None

    def limit(self, seconds: float, max_bytes: int = MAX_ANSWER_BYTES) -> None:
        """Begin anew: from now on there are so many seconds, and so many bytes to be received."""
        self._seconds, self._until = seconds, time.monotonic() + seconds
        self._max_bytes = self._bytes_left = max_bytes

    def settimeout(self, value: float | None) -> None:
        """Bound the silence as well; None leaves only the end."""
        self._silence_s = value

    def gettimeout(self) -> float | None:
        """Return how long one step may take now. Never 0, which would mean not to wait at all."""
        left_s = max(self._until - time.monotonic(), _MOMENT_S)
        step_s = left_s if self._silence_s is None else min(left_s, self._silence_s)
        return None if step_s == math.inf else step_s

    def connect(self, address: Any) -> None:
        """Connect. See socket.connect."""
        self._step(super().connect, address)

    def do_handshake(self, *args: Any) -> None:
        """Begin TLS, where this is such a socket. See ssl.SSLSocket.do_handshake."""
        self._step(super().do_handshake, *args)  # type: ignore[misc]

    def recv(self, *args: Any) -> bytes:
        """Receive. See socket.recv."""
        received: bytes = self._step(super().recv, *args)
        self._count(len(received))
        return received

    def recv_into(self, *args: Any) -> int:
        """Receive, as HTTP does. See socket.recv_into."""
        count: int = self._step(super().recv_into, *args)
        self._count(count)
        return count

    def send(self, *args: Any) -> int:
        """Send some of it. See socket.send."""
        count: int = self._step(super().send, *args)
        return count

    def sendall(self, *args: Any) -> None:
        """Send all of it. See socket.sendall."""
        self._step(super().sendall, *args)

    def _step(self, work: Any, *args: Any) -> Any:
        if time.monotonic() >= self._until:
            raise TooSlow(self._seconds)
        step_s = self.gettimeout()
        super().settimeout(step_s)
        try:
            return work(*args)
        except OutOfBounds:
            raise
        except TimeoutError:
            is_end = self._silence_s is None or step_s != self._silence_s
            raise TooSlow(self._seconds if is_end else self._silence_s or 0) from None

    def _count(self, count: int) -> None:
        self._bytes_left -= count
        if self._bytes_left < 0:
            raise TooLarge(self._max_bytes)


class BoundedTLSSocket(BoundedSocket, ssl.SSLSocket):
    """The same over TLS; the bytes are those inside."""
