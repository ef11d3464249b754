"""The lines that programs print, and which one it is, where lines have times (pure)."""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

CONTAINER_ID_LENGTH = 12
"""How much of a container's id is in the id of a line. No instance has two that begin alike."""

_LINE_ID = re.compile(r"([A-Za-z0-9_-]{1,64}):(\d{1,19})(?:\.(\d{1,6}))?", re.ASCII)


class Stream(StrEnum):
    """Where a program printed a line."""

    STDOUT = "stdout"
    STDERR = "stderr"


class Position(NamedTuple):
    """Which line of a container's log it is."""

    time_ns: int
    """When it was printed, in nanoseconds since 1970."""
    number: int
    """Among the lines of that time, from 0."""


class Mark(NamedTuple):
    """A line of an instance's log, of whichever container."""

    container_id: str
    """The id of the container, or its beginning."""
    position: Position

    def find_in(self, container_id: str) -> Position:
        """Find it in the log of a container: in that of another one it is before all lines."""
        return self.position if container_id.startswith(self.container_id) else Position(0, 0)


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line that a program printed, without its end."""

    text: str
    position: Position | None = None
    """None where the node tells no times."""
    stream: Stream | None = None
    """None where the node does not tell the two apart."""
    is_cut: bool = False
    """Whether its end is not there: it is too long, or its program ended in the middle of it."""


def print_mark(mark: Mark) -> str:
    """Write a line's id."""
    number = f".{mark.position.number}" if mark.position.number else ""
    return f"{mark.container_id[:CONTAINER_ID_LENGTH]}:{mark.position.time_ns}{number}"


def parse_mark(text: str) -> Mark:
    """Read a line's id. Raises ValueError."""
    match = _LINE_ID.fullmatch(text)
    if match is None:
        raise ValueError("Must be the id of a line.")
    return Mark(match[1], Position(int(match[2]), int(match[3] or 0)))
