"""How many requests may wait for nodes, so that enough threads are left for those that do not."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from service.errors import Busy


class WaitSlots:
    """As many slots as half of the threads that answer requests; half of those for one holder."""

    def __init__(self, threads: int) -> None:
        self._free = max(1, threads // 2)
        self._share = max(1, self._free // 2)
        self._held: Counter[str] = Counter()
        self._lock = Lock()

    @contextmanager
    def try_slot(self, holder: str) -> Iterator[bool]:
        """Take a slot; return whether there was one, and the holder had a share left."""
        with self._lock:
            taken = self._free > 0 and self._held[holder] < self._share
            if taken:
                self._free -= 1
                self._held[holder] += 1
        try:
            yield taken
        finally:
            if taken:
                self._release(holder)

    @contextmanager
    def slot(self, holder: str) -> Iterator[None]:
        """Take a slot. Raises Busy when there is none."""
        with self.try_slot(holder) as taken:
            if not taken:
                raise Busy("As many requests as may wait do so already.")
            yield

    def _release(self, holder: str) -> None:
        with self._lock:
            self._free += 1
            self._held[holder] -= 1
            self._held += Counter()  # forgets those that hold none
