"""The events that one key may see, as they happen: the source of a live answer."""

import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from service import events
from service.api.event_resources import EventOfResource, find
from service.errors import CursorTooOld, ServiceError
from service.event_hub import READ_TIMEOUT_S, EventHub
from service.model.orders import EventSearch
from service.store import Store

MOST_BYTES = 64 * 1024
"""How much is taken at a time, but for what one event or one page has more."""

PAGE = 50
"""How many events are read at a time of who is behind."""

TRY_AGAIN_S = 1.0
"""After how long whoever is behind reads again, when the database did not answer."""

MARK_S = 60.0
"""How often a client that is told of few events learns how far it is."""


class _Page(NamedTuple):
    frames: list[bytes]
    last_id: int


class EventStream:
    """A `live_answer.Source` of the events after one of them."""

    def __init__(
        self,
        hub: EventHub[EventOfResource],
        store: Store,
        search: EventSearch,
        *,
        kinds: set[str],
        for_owner: bool,
        check_kept: Callable[[int], None],
    ) -> None:
        """Begin after `search["after"]`. `check_kept` raises CursorTooOld."""
        self._hub, self._store = hub, store
        self._search: EventSearch = {**search, "limit": PAGE}
        self._kinds = kinds
        self._is_told = store.events.make_test(
            kinds=kinds, types=search["types"], wanted=search["wanted"]
        )
        self._for_owner = for_owner
        self._check_kept = check_kept
        self._last_id = search["after"] or 0
        self._is_closed = threading.Event()
        self._is_reading = self._is_over = False
        self._page: _Page | None = None
        """What was read while it is behind."""
        self._marked: int | None = None
        """The last id that the client knows."""
        self._marked_at = 0.0
        self._wake: Callable[[], None] = lambda: None

    def take(self) -> bytes | None:
        """Return the events that came; nothing while it is behind and they are read."""
        if self._is_over:
            return None
        frames: list[bytes] = []
        if self._page is not None:
            frames, self._last_id = self._page
            self._page, self._is_reading = None, False
        if not frames and not self._is_reading:
            frames = self._take_from_hub()
        return self._mark(frames)

    def on_more(self, wake: Callable[[], None]) -> None:
        """Have `wake` called when there may be more."""
        self._wake = wake
        self._hub.follow(self, wake)

    def close(self) -> None:
        """Follow no more."""
        self._is_closed.set()
        self._hub.leave(self)

    def _take_from_hub(self) -> list[bytes]:
        found = self._hub.list_after(self._last_id)
        if found is None:
            self._is_reading = True
            self._hub.run_behind(self._read)
            return []
        frames, size = [], 0
        for told in found:
            self._last_id = told.event["_id"]
            if self._is_told(told.event):
                frames.append(self._frame(told))
                size += len(frames[-1])
                if size > MOST_BYTES:
                    break
        return frames

    def _frame(self, told: EventOfResource) -> bytes:
        is_seen = told.resource is None or told.resource.is_seen_in(self._store)
        return told.frame(for_owner=self._for_owner, is_seen=is_seen)

    def _mark(self, frames: list[bytes]) -> bytes:
        """Say how far it is where no event does: to begin with, and now and then."""
        now = time.monotonic()
        is_late = self._marked is None or now - self._marked_at >= MARK_S
        if not frames and (self._marked == self._last_id or not is_late):
            return b""
        self._marked, self._marked_at = self._last_id, now
        return b"".join(frames) or f"id: {self._last_id}\n\n".encode()

    def _read(self) -> None:
        """Read the next page, as the JSON answer does. In the thread of who is behind."""
        while not self._is_closed.is_set():
            try:
                self._check_kept(self._last_id)
                with self._store.bounded(READ_TIMEOUT_S):
                    page = events.look(self._store, self._search, self._last_id, self._kinds)
                    found = find(self._store, page.events)
                frames = [each.frame(for_owner=self._for_owner, is_seen=True) for each in found]
                self._page = _Page(frames, page.last_id)
            except CursorTooOld:
                self._is_over = True
            except ServiceError:
                self._is_closed.wait(TRY_AGAIN_S)
                continue
            self._wake()
            return
