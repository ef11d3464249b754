"""How many requests may wait for nodes, so that enough threads are left for those that do not."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import BoundedSemaphore

from service.errors import Busy


class Patience:
    """As many slots as half of the threads that answer requests."""

    def __init__(self, threads: int) -> None:
        self._slots = BoundedSemaphore(max(1, threads // 2))

    @contextmanager
    def try_slot(self) -> Iterator[bool]:
        """Take a slot; tell whether there was one."""
        taken = self._slots.acquire(blocking=False)
        try:
            yield taken
        finally:
            if taken:
                self._slots.release()

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Take a slot. Raises Busy when there is none."""
        with self.try_slot() as taken:
            if not taken:
                raise Busy("As many requests as may wait for nodes do so already.")
            yield
