"""Instances that were deleted and kept, once their time is over.

Any number of workers may do this at once: each purge is one conditional update.
"""

from collections.abc import Callable
from datetime import datetime

from service import deletions
from service.store import Store
from service.worker.loops import attempt

PAUSE_S = 10.0
"""How long a worker waits before it looks again."""


def purge_due(store: Store, now: Callable[[], datetime]) -> bool:
    """Begin to remove those that are due. False when there was none, or others were faster."""
    begun = [
        attempt(deletions.purge, store, each, now=now()) for each in store.deleted.list_due(now())
    ]
    return any(begun)
