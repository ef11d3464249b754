"""What this process answered of lists last, in parts that can be sent again as they are."""

from collections.abc import Hashable, Mapping
from itertools import starmap
from threading import Lock
from typing import NamedTuple

MAX_BYTES = 4 * 2**20
"""How much memory all parts take at the most, in each process."""

SIZE = 16
"""How many documents one is of. Of a hundred with a change in one of a hundred, fifteen change."""

_OVERHEAD = 500
"""What Python needs for one beside its texts, roughly."""

Place = tuple[object, bytes]
"""The `_id` before the versions of a part, and these as they were read."""


class Part(NamedTuple):
    """The answers of some documents in a row."""

    text: bytes
    last_id: object


class Parts:
    """The parts of the last answer of each kind, bounded: those of the oldest kind go first.

    Nothing in it is ever wrong: parts are of the versions of their documents, and found only with
    the same `shared`, which is all else that they are made of.
    """

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._kept: dict[str, tuple[Hashable, Mapping[Place, Part], int]] = {}
        self._lock = Lock()

    def find(self, kind: str, shared: Hashable) -> Mapping[Place, Part]:
        """Find the parts of the last answer of this kind."""
        with self._lock:
            known, parts, _ = self._kept.get(kind, (None, {}, 0))
        return parts if known == shared else {}

    def keep(self, kind: str, shared: Hashable, parts: Mapping[Place, Part]) -> None:
        """Keep these instead of those of the answer before."""
        size = sum(starmap(measure, parts.items()))
        with self._lock:
            self._kept.pop(kind, None)
            self._kept[kind] = shared, parts, size
            while sum(each for _, _, each in self._kept.values()) > self._max_bytes:
                self._kept.pop(next(iter(self._kept)))


def measure(place: Place, part: Part) -> int:
    """Return how much memory a part takes, in bytes."""
    return len(place[1]) + len(part.text) + _OVERHEAD
