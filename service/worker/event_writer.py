"""Writes events: one of all workers does, under a lease, and the others stand by."""

import threading

from service.store import Store


def write_events(store: Store, token: str, *, lease_s: float, stopping: threading.Event) -> bool:
    """Write events until `stopping` is set or another worker does it. Raises StoreUnavailable.

    False: there is nothing to do for a while. A worker that dies is replaced when its lease runs
    out, and the next one goes on where it was.
    """
    if store.event_log.take(token, lease_s=lease_s):
        store.event_log.follow(token, lease_s=lease_s, stopping=stopping)
        if stopping.is_set():
            store.event_log.release(token)
    return False
