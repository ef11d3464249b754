"""Whether an engine sends all lines of the log that it follows, each once.

Engines put a log aside when it is long, every 10 MB of ours. Some then lose the log that they
follow until the next one is put aside, too; and one that is slower than the program leaves a whole
one out, or sends one again. So the times of the lines are watched. Where they break, the engine is
asked anew for what comes after the last line that was in order.
"""

import time
from collections.abc import Callable

from service.drivers.log_lines import MARGIN_NS
from service.model.printed_lines import LogLine, Position

SILENT_S = 15.0
"""After how long without a line the engine is asked whether there is none."""

FEW_BYTES = 2**20
"""How much must have come before a pause between two lines is looked at, which is no small task."""


class Watch:
    """The watch on one log, from one question to the engine to the next."""

    def __init__(self, read_last: Callable[[], list[LogLine]], after: Position | None) -> None:
        """Begin after a line. `read_last` asks the engine for the last line of all."""
        self.last = after
        """The last line in order."""
        self._read_last = read_last
        self._bytes = 0
        self._is_quiet = True
        """Whether nothing came a moment ago."""
        self._has_more = False
        self._look_at = 0.0

    def finds_break(self, line: LogLine | None) -> bool:
        """Take in what was sent; return whether lines are missing before it, or it comes again."""
        if line is None:
            return self._finds_more()
        passed_ns = self._measure(line)
        is_skipping = passed_ns > MARGIN_NS and not self._is_quiet and self._bytes > FEW_BYTES
        if is_skipping or passed_ns < -MARGIN_NS:
            return True
        self.last = line.position or self.last
        self._bytes += len(line.text)
        self._is_quiet = self._has_more = False
        self._look_at = 0.0
        return False

    def _finds_more(self) -> bool:
        """Look for lines that are there and do not come. Raises what drivers do."""
        self._is_quiet = True
        if self._has_more:
            return True  # and it had the time to send them
        now = time.monotonic()
        if now >= self._look_at:
            self._look_at = now + SILENT_S
            self._has_more = any(self._measure(line) > 0 for line in self._read_last())
        return False

    def _measure(self, line: LogLine) -> int:
        """Return how many nanoseconds after the last line it was printed."""
        if line.position is None:
            return 0
        return line.position.time_ns - self.last.time_ns if self.last else 1
