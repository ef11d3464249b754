"""Lines of a container's log, out of what a Docker Engine sends of it.

The engine writes a log in pieces: a line, or ENGINE_LINE_BYTES of a longer one, each with its time
before it. Without a terminal each piece is in a frame of its own, which says where it was printed.
Podman's pieces are what the program wrote at once, and their times are whole seconds.
"""

import re
import struct
from collections.abc import Iterable, Iterator
from datetime import datetime

from service.drivers import ENGINE_LINE_BYTES
from service.drivers.log_lines import Splitter, number
from service.model.printed_lines import LogLine, Stream

MAX_FRAME_BYTES = 2**20

_FRAME = struct.Struct(">BxxxL")
_STREAMS = {1: Stream.STDOUT, 2: Stream.STDERR}
_TIME = re.compile(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d) ")
_MAX_TIME_BYTES = len("2026-01-31T12:00:00.000000000+01:00 ")


class Pieces:
    """The pieces of a log, and how many there were."""

    def __init__(self, *, is_terminal: bool, ends_runs: bool = True) -> None:
        """`ends_runs`: a short piece without an end is the last of a run, and no part of a line."""
        self.count = 0
        self._ends_runs = ends_runs
        self._split = _split_terminal if is_terminal else _split_frames
        self._makers: dict[int, Splitter] = {}

    def read_lines(
        self, received: Iterable[bytes | None], *, with_rest: bool = True
    ) -> Iterator[LogLine | None]:
        """Read the lines, with their positions. What is None is passed on.

        A line of which the end has not come is left out unless `with_rest`.
        """
        return number(self._read(received, with_rest=with_rest))

    def _read(
        self, received: Iterable[bytes | None], *, with_rest: bool
    ) -> Iterator[LogLine | None]:
        for piece in self._split(received):
            if piece is None:
                yield None
                continue
            self.count += 1
            source, text = piece
            time_ns, printed = _read_time(text)
            maker = self._makers.setdefault(source, Splitter(_STREAMS.get(source)))
            yield from maker.feed(printed, time_ns)
            is_short = len(printed) < ENGINE_LINE_BYTES and not printed.endswith(b"\n")
            if is_short and self._ends_runs:
                yield from maker.flush()
        for maker in self._makers.values() if with_rest else ():
            yield from maker.flush()


def _read_time(piece: bytes) -> tuple[int | None, bytes]:
    """Take the time off a piece; None for one without."""
    match = _TIME.match(piece)
    if match is None:
        return None, piece
    try:
        seconds = datetime.fromisoformat((match[1] + match[3]).decode()).timestamp()
    except ValueError:
        return None, piece
    fraction_ns = int((match[2] or b"").ljust(9, b"0"))
    return int(seconds) * 10**9 + fraction_ns, piece[match.end() :]


def _split_frames(received: Iterable[bytes | None]) -> Iterator[tuple[int, bytes] | None]:
    """Take the pieces out of their frames. Raises ValueError for what are none."""
    pending = bytearray()
    for part in received:
        if part is None:
            yield None
            continue
        pending += part
        at = 0
        while len(pending) - at >= _FRAME.size:
            source, size = _FRAME.unpack_from(pending, at)
            if size > MAX_FRAME_BYTES:
                raise ValueError("No engine sends such a frame.")
            end = at + _FRAME.size + size
            if len(pending) < end:
                break
            yield source, bytes(pending[at + _FRAME.size : end])
            at = end
        del pending[:at]


def _split_terminal(received: Iterable[bytes | None]) -> Iterator[tuple[int, bytes] | None]:
    """Find the pieces of what comes without frames: they begin with times, and have known ends."""
    pending = bytearray()
    for part in received:
        if part is None:
            yield None
            continue
        pending += part
        at = 0
        while (end := _find_end(pending, at)) is not None:
            yield 0, bytes(pending[at:end])
            at = end
        del pending[:at]
    if pending:
        yield 0, bytes(pending)


def _find_end(pending: bytearray, at: int) -> int | None:
    """Find the end of the piece that begins there; None as long as it has not all come."""
    match = _TIME.match(pending, at)
    if match is None and len(pending) - at < _MAX_TIME_BYTES and b"\n" not in pending[at:]:
        return None
    printed = match.end() if match else at
    longest = printed + ENGINE_LINE_BYTES
    newline = pending.find(b"\n", printed, longest)
    if newline >= 0:
        return newline + 1
    return longest if len(pending) >= longest else None
