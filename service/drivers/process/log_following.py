"""The log of an instance as it grows, in its file, which may be cut and replaced meanwhile."""

import os
import time
from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from typing import BinaryIO

from service.drivers.last_output import begin_with_line
from service.drivers.log_lines import (
    IDLE_S,
    FindRun,
    LogEnd,
    LogStream,
    Splitter,
)
from service.drivers.process import logs
from service.model.printed_lines import LogLine

POLL_S = 0.1

_CHUNK_BYTES = 64 * 1024


def follow(
    folder: Path, find_run: FindRun, stream: LogStream, *, tail: int
) -> Generator[LogLine | None, None, None]:
    """Read the last lines, and those that are printed from then on."""
    splitter = Splitter()
    path = folder / "log"
    end = path.stat().st_size if path.exists() else 0
    lines = list(splitter.feed(begin_with_line(logs.read(folder, end))))
    if find_run() is None:
        stream.end = LogEnd.GONE  # the next container may have printed that
        return
    yield from lines[-tail:] if tail else ()
    with closing(_grow(path, end, find_run, stream)) as pieces:
        for piece in pieces:
            if piece is None:
                yield None
            else:
                yield from splitter.feed(piece) if piece else splitter.flush()


def _grow(
    path: Path, at: int, find_run: FindRun, stream: LogStream
) -> Generator[bytes | None, None, None]:
    """Yield what is appended to a log from there on; None after IDLE_S without anything.

    What is empty says that the program has ended.
    """
    while True:
        try:
            with path.open("rb") as file:
                file.seek(at)
                yield from _read_file(file, path, find_run, stream)
        except FileNotFoundError:
            pass
        if stream.pause(0) or (not find_run() and not (yield from stream.goes_on(find_run))):
            return
        at = 0


def _read_file(
    file: BinaryIO, path: Path, find_run: FindRun, stream: LogStream
) -> Generator[bytes | None, None, None]:
    """Read a log until there is another one, or none, or it has its end. See `_grow`."""
    heard_at = time.monotonic()
    has_ended = is_old = False
    while True:
        if printed := file.read(_CHUNK_BYTES):
            heard_at = time.monotonic()
            if find_run() is None:
                return  # the next container may have printed that
            yield printed
        elif is_old:
            return
        elif has_ended:
            yield b""
            if not (yield from stream.goes_on(find_run)):
                return
            has_ended = False
        elif _is_other(file.fileno(), path):
            is_old = True  # and read to its end
        elif os.fstat(file.fileno()).st_size < file.tell():
            file.seek(0)  # it has been cut
        elif stream.pause(POLL_S):
            return
        elif time.monotonic() - heard_at > IDLE_S:
            heard_at = time.monotonic()
            yield None
            has_ended = not find_run()


def _is_other(descriptor: int, path: Path) -> bool:
    """Return whether the file of that name is another one by now. Raises FileNotFoundError."""
    return not os.path.samestat(os.fstat(descriptor), path.stat())
