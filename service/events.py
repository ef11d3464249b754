"""Reading events: what happened, in the order in which it did."""

import threading
import time
from datetime import datetime, timedelta
from typing import NamedTuple

from service.errors import CursorTooOld, Forbidden, StoreUnavailable
from service.model.access import SCOPES as ALL_SCOPES
from service.model.access import Access
from service.model.documents import Event
from service.model.events import kinds_of
from service.model.orders import EventSearch
from service.store import Store
from service.store.changes import LOOK_AGAIN_S
from service.store.events import first_id

SCOPES = {
    "instance": "instances:read",
    "operation": "instances:read",
    "node": "nodes:read",
    "user": "users:read",
    "image": "images:read",
    "key": "keys:read",
    "webhook": "webhooks:read",
}
"""What a key must be allowed to do to be told of a kind."""

STOP_WITHIN_S = 0.5
"""How long a reader that waits may keep a process from ending."""

LEEWAY_S = 60.0
"""How long a client that is told where to begin has for that."""

LAST_LOOK_S = 2.0
"""How long the last look may take after the time to wait is over."""


class Page(NamedTuple):
    """Events, oldest first, and the id to go on after."""

    events: list[Event]
    last_id: int


def list_kinds(access: Access, types: list[str] | None) -> set[str]:
    """List of which kinds a key is told. Raises Forbidden for types that it may not know of."""
    may = {kind for kind, scope in SCOPES.items() if access.may(scope)}
    if access.is_limited or access.allowed < set(ALL_SCOPES):
        may -= {"key", "webhook"}  # only who may do everything sees all of these
    refused = kinds_of(types or ()) - may - {"log"}
    if refused:
        scopes = sorted({SCOPES[kind] for kind in refused})
        raise Forbidden(
            f"This API key may not be told of that: it needs {' and '.join(scopes)}.", scope=scopes
        )
    return may | {"log"}


def read(
    store: Store,
    search: EventSearch,
    *,
    kinds: set[str],
    keep_s: float,
    now: datetime,
    timeout_s: float = 0.0,
    stopping: threading.Event | None = None,
) -> Page:
    """Read events; when there is none, wait for one, `timeout_s` at the most.

    Raises CursorTooOld when events after `after` are forgotten.
    """
    after = search["after"]
    check_kept(after, keep_s=keep_s, now=now)
    page = look(store, search, after, kinds)
    if after is None:
        if page.events or timeout_s <= 0:
            return page
        after = page.last_id
    until = time.monotonic() + timeout_s
    with store.changes.follow_events() as told:
        look_at = 0.0
        while not page.events and time.monotonic() < until:
            if stopping is not None and stopping.is_set():
                break
            pause_s = max(0.0, min(look_at, until) - time.monotonic())
            if not told.wait(min(pause_s, STOP_WITHIN_S)) and pause_s > STOP_WITHIN_S:
                continue
            told.clear()
            try:
                with store.bounded(LAST_LOOK_S + max(0.0, until - time.monotonic())):
                    page = look(store, search, after, kinds)
            except StoreUnavailable:
                break
            look_at = time.monotonic() + LOOK_AGAIN_S
    return page


def check_kept(after: int | None, *, keep_s: float, now: datetime) -> None:
    """Raise CursorTooOld when events after this one are forgotten."""
    oldest = first_id(now - timedelta(seconds=keep_s))
    if after is not None and after < oldest:
        raise CursorTooOld(
            "Events after that one are forgotten.", oldest=str(oldest + int(LEEWAY_S * 1000))
        )


def find_end(store: Store, *, keep_s: float, now: datetime) -> int:
    """Return the id after which only what happens from now on comes, and nothing is forgotten."""
    return max(store.events.read_last_id(), first_id(now - timedelta(seconds=keep_s / 2)))


def look(store: Store, search: EventSearch, after: int | None, kinds: set[str]) -> Page:
    """Read the events that there are after this one; the newest, after None."""
    last_id = store.events.read_last_id()  # before, so that nothing is passed over
    limit = search["limit"]
    found = store.events.list_after(
        after, kinds=kinds, types=search["types"], wanted=search["wanted"], limit=limit
    )
    if found and (after is None or len(found) == limit):
        return Page(found, found[-1]["_id"])
    return Page(found, max([last_id, after or 0, *(event["_id"] for event in found)]))
