"""Documents that were read a moment ago, so that not each request reads what most need."""

import time
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

Document = TypeVar("Document", bound=Mapping[str, Any])

LIFETIME_S = 0.5
"""How old what a process knows of a document may be."""

MOST = 1000
"""How many documents one process knows at most, of each kind."""

_DRIFT = 1.02
"""The clocks of machines do not run alike: by 0.05 % at most, says NTP."""


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
        self._known: dict[str, tuple[Document, float]] = {}  # and until when

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

        Only those that `keeps` names are remembered.
        """
        asked_at = self._clock()
        known = {name: self._find(name, asked_at) for name in names}
        found = {name: document for name, document in known.items() if document is not None}
        if lacking := names - found.keys():
            for name, document in read(lacking).items():
                found[name] = document
                if keeps(document):
                    self._keep(name, document, asked_at)
        return found

    def outlast(self) -> None:
        """Return when no process knows any document as it was when this was called."""
        if self._lifetime_s > 0:
            self._pause(self._lifetime_s * _DRIFT)

    def _find(self, name: str, at: float) -> Document | None:
        document, until = self._known.get(name, (None, 0.0))
        return document if at < until else None

    def _keep(self, name: str, document: Document, asked_at: float) -> None:
        if self._lifetime_s <= 0:
            return
        if len(self._known) >= MOST:
            self._known.clear()
        self._known[name] = document, asked_at + self._lifetime_s
