"""Single keys of a terminal, as they are pressed."""

import select
import sys
import termios
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def reading_keys() -> Iterator[Callable[[float], str]]:
    """Yield what waits for a key, so many seconds at the most; "" when none was pressed.

    The terminal is as it was afterwards, whatever happens.
    """
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)

    def read(timeout_s: float) -> str:
        ready, _, _ = select.select([descriptor], [], [], timeout_s)
        return sys.stdin.read(1) if ready else ""

    tty.setcbreak(descriptor)  # Ctrl-C still interrupts
    try:
        yield read
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
