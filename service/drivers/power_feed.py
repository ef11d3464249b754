"""How a driver says that programs begin and end, as it happens."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from service.model.container import ContainerStatus

MAX_SHARE = 0.05
"""How much of the time a node that is asked again and again is busy with that."""


@dataclass(frozen=True, slots=True)
class Hint:
    """Something happened to a container of an instance: look at it."""

    instance_id: str
    container_id: str | None = None
    """The container that it happened to, which may be an older one of the instance."""
    exit_code: int | None = None
    """Of a run that ended."""
    out_of_memory: bool = False
    """Whether a program was killed because the container used more memory than it may."""


class PowerFeed(Protocol):
    """What happens to the containers of one node. Only one thread uses it."""

    @property
    def cursor(self) -> str | None:
        """Where to go on, with another feed, after what was read."""

    def read(self, wait_s: float) -> Sequence[Hint]:
        """Return what happened since the last call; wait so long while that is nothing.

        Raises NodeFailure when the feed is at its end: what happens after that is not in it.
        """

    def close(self) -> None:
        """Hang up."""


class ComparedLists:
    """A feed of a node that says nothing by itself: its containers are listed again and again."""

    cursor = None

    def __init__(
        self, list_all: Callable[[], Mapping[str, ContainerStatus]], *, every_s: float
    ) -> None:
        """List the containers once, and then every `every_s`, or less often where that is slow."""
        self._list_all = list_all
        self._every_s = every_s
        self._known = self._list()

    def read(self, wait_s: float) -> Sequence[Hint]:
        """Return which containers differ from the last time. See PowerFeed."""
        left_s = self._due - time.monotonic()
        if left_s > 0:
            time.sleep(min(left_s, wait_s))
        if left_s > wait_s:
            return ()
        before, self._known = self._known, self._list()
        names = before.keys() | self._known.keys()
        return [Hint(name) for name in sorted(names) if before.get(name) != self._known.get(name)]

    def close(self) -> None:
        """Close nothing. See PowerFeed."""

    def _list(self) -> Mapping[str, ContainerStatus]:
        began = time.monotonic()
        found = self._list_all()
        ended = time.monotonic()
        self._due = ended + max(self._every_s, (ended - began) / MAX_SHARE)
        return found
