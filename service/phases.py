"""Waiting for programs to be ready."""

import time
from threading import Event

from service.errors import StoreUnavailable
from service.model.documents import Instance
from service.model.lifecycle import OPEN, Phase
from service.model.readiness import phase_of
from service.operations import LAST_LOOK_S, STOP_WITHIN_S
from service.store import Store
from service.store.changes import LOOK_AGAIN_S


def wait(
    store: Store,
    instance: Instance,
    *,
    timeout_s: float,
    look_again_s: float = LOOK_AGAIN_S,
    stopping: Event | None = None,
) -> Instance:
    """Wait until the instance's program is ready, `timeout_s` at the most; read it as it is then.

    Not for longer than it may become so by itself: see `may_become_ready`. It is woken and looks
    as `operations.wait` does. Raises NotFound when the instance is gone.
    """
    until = time.monotonic() + timeout_s
    with store.changes.follow(instance["_id"]) as changed:
        while stopping is None or not stopping.is_set():
            left_s = max(0.0, until - time.monotonic())
            try:
                with store.bounded(LAST_LOOK_S + left_s):
                    instance = store.instances.get(instance["_id"])
                    goes_on = may_become_ready(store, instance)
            except StoreUnavailable:
                break
            if left_s == 0 or not goes_on:
                break
            look_at = min(until, time.monotonic() + look_again_s)
            while (pause_s := look_at - time.monotonic()) > 0:
                if changed.wait(min(pause_s, STOP_WITHIN_S)):
                    break
                if stopping is not None and stopping.is_set():
                    return instance
            changed.clear()
    return instance


def may_become_ready(store: Store, instance: Instance) -> bool:
    """Return whether it is worth while to wait for the program.

    While an operation is open, what is known may be of the start before. A program that runs and is
    not ready may be, until its time is over; one that does not run needs somebody to start it.
    """
    operation = store.operations.find_latest(instance["_id"])
    if operation is not None and operation["status"] in OPEN:
        return True
    return phase_of(instance) == Phase.STARTING and instance.get("not_ready") is None
