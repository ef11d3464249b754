"""Where log lines go: to a stream, without one thread waiting for another."""

import logging
from collections import deque
from threading import Lock
from typing import TextIO

MOST_WAITING = 1000
"""How many lines may wait for the thread that writes, until others wait with them."""


class LineHandler(logging.StreamHandler[TextIO]):
    """Writes lines as they come, by one thread at a time, which takes those of the others along.

    While it writes, the others have the interpreter. With `logging`'s own lock each of them stopped
    there at its own line, and began again when it had that lock and the interpreter.
    """

    def __init__(self, stream: TextIO | None = None, *, most_waiting: int = MOST_WAITING) -> None:
        super().__init__(stream)
        self._most_waiting = most_waiting
        self._lines = deque[str]()
        self._writing = Lock()

    def createLock(self) -> None:
        """Do without the lock in which `logging` formats and writes."""
        self.lock = None

    def emit(self, record: logging.LogRecord) -> None:
        """Write the line, or leave it to the thread that writes, which looks again afterwards."""
        try:
            self._lines.append(self.format(record) + self.terminator)
            while self._lines and self._writing.acquire(len(self._lines) > self._most_waiting):
                try:
                    self._write()
                finally:
                    self._writing.release()
        except Exception:  # noqa: BLE001 (as `logging` does: no log line stops what is logged)
            self.handleError(record)

    def flush(self) -> None:
        """Write what is left, as when the process ends."""
        with self._writing:
            self._write()

    def _write(self) -> None:
        lines = [self._lines.popleft() for _ in range(len(self._lines))]
        self.stream.write("".join(lines))
        self.stream.flush()
