"""What an instance's program printed: `log` in its folder, and `log.1` before that."""

import os
from contextlib import suppress
from pathlib import Path

from service.drivers import MAX_LOG_BYTES

ROTATE_BYTES = 1024 * 1024
"""How long a log may be when the program starts."""

CUT_BYTES = 16 * 1024 * 1024
"""How long it may become while the program runs."""


def read(folder: Path, end: int | None = None) -> bytes:
    """Read the end of what was printed, MAX_LOG_BYTES of each of the two files.

    Of the second one not more than was there when it was so long.
    """
    return _read_end(folder / "log.1") + _read_end(folder / "log", end)


def read_start(folder: Path) -> bytes:
    """Read the end of what was printed since the last start, MAX_LOG_BYTES."""
    log = folder / "log"
    try:
        begin = int((folder / "log_begin").read_text())
    except (FileNotFoundError, ValueError):  # an earlier version started it
        begin = 0
    # A log that was cut since the start has nothing of before.
    return _read_end(log, begin=begin) if begin <= _measure(log) else _read_end(log)


def rotate(folder: Path) -> None:
    """Put aside what was printed before a start, if it is long; note where the start begins."""
    log = folder / "log"
    if _measure(log) > ROTATE_BYTES:
        log.rename(folder / "log.1")
    (folder / "log_begin").write_text(str(_measure(log)))


def cut(folder: Path) -> None:
    """Put aside what a program that runs for long has printed. It appends, so it goes on at 0."""
    log = folder / "log"
    with suppress(FileNotFoundError):
        if log.stat().st_size > CUT_BYTES:
            (folder / "log.1").write_bytes(_read_end(log))
            os.truncate(log, 0)
            (folder / "log_begin").write_text("0")


def _measure(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _read_end(path: Path, end: int | None = None, *, begin: int = 0) -> bytes:
    try:
        with path.open("rb") as file:
            end = path.stat().st_size if end is None else end
            begin = max(begin, end - MAX_LOG_BYTES)
            file.seek(begin)
            return file.read(max(0, end - begin))
    except FileNotFoundError:
        return b""
