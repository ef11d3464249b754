"""Makes the deliveries of events to webhooks: one of all workers does, and the others stand by."""

import threading
import time
from collections.abc import Callable
from datetime import datetime

from service import webhook_matching, webhook_owners
from service.store import Store

BATCH = 200
"""How many events are taken at a time."""

LOOK_AGAIN_S = 1.0
"""How long it is waited for a word of new events before they are looked for."""

OWNERS_S = 30.0
"""How often it is seen whose key has expired meanwhile, which no event tells."""


def fan_out(
    store: Store,
    token: str,
    *,
    lease_s: float,
    stopping: threading.Event,
    made: Callable[[], None],
    now: Callable[[], datetime],
) -> bool:
    """Make deliveries until `stopping` is set or another worker does it, and call `made` of each.

    False: there is nothing to do for a while. A worker that dies is replaced when its lease runs
    out, and the next one goes on where it was. Raises StoreUnavailable.
    """
    if store.fan_out.take(token, lease_s=lease_s):
        _follow(store, token, lease_s=lease_s, stopping=stopping, made=made, now=now)
        if stopping.is_set():
            store.fan_out.release(token)
    return False


def _follow(
    store: Store,
    token: str,
    *,
    lease_s: float,
    stopping: threading.Event,
    made: Callable[[], None],
    now: Callable[[], datetime],
) -> None:
    place = store.fan_out.read_place()
    renewed_at, looked_at = time.monotonic(), 0.0
    with store.changes.follow_events() as told:
        while not stopping.is_set():
            found = store.fan_out.list_after(place, limit=BATCH)
            deliveries = webhook_matching.make_deliveries(store, found, now=now()) if found else []
            place = found[-1]["_id"] if found else place
            if deliveries or time.monotonic() - renewed_at > lease_s / 3:
                if not store.fan_out.move(token, place, deliveries, lease_s=lease_s):
                    return
                renewed_at = time.monotonic()
            if deliveries:
                made()
            if time.monotonic() - looked_at > OWNERS_S:
                webhook_owners.disable_orphans(store, now=now())
                looked_at = time.monotonic()
            if not found:
                told.wait(LOOK_AGAIN_S)
            told.clear()  # and only then it is seen whether to stop, which is told as well
