"""Brings instances in line with the suspensions of their users: one of all workers does."""

from collections.abc import Callable
from datetime import datetime

from service import suspensions
from service.store import Store
from service.worker.loops import attempt

LEASE_S = 10.0
"""How long the worker that does it may be silent before another one does."""

PAUSE_S = 1.0
"""How long a worker waits before it looks again whether there is something to do."""


def align_users(store: Store, token: str, *, now: Callable[[], datetime]) -> bool:
    """Bring some instances of each user in line; True when there may be more at once.

    What fails for one of them is logged, and tried again later.
    """
    progress, marked = False, store.suspensions.list_users()
    for user_id in marked:
        if not store.suspension_duty.take(token, lease_s=LEASE_S):
            return False
        for instance_id in suspensions.list_unaligned(store, user_id):
            progress |= bool(attempt(suspensions.align, store, instance_id, now=now()))
    if marked:
        store.suspension_duty.release(token)
    return progress
