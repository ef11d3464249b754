"""A source of live answers that has what the test says."""

import threading
from collections import deque


class Feed:
    """A `live_answer.Source`."""

    def __init__(self, *pieces):
        self.closed = threading.Event()
        self.taken = 0
        self._pieces = deque(pieces)
        self._wake = lambda: None

    def put(self, piece):
        """Have this next; None: the end."""
        self._pieces.append(piece)
        self._wake()

    def take(self):
        """Return what was put first."""
        if not self._pieces:
            return b""
        self.taken += 1
        return self._pieces.popleft()

    def on_more(self, wake):
        """Note who is to be woken."""
        self._wake = wake

    def close(self):
        """Note that nobody takes any more."""
        self.closed.set()


class Flood(Feed):
    """A source that always has more."""

    def take(self):
        """Return the next."""
        self.taken += 1
        return b"x" * 65536
