"""What an instance's program printed: `log` in its folder, and `log.1` before that."""

import os
from contextlib import suppress
from pathlib import Path

from service.drivers import MAX_LOG_BYTES

ROTATE_BYTES = 1024 * 1024
"""How long a log may be when the program starts."""

CUT_BYTES = 16 * 1024 * 1024
"""How long it may become while the program runs."""


def read(folder: Path) -> bytes:
    """Read the end of what was printed, MAX_LOG_BYTES of each of the two files."""
    return _read_end(folder / "log.1") + _read_end(folder / "log")


def rotate(folder: Path) -> None:
    """Put aside what was printed before a start, if it is long."""
    log = folder / "log"
    with suppress(FileNotFoundError):
        if log.stat().st_size > ROTATE_BYTES:
            log.rename(folder / "log.1")


def cut(folder: Path) -> None:
    """Put aside what a program that runs for long has printed. It appends, so it goes on at 0."""
    log = folder / "log"
    with suppress(FileNotFoundError):
        if log.stat().st_size > CUT_BYTES:
            (folder / "log.1").write_bytes(_read_end(log))
            os.truncate(log, 0)


def _read_end(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - MAX_LOG_BYTES))
            return file.read()
    except FileNotFoundError:
        return b""
