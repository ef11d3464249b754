"""Events as they come, for all who follow them: a process reads each once.

The newest are kept, so that whoever connects anew goes on where it was without asking the database.
Who is further behind reads by itself, in a thread that is here for that, until it has caught up.
"""

import logging
import threading
import time
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, NamedTuple, Protocol, TypeVar

from service.errors import StoreFailure, StoreUnavailable
from service.events import SCOPES
from service.model.documents import Event
from service.store import Store
from service.store.changes import LOOK_AGAIN_S

log = logging.getLogger(__name__)

KEPT = 1000
"""How many events are kept at the most."""

KEPT_BYTES = 32 * 1024 * 1024
"""How large they are together, at the most, but for the newest."""

BATCH = 200
"""How many events are read at a time."""

PAUSE_S = 0.05
"""How long events are collected before all who follow are woken again."""

READ_TIMEOUT_S = 5.0

_KINDS = frozenset({*SCOPES, "log"})


class Told(Protocol):
    """An event with what it is about."""

    @property
    def event(self) -> Event:
        """The event."""

    @property
    def size(self) -> int:
        """About how many bytes it holds."""


Item = TypeVar("Item", bound=Told)


class _Kept(NamedTuple, Generic[Item]):
    """The newest events: all that came after the id `since`."""

    since: int
    ids: list[int]
    items: list[Item]


class EventHub(Generic[Item]):
    """The events of one database. Reads nothing while nobody follows."""

    def __init__(self, store: Store, tell: Callable[[list[Event]], list[Item]]) -> None:
        """Do nothing yet. `tell` adds to events what they are about."""
        self._store = store
        self._tell = tell
        self._lock = threading.Lock()
        """Guards the next four, and that a thread ends only with nothing left to do."""
        self._followers = dict[object, Callable[[], None]]()
        self._behind = deque[Callable[[], None]]()
        self._reader: threading.Thread | None = None
        self._catcher: threading.Thread | None = None
        self._kept: _Kept[Item] | None = None
        """Replaced by the reader alone, and never changed."""

    def follow(self, follower: object, wake: Callable[[], None]) -> None:
        """Call `wake`, in a thread of ours, whenever there may be more events."""
        with self._lock:
            self._followers[follower] = wake
            if self._reader is None or not self._reader.is_alive():
                self._reader = threading.Thread(target=self._read, name="event-hub", daemon=True)
                self._reader.start()

    def leave(self, follower: object) -> None:
        """Call it no more."""
        with self._lock:
            self._followers.pop(follower, None)

    def list_after(self, event_id: int) -> Sequence[Item] | None:
        """Return the events after this one, oldest first; None when they are not all known here.

        Before the first are read there are none; then all who follow are woken.
        """
        kept = self._kept
        if kept is None:
            return ()
        if event_id < kept.since:
            return None
        return kept.items[bisect_right(kept.ids, event_id) :]

    def run_behind(self, read: Callable[[], None]) -> None:
        """Have one who is behind read on, in its turn. What `read` raises is logged."""
        with self._lock:
            self._behind.append(read)
            if self._catcher is None:
                self._catcher = threading.Thread(
                    target=self._catch_up, name="event-catch-up", daemon=True
                )
                self._catcher.start()

    def _catch_up(self) -> None:
        while True:
            with self._lock:
                if not self._behind:
                    self._catcher = None
                    return
                read = self._behind.popleft()
            try:
                read()
            except Exception:
                log.exception("events.unread")

    def _read(self) -> None:
        with self._store.changes.follow_events() as told:
            while self._goes_on():
                told.clear()
                try:
                    self._read_new()
                except (StoreUnavailable, StoreFailure):
                    pass  # they come when the database is back
                except Exception:
                    log.exception("events.unread")
                time.sleep(PAUSE_S)
                told.wait(LOOK_AGAIN_S)

    def _goes_on(self) -> bool:
        with self._lock:
            if not self._followers:
                self._reader = self._kept = None
            return bool(self._followers)

    def _read_new(self) -> None:
        is_read = False
        while not is_read:
            kept = self._kept
            with self._store.bounded(READ_TIMEOUT_S):
                if kept is None:
                    kept, found = self._begin()
                else:
                    after = kept.ids[-1] if kept.ids else kept.since
                    found = self._list_after(after, BATCH)
                told = self._tell(found)
            is_read = len(found) < BATCH
            if told or self._kept is None:
                self._kept = _join(kept, told)
                self._wake_all()

    def _begin(self) -> tuple[_Kept[Item], list[Event]]:
        last_id = self._store.events.read_last_id()
        found = self._list_after(None, KEPT)
        return _Kept(found[0]["_id"] - 1 if found else last_id, [], []), found

    def _list_after(self, event_id: int | None, limit: int) -> list[Event]:
        return self._store.events.list_after(event_id, kinds=_KINDS, wanted={}, limit=limit)

    def _wake_all(self) -> None:
        with self._lock:
            followers = list(self._followers.values())
        for wake in followers:
            wake()


def _join(kept: _Kept[Item], told: list[Item]) -> _Kept[Item]:
    items = [*kept.items, *told]
    size, first = 0, len(items)
    while first and len(items) - first < KEPT:
        size += items[first - 1].size
        if size > KEPT_BYTES and first < len(items):
            break
        first -= 1
    since = items[first - 1].event["_id"] if first else kept.since
    items = items[first:]
    return _Kept(since, [item.event["_id"] for item in items], items)
