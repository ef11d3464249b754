"""Answers that are sent while they are made: in pieces, as fast as the client takes them.

granian's stream takes pieces without bound, however slowly the client reads, and ends in order also
when the app failed, so that a part passes for the whole. So this looks at the connection itself:
how much of what was sent has arrived, and to cut it off.
"""

import asyncio
import errno
import logging
import os
import socket
import stat
import struct
from contextlib import ExitStack, suppress
from functools import partial
from ipaddress import ip_address

from granian._granian import RSGIHTTPProtocol, RSGIHTTPStreamTransport, RSGIProtocolClosed
from granian.rsgi import Scope

from service.api.live_answer import LiveAnswer
from service.serving.lane import Answer, Lane, Pieces

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
        self._socket = _find_socket(scope)
        self._acknowledged_before = self._look()

    def measure(self, sent: int) -> int:
        """Return how many of so many bytes have not arrived. Raises CutOff when nothing will."""
        return sent - (self._look() - self._acknowledged_before)

    def cut(self) -> None:
        """End it at once: what granian still has to send, and the end of the answer, never come."""
        with suppress(OSError):  # it has ended by itself
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Let go of it."""
        self._socket.close()

    def _look(self) -> int:
        seen = self._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _ACKNOWLEDGED.size)
        if seen[0] == _CLOSED:
            raise CutOff("The client is gone.")
        acknowledged: int = _ACKNOWLEDGED.unpack(seen)[0]
        return acknowledged


async def send(
    scope: Scope,
    proto: RSGIHTTPProtocol,
    lane: Lane,
    answer: Answer,
    body: Pieces | LiveAnswer,
) -> None:
    """Send an answer in pieces, each made when there is room for it.

    No thread is held while the client reads, or while what is live is silent. An answer that does
    not reach its end is cut off.
    """
    facts = {"request_id": dict(answer.headers).get("X-Request-Id")}
    try:
        connection = await lane.run(partial(Connection, scope))
        try:
            transport = proto.response_stream(answer.status, answer.headers)
            if isinstance(body, LiveAnswer):
                await _send_live(body, proto, connection, transport)
            else:
                await _send(body, lane, connection, transport)
        except BaseException:
            connection.cut()
            raise
        finally:
            connection.close()
    except CutOff as exc:
        log.info("answer.cut_off", extra={**facts, "reason": str(exc)})
    except Exception:
        log.exception("answer.cut_off", extra=facts)
    finally:
        # Also when the process ends, which cancels this.
        await asyncio.shield(lane.run(body.close))


async def _send(
    pieces: Pieces, lane: Lane, connection: Connection, transport: RSGIHTTPStreamTransport
) -> None:
    sent = 0
    while (piece := await lane.run(pieces.make)) is not None:
        await _send_piece(piece, transport)
        sent += len(piece)
        await _wait_for_room(connection, sent)


async def _send_live(
    live: LiveAnswer,
    proto: RSGIHTTPProtocol,
    connection: Connection,
    transport: RSGIHTTPStreamTransport,
) -> None:
    more, loop = asyncio.Event(), asyncio.get_running_loop()
    live.on_more(partial(_set_soon, loop, more))
    gone = asyncio.ensure_future(proto.client_disconnect())
    gone.add_done_callback(lambda _: more.set())
    sent = 0
    try:
        while (piece := live.take()) is not None:
            if gone.done():
                raise CutOff("The client is gone.")
            if piece:
                await _send_piece(piece, transport)
                sent += len(piece)
                await _wait_for_room(connection, sent, live)
                await asyncio.sleep(0)  # others have their turn, however much there is
            else:
                with suppress(TimeoutError):
                    async with asyncio.timeout(live.silence_s):
                        await more.wait()
            more.clear()  # what comes from here on is either taken now or sets it again
    finally:
        gone.cancel()


def _set_soon(loop: asyncio.AbstractEventLoop, event: asyncio.Event) -> None:
    with suppress(RuntimeError):  # the process is ending, and its loop has
        loop.call_soon_threadsafe(event.set)


async def _send_piece(piece: bytes, transport: RSGIHTTPStreamTransport) -> None:
    try:
        await transport.send_bytes(piece)
    except RSGIProtocolClosed as exc:
        raise CutOff("The client is gone.") from exc


async def _wait_for_room(connection: Connection, sent: int, live: LiveAnswer | None = None) -> None:
    wait_s = _SHORTEST_WAIT_S
    try:
        async with asyncio.timeout(ROOM_TIMEOUT_S):
            while connection.measure(sent) > WINDOW_BYTES:
                if live is not None and live.is_ended:
                    raise CutOff(live.reason)
                await asyncio.sleep(wait_s)
                wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
    except TimeoutError:
        raise CutOff("The client reads too slowly.") from None


def _find_socket(scope: Scope) -> socket.socket:
    """Find the connection among the files of this process: granian does not say which it is."""
    client, port = _parse(*scope.client.rsplit(":", 1)), int(scope.server.rpartition(":")[2])
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError), ExitStack() as at_end:  # it may be closed, or have no peer
            found = at_end.enter_context(_copy_socket(int(name)))
            ours, theirs = found.getsockname(), found.getpeername()
            is_inet = isinstance(theirs, tuple) and isinstance(theirs[0], str)
            if is_inet and ours[1] == port and _parse(*theirs[:2]) == client:
                at_end.pop_all()
                return found
    raise CutOff("The client is gone.")


def _copy_socket(fd: int) -> socket.socket:
    """Copy a socket, so that it stays what it is whatever becomes of the number.

    Raises OSError when it is none.
    """
    copy = os.dup(fd)
    if not stat.S_ISSOCK(os.fstat(copy).st_mode):
        os.close(copy)
        raise OSError(errno.ENOTSOCK, "No socket.")
    return socket.socket(fileno=copy)


def _parse(host: str, port: int | str) -> tuple[object, int]:
    return ip_address(host.strip("[]").partition("%")[0]), int(port)
