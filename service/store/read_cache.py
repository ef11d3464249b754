"""Documents that were read a moment ago, so that not each request reads what most need."""

import heapq
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from threading import Lock
from typing import Any, Generic, TypeVar

Document = TypeVar("Document", bound=Mapping[str, Any])

LIFETIME_S = 0.5
"""How old what a process knows of a document may be."""

MOST = 1000
"""How many documents one process knows at most, of each kind."""

LATELY_S = 5.0
"""What was asked for in this time is read again with what lacks."""

MOST_AGAIN = 250
"""How many documents are read again at a time: a few milliseconds' worth."""

_DRIFT = 1.02
"""The clocks of machines do not run alike: by 0.05 % at most, says NTP."""


@dataclass(slots=True)
class _Known(Generic[Document]):
    """A document, until when it is known, and when it was asked for last."""

    document: Document
    until: float
    asked_at: float


class ReadCache(Generic[Document]):
    """Documents as the database answered them, each for `lifetime_s` from before it was asked.

    One that is changed or removed is still known to other processes as it was. Whoever may not
    leave it at that calls `outlast` once the change is durable, and answers only then: now no
    process knows it as it was. All processes have the same lifetime; 0 remembers nothing.
    """

    def __init__(
        self,
        lifetime_s: float | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        """Take LIFETIME_S where nothing else is said. `clock` and `pause` count in seconds."""
        self._lifetime_s = LIFETIME_S if lifetime_s is None else lifetime_s
        self._clock = clock
        self._pause = pause
        self._known: dict[str, _Known[Document]] = {}
        self._lock = Lock()
        self._again_at = 0.0

    def find(self, name: str, read: Callable[[str], Document | None]) -> Document | None:
        """Find the document of this name; None where `read`, which asks the database, finds none.

        That there is none is not remembered.
        """
        asked_at = self._clock()  # the answer may be as old as the question
        known = self._find(name, asked_at)
        if known is not None:
            return known
        document = read(name)
        if document is not None:
            self._keep(name, document, asked_at)
        return document

    def find_each(
        self,
        names: set[str],
        read: Callable[[set[str]], Mapping[str, Document]],
        *,
        keeps: Callable[[Document], bool],
    ) -> dict[str, Document]:
        """Find the documents of these names that there are; `read` asks for all that lack at once.

        Once in a lifetime it also asks for others that were asked for lately: where requests come
        for hundreds of documents in turn, nearly each would otherwise find its own run out. Only
        those that `keeps` names are remembered.
        """
        asked_at = self._clock()
        known = {name: self._find(name, asked_at) for name in names}
        found = {name: document for name, document in known.items() if document is not None}
        if lacking := names - found.keys():
            for name, document in read(lacking | self._list_again(asked_at)).items():
                if name in lacking:
                    found[name] = document
                if keeps(document):
                    self._keep(name, document, asked_at, is_asked_for=name in lacking)
        return found

    def outlast(self) -> None:
        """Return when no process knows any document as it was when this was called."""
        if self._lifetime_s > 0:
            self._pause(self._lifetime_s * _DRIFT)

    def _find(self, name: str, at: float) -> Document | None:
        known = self._known.get(name)
        if known is None or at >= known.until:
            return None
        known.asked_at = at
        return known.document

    def _list_again(self, at: float) -> set[str]:
        """List what is to be read again: nothing before the last of it has run out."""
        with self._lock:
            if at < self._again_at:
                return set()
            self._again_at = at + self._lifetime_s
        lately = [
            (known.asked_at, name)
            for name, known in list(self._known.items())
            if at - known.asked_at < LATELY_S
        ]
        return {name for _, name in heapq.nlargest(MOST_AGAIN, lately)}

    def _keep(
        self, name: str, document: Document, asked_at: float, *, is_asked_for: bool = True
    ) -> None:
        if self._lifetime_s <= 0:
            return
        before = self._known.get(name)
        if before is None and len(self._known) >= MOST:
            self._known.clear()
        last = asked_at if is_asked_for or before is None else before.asked_at
        self._known[name] = _Known(document, asked_at + self._lifetime_s, last)
