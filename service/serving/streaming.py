"""Answers that are sent while they are made: in pieces, as fast as the client takes them.

granian's stream takes pieces without bound, however slowly the client reads, and ends in order also
when the app failed, so that a part passes for the whole. So this looks at the connection itself:
how much of what was sent has arrived, and to cut it off.
"""

import asyncio
import logging
import os
import socket
import struct
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from ipaddress import ip_address

from granian._granian import RSGIHTTPProtocol, RSGIHTTPStreamTransport, RSGIProtocolClosed
from granian.rsgi import Scope

from service.api.live_answer import LiveAnswer
from service.serving.lane import Answer, Lane, Pieces
from service.serving.sockets import copy_socket

log = logging.getLogger(__name__)

WINDOW_BYTES = 2**20
"""How much of an answer may be on its way."""

ROOM_TIMEOUT_S = 30.0
"""How long a client may take until there is room for another piece."""

_ACKNOWLEDGED = struct.Struct("120xQ")
"""The bytes that the client has acknowledged, in `tcp_info`, whose first byte is the state."""

_CLOSED = 7
_SHORTEST_WAIT_S, _LONGEST_WAIT_S = 0.002, 0.1


class CutOff(Exception):
    """An answer does not reach its end."""


class Connection:
    """The connection of one client, from when its answer begins."""

    def __init__(self, scope: Scope) -> None:
        """Find that of a request. Raises CutOff when it is there no more."""
        # Not the copy, or each answer would hold a file more.
        self._fd, self._inode = _find_socket(scope)
        self._acknowledged_before = self._look()

    def measure(self, sent: int) -> int:
        """Return how many of so many bytes have not arrived. Raises CutOff when nothing will."""
        return sent - (self._look() - self._acknowledged_before)

    def cut(self) -> None:
        """End it at once: what granian still has to send, and the end of the answer, never come."""
        with suppress(OSError, CutOff), self._copy() as copy:  # it has ended by itself
            copy.shutdown(socket.SHUT_RDWR)

    def _look(self) -> int:
        with self._copy() as copy:
            seen = copy.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _ACKNOWLEDGED.size)
        if seen[0] == _CLOSED:
            raise CutOff("The client is gone.")
        acknowledged: int = _ACKNOWLEDGED.unpack(seen)[0]
        return acknowledged

    @contextmanager
    def _copy(self) -> Iterator[socket.socket]:
        """Copy it for a moment. Raises CutOff when it is closed, and its number another's."""
        try:
            copy = copy_socket(self._fd)
        except OSError as exc:
            raise CutOff("The client is gone.") from exc
        with copy:
            if os.fstat(copy.fileno()).st_ino != self._inode:
                raise CutOff("The client is gone.")
            yield copy


async def send(
    scope: Scope,
    proto: RSGIHTTPProtocol,
    lane: Lane,
    answer: Answer,
    body: Pieces | LiveAnswer,
    send_body: Callable[[Connection, RSGIHTTPStreamTransport], Awaitable[None]],
) -> None:
    """Send an answer whose body takes its time, and close the body.

    No thread is held while the client reads. An answer that does not reach its end is cut off.
    """
    facts = {"request_id": dict(answer.headers).get("X-Request-Id")}
    try:
        connection = await lane.run(partial(Connection, scope))
        try:
            transport = proto.response_stream(answer.status, answer.headers)
            await send_body(connection, transport)
        except BaseException:
            connection.cut()
            raise
    except CutOff as exc:
        log.info("answer.cut_off", extra={**facts, "reason": str(exc)})
    except Exception:
        log.exception("answer.cut_off", extra=facts)
    finally:
        # Also when the process ends, which cancels this.
        await asyncio.shield(lane.run(body.close))


async def send_pieces(
    pieces: Pieces, lane: Lane, connection: Connection, transport: RSGIHTTPStreamTransport
) -> None:
    """Send the pieces of an answer, each made when there is room for it. Raises CutOff."""
    sent = 0
    while (piece := await lane.run(pieces.make)) is not None:
        await send_piece(piece, transport)
        sent += len(piece)
        await wait_for_room(connection, sent, window=WINDOW_BYTES)


async def send_piece(piece: bytes, transport: RSGIHTTPStreamTransport) -> None:
    """Hand a piece to granian. Raises CutOff."""
    try:
        await transport.send_bytes(piece)
    except RSGIProtocolClosed as exc:
        raise CutOff("The client is gone.") from exc


async def wait_for_room(
    connection: Connection, sent: int, *, window: int, live: LiveAnswer | None = None
) -> None:
    """Wait until no more than `window` bytes of what was sent are on their way.

    Raises CutOff when that takes too long, or what is live is to end.
    """
    wait_s = _SHORTEST_WAIT_S
    try:
        async with asyncio.timeout(ROOM_TIMEOUT_S):
            while connection.measure(sent) > window:
                if live is not None and live.is_ended:
                    raise CutOff(live.reason)
                await asyncio.sleep(wait_s)
                wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
    except TimeoutError:
        raise CutOff("The client reads too slowly.") from None


def _find_socket(scope: Scope) -> tuple[int, int]:
    """Find the connection: its number, and its inode, which is its own as long as it is there."""
    client, port = _parse(*scope.client.rsplit(":", 1)), int(scope.server.rpartition(":")[2])
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError), copy_socket(int(name)) as found:  # or closed, or without a peer
            ours, theirs = found.getsockname(), found.getpeername()
            is_inet = isinstance(theirs, tuple) and isinstance(theirs[0], str)
            if is_inet and ours[1] == port and _parse(*theirs[:2]) == client:
                return int(name), os.fstat(found.fileno()).st_ino
    raise CutOff("The client is gone.")


def _parse(host: str, port: int | str) -> tuple[object, int]:
    return ip_address(host.strip("[]").partition("%")[0]), int(port)
