"""What this process has encoded of lists, by the versions of the documents."""

from collections import defaultdict
from collections.abc import Mapping
from threading import Lock
from typing import NamedTuple

MAX_BYTES = 16 * 2**20
"""How much memory it takes at the most, in each process: enough for more than ten thousand usual
instances, which is as long as a list may be that fills it."""

_OVERHEAD = 500
"""What Python needs for an entry beside its text, roughly."""


class Fragment(NamedTuple):
    """The answer of one document: what is before the node that it embeds, and what is after it."""

    document_id: str
    node_id: str | None
    head: bytes
    tail: bytes
    port: int = 0
    """Of an instance: what is connected to, on its node."""


class Fragments:
    """A bounded cache. What was kept first goes first: a version that is in use is soon kept anew.

    Nothing in it is ever wrong: a document that changes has another version.
    """

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._kept: defaultdict[str, dict[bytes, Fragment]] = defaultdict(dict)
        self._bytes = 0
        self._lock = Lock()

    def of(self, kind: str) -> Mapping[bytes, Fragment]:
        """Return what was encoded of this kind of documents, by version."""
        with self._lock:
            return self._kept[kind]

    def keep(self, kind: str, version: bytes, fragment: Fragment) -> None:
        """Keep what was encoded; the oldest of the kind with the most makes room for it."""
        with self._lock:
            if version in self._kept[kind]:
                return
            self._kept[kind][version] = fragment
            self._bytes += _measure(version, fragment)
            while self._bytes > self._max_bytes:
                longest = max(self._kept.values(), key=len)
                oldest = next(iter(longest))
                self._bytes -= _measure(oldest, longest.pop(oldest))


def _measure(version: bytes, fragment: Fragment) -> int:
    return len(version) + len(fragment.head) + len(fragment.tail) + _OVERHEAD
