"""What programs print, line by line: how drivers read it, and how they go on with it.

Lines are whole, because secrets are found in whole lines only. One that is longer than
MAX_LOG_LINE_BYTES is cut there, and says so.
"""

import codecs
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from enum import StrEnum

from service.errors import NodeFailure, ServiceError
from service.model.printed_lines import LogLine, Position, Stream

MAX_LOG_LINE_BYTES = 64 * 1024
"""How much of a line is read."""

IDLE_S = 1.0
"""After how long without a line whoever follows a log is told that there is none."""

STOPPED_S = 10.0
"""How long a program may be stopped before the log that is followed ends. A restart takes less."""

LOOK_EVERY_S = 0.5
"""How often a program that does not run is looked at."""

MARGIN_NS = 10**9
"""How much later a line may be written down than another one of the same time."""

MAX_EARLY_LINES = 1000


class LogEnd(StrEnum):
    """Why a log that was followed has no more lines."""

    STOPPED = "stopped"
    """The program has ended, and was not started again within STOPPED_S."""
    GONE = "gone"
    """The container is there no more, or is another one."""


FindRun = Callable[[], str | None]
"""Names the run of a program: from when it was started until it ends. Empty when it does not run,
and is not about to; None when its container is gone."""


class LogStream:
    """The lines of one container as they are printed: an iterator, to be closed.

    It yields None after IDLE_S without a line. It ends with the container, and says why in `end`;
    a program that starts again within STOPPED_S goes on in it. It raises what drivers raise.
    """

    def __init__(
        self,
        container_id: str | None,
        read: Callable[["LogStream"], Generator[LogLine | None, None, None]],
        translate: Callable[[Exception], NodeFailure],
    ) -> None:
        """Have `read` make the lines; None: there is no container, and so there are none."""
        self.container_id = container_id
        self.end: LogEnd | None = None if container_id else LogEnd.GONE
        self._is_closed = threading.Event()
        self._connection: socket.socket | None = None
        self._lines = read(self) if container_id else _none()
        self._translate = translate
        self._lock = threading.Lock()

    def __iter__(self) -> Iterator[LogLine | None]:
        return self

    def __next__(self) -> LogLine | None:
        """Wait for the next line, IDLE_S and some seconds at the most."""
        try:
            return next(self._lines)
        except StopIteration:
            raise
        except Exception as exc:
            if self._is_closed.is_set():
                raise StopIteration from None
            if isinstance(exc, ServiceError):
                raise
            raise self._translate(exc) from exc

    def use(self, connection: socket.socket) -> None:
        """Have `close` hang up this connection. Raises ConnectionError when it came before."""
        with self._lock:
            self._connection = connection
            if self._is_closed.is_set():
                raise ConnectionAbortedError("Nobody follows the log any more.")

    def pause(self, seconds: float) -> bool:
        """Wait; return whether somebody closed it meanwhile."""
        return self._is_closed.wait(seconds)

    def goes_on(self, find_run: FindRun) -> Generator[None, None, bool]:
        """Wait for a program that has ended to run again; return whether it does. The first
        look comes after a pause, so that a program that ends all the time is no load.
        """
        until = time.monotonic() + STOPPED_S
        while not self.pause(LOOK_EVERY_S):
            run = find_run()
            if run:
                return True
            if run is None or time.monotonic() > until:
                self.end = LogEnd.GONE if run is None else LogEnd.STOPPED
                return False
            yield None
        return False

    def hang_up(self) -> None:
        """Have it end soon, from any thread, and wait for nothing. A line is not waited for."""
        with self._lock:
            self._is_closed.set()
            if self._connection is not None:
                with suppress(OSError):  # it has ended by itself
                    self._connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End it, from any thread. Repeating it is harmless."""
        self.hang_up()
        with suppress(ValueError):  # another thread reads, and comes to the end now
            self._lines.close()


def _none() -> Generator[LogLine | None, None, None]:
    yield from ()


class Splitter:
    """Makes lines of what is printed in pieces."""

    def __init__(self, stream: Stream | None = None) -> None:
        self._stream = stream
        self._pending = bytearray()
        self._is_cut = False
        self._time_ns: int | None = None

    def feed(self, printed: bytes, time_ns: int | None = None) -> Iterator[LogLine]:
        """Take in the next piece; yield the lines that end in it. Each has its beginning's time."""
        pieces = printed.split(b"\n")
        for piece in pieces[:-1]:
            self._add(piece, time_ns)
            yield self._make_line()
        if pieces[-1]:
            self._add(pieces[-1], time_ns)

    def flush(self) -> Iterator[LogLine]:
        """Yield what is left, a line without an end, if there is one."""
        if self._pending:
            self._is_cut = True
            yield self._make_line()

    def _add(self, piece: bytes, time_ns: int | None) -> None:
        if not self._pending:
            self._time_ns = time_ns
        room = MAX_LOG_LINE_BYTES - len(self._pending)
        self._is_cut = self._is_cut or len(piece) > room
        self._pending += piece[:room]

    def _make_line(self) -> LogLine:
        printed, is_cut = bytes(self._pending), self._is_cut
        time_ns = self._time_ns
        self._pending.clear()
        self._is_cut, self._time_ns = False, None
        # A character of which the rest is cut off is left out.
        decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        return LogLine(
            decode(printed.removesuffix(b"\r"), not is_cut),
            None if time_ns is None else Position(time_ns, 0),
            self._stream,
            is_cut,
        )


def number(lines: Iterable[LogLine | None]) -> Iterator[LogLine | None]:
    """Number the lines of the same time, from the first one of a log, or of a time."""
    seen: dict[int, int] = {}
    for line in lines:
        if line is not None and line.position is not None:
            time_ns = line.position.time_ns
            count = seen.pop(time_ns, 0)
            if len(seen) >= MAX_EARLY_LINES:
                del seen[next(iter(seen))]
            seen[time_ns] = count + 1
            yield replace(line, position=Position(time_ns, count)) if count else line
        else:
            yield line


def go_on_after(lines: Iterable[LogLine | None], after: Position) -> Iterator[LogLine | None]:
    """Leave out the lines up to one, of a log that begins MARGIN_NS before it, or earlier.

    Two programs' lines may be written down in another order than that of their times. A line that
    is there no more is passed where later ones come, and no other.
    """
    early: deque[LogLine] = deque()
    remaining = iter(lines)
    for line in remaining:
        if line is not None and line.position == after:
            early.clear()
            break
        if line is not None and line.position is not None and line.position > after:
            early.append(line)
        if line is None or len(early) >= MAX_EARLY_LINES:
            break
    yield from early
    yield from remaining


def keep_last(lines: Iterable[LogLine], tail: int, max_bytes: int) -> list[LogLine]:
    """Keep the last lines, `tail` and so many bytes of UTF-8 at the most."""
    kept: deque[tuple[LogLine, int]] = deque()
    total = 0
    for line in lines:
        size = len(line.text.encode()) + 1
        kept.append((line, size))
        total += size
        while len(kept) > tail or total > max_bytes:
            total -= kept.popleft()[1]
    return [line for line, _ in kept]


def make_lines(text: str) -> list[LogLine]:
    """Make lines, without times, of a text."""
    splitter = Splitter()
    return [*splitter.feed(text.encode(errors="replace")), *splitter.flush()]
