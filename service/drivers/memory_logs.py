"""The logs of nodes in memory: the n-th line of each was printed n seconds after FIRST_LINE_AT."""

import sys
import time
from collections.abc import Callable, Generator
from datetime import UTC, datetime
from functools import partial
from typing import NamedTuple

from service.drivers.log_lines import IDLE_S, LogStream, make_lines
from service.errors import NodeFailure
from service.model.printed_lines import LogLine, Mark, Position, Stream

FIRST_LINE_AT = datetime(2026, 1, 31, 12, tzinfo=UTC)
POLL_S = 0.01


class Log(NamedTuple):
    """What a program printed, and whether it runs."""

    text: str
    is_up: bool


def read(
    log: Log | None, *, tail: int, since_ns: int | None = None, until_ns: int | None = None
) -> list[LogLine]:
    """Read the last lines of a time."""
    found = []
    for count, line in enumerate(make_lines(log.text if log else "")):
        time_ns = time_of(count)
        if (since_ns or 0) <= time_ns and (until_ns is None or time_ns <= until_ns):
            found.append(LogLine(line.text, Position(time_ns, 0), Stream.STDOUT, line.is_cut))
    return found[-tail:] if tail else []


def time_of(count: int) -> int:
    """Return when the line was printed before which there are so many."""
    return (int(FIRST_LINE_AT.timestamp()) + count) * 10**9


def follow(
    container_id: str,
    look: Callable[[], Log | None],
    *,
    tail: int,
    since_ns: int | None = None,
    after: Mark | None = None,
) -> LogStream:
    """Read the last lines, or those after one, and those to come; whole lines, while it runs."""
    position = after and after.find_in(container_id)
    read = partial(_follow, look, tail=tail, since_ns=since_ns, after=position)
    return LogStream(container_id if look() else None, read, _translate)


def _translate(exc: Exception) -> NodeFailure:
    raise exc


def _follow(
    look: Callable[[], Log | None],
    stream: LogStream,
    *,
    tail: int,
    since_ns: int | None,
    after: Position | None,
) -> Generator[LogLine | None, None, None]:
    def find_run() -> str | None:
        now = look()
        return now and ("running" if now.is_up else "")

    if after is None:
        last = read(_end_with_line(look()), tail=max(tail, 1), since_ns=since_ns)
        yield from last[-tail:] if tail else ()
        after = last[-1].position if last else None
    heard_at = time.monotonic()
    while not stream.pause(POLL_S):
        now = look()
        begin_ns = since_ns if after is None else after.time_ns + 1
        new = read(_end_with_line(now), tail=sys.maxsize, since_ns=begin_ns)
        yield from new
        if new:
            after = new[-1].position
        elif now is None or not now.is_up:
            if not (yield from stream.goes_on(find_run)):
                return
        elif time.monotonic() - heard_at > IDLE_S:
            yield None
        else:
            continue
        heard_at = time.monotonic()


def _end_with_line(log: Log | None) -> Log | None:
    """Leave out a line that a running program has not ended."""
    if log is None or not log.is_up:
        return log
    return Log(log.text[: log.text.rfind("\n") + 1], log.is_up)
