"""One address for several processes: a listening socket for each, and who gets new connections.

Where processes accept from one socket, the first to wake takes all that wait there, and keeps them:
sixteen clients that connect at once may all be one process's, while the others have nothing to do.
So each has a socket of its own, among which the system shares them out. The parent holds them all,
so that what waits at a process that ended waits for its successor and is not lost; and it says
which of them get connections, so that nothing more waits there.
"""

import ctypes
import logging
import socket
import struct
from collections.abc import Sequence
from contextlib import ExitStack

from service.serving.listening import BACKLOG

log = logging.getLogger(__name__)

_SO_ATTACH_REUSEPORT_CBPF = 51
"""From Linux's asm-generic/socket.h; the module `socket` does not name it."""

# Instructions of classic BPF, from linux/filter.h: load a word, divide by a number and keep the
# rest, skip if it is not equal, return a number.
_LOAD, _REMAINDER, _SKIP_UNLESS, _RETURN = 0x20, 0x94, 0x15, 0x06
_RANDOM = 0xFFFFF000 + 56
"""Where a load finds a random number (SKF_AD_OFF + SKF_AD_RANDOM)."""


class SharedAddress:
    """Listening sockets of one address, one for each of so many processes.

    Where the system cannot share connections out they are all one socket.
    """

    def __init__(self, first: socket.socket, processes: int) -> None:
        self.sockets = [first]
        self._all = self._sharers = list(range(processes))
        try:
            self.sockets += _listen_beside(first, processes - 1)
            _share_out(first, self._sharers)
            self._is_shared_out = True
        except OSError as exc:
            log.warning("connections.not_shared_out", extra={"reason": str(exc)})
            for other in self.sockets[1:]:
                other.close()
            self.sockets = [first] * processes
            self._is_shared_out = False

    def share_among(self, numbers: list[int]) -> None:
        """Have new connections wait at the sockets of these numbers; at all when there are none.

        To be called again and again: what the system refuses now, as without memory, it may do yet.
        """
        sharers = numbers or self._all
        if not self._is_shared_out or sharers == self._sharers:
            return
        try:
            _share_out(self.sockets[0], sharers)
            self._sharers = sharers
        except OSError as exc:
            log.warning("connections.not_shared_out", extra={"reason": str(exc)})

    def close(self) -> None:
        """Refuse connections from now on."""
        for each in self.sockets:
            each.close()


def _listen_beside(first: socket.socket, count: int) -> list[socket.socket]:
    """Listen on the same address with more sockets. Raises OSError where that cannot be done.

    The first was bound alone, so that an address that somebody else serves is found out.
    """
    address = first.getsockname()[:2]
    first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    with ExitStack() as at_failure:
        others = [
            at_failure.enter_context(
                socket.create_server(address, family=first.family, backlog=BACKLOG, reuse_port=True)
            )
            for _ in range(count)
        ]
        at_failure.pop_all()
    return others


def _share_out(any_of_them: socket.socket, numbers: Sequence[int]) -> None:
    """Have each new connection wait at one of these sockets by chance.

    Sockets are numbered in the order in which they began to listen. Raises OSError.
    """
    program = [(_LOAD, 0, 0, _RANDOM), (_REMAINDER, 0, 0, len(numbers))]
    for rest, number in enumerate(numbers):
        program += [(_SKIP_UNLESS, 0, 1, rest), (_RETURN, 0, 0, number)]
    program.append((_RETURN, 0, 0, numbers[0]))
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in program))
    any_of_them.setsockopt(
        socket.SOL_SOCKET,
        _SO_ATTACH_REUSEPORT_CBPF,
        struct.pack("HP", len(program), ctypes.addressof(code)),
    )
