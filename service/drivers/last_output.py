"""The last of what a program printed, as `NodeDriver.logs` promises it."""

import codecs

from service.drivers import MAX_LOG_BYTES

LONG_LINE = f"[The last line is longer than {MAX_LOG_BYTES // 1024} KiB.]\n"
"""Stands for the output of which nothing is left without the line that the bound cuts."""


def begin_with_line(printed: bytes) -> bytes:
    """Leave out the rest of a line at the beginning of the last MAX_LOG_BYTES of an output."""
    if len(printed) < MAX_LOG_BYTES:
        return printed
    return printed[-MAX_LOG_BYTES:].partition(b"\n")[2] or LONG_LINE.encode()


def read_last_lines(printed: bytes, tail: int) -> str:
    """Decode the last `tail` lines of an output, as `NodeDriver.logs` promises them.

    `printed` begins with a line, or is the last MAX_LOG_BYTES or more of what was printed.
    """
    printed = begin_with_line(printed)
    # A character of which some bytes are still to come is left out.
    text = codecs.getincrementaldecoder("utf-8")("replace").decode(printed)
    return "".join(text.splitlines(keepends=True)[-tail:])
