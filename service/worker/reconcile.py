"""What a worker does after a probe: it brings the documents and the node in line.

It writes down what the node's containers do, and what the documents want and nobody pursues
becomes an operation again. What is only found, and waits for somebody to decide, is in drift.py.
"""

import logging
import time
from contextlib import closing, suppress
from datetime import datetime, timedelta

from service import operations, replacements
from service.drift import compare
from service.drivers import DriverFactory, NodeDriver
from service.errors import Conflict, NodeFailure, NodeUnreachable
from service.model.documents import Instance, Node
from service.model.drift import Changed, Drift
from service.model.lifecycle import GOES_WITH, OPEN, OperationKind, OperationStatus, Power
from service.model.origin import Origin
from service.store import Store
from service.store.collection import Session
from service.worker.observation import observe

log = logging.getLogger(__name__)

NOTE_CHANGES_S = 10.0
"""How long a worker looks at containers that changed; the rest waits for the next probe."""

PURSUE_AGAIN_AFTER = timedelta(minutes=5)
"""How long after a deletion or a suspension failed it is tried once more."""

GONE = "Its container is gone from the node."


def reconcile(
    store: Store,
    open_driver: DriverFactory,
    node: Node,
    *,
    drift: Drift | None = None,
    now: datetime,
) -> None:
    """Write down what the node's containers do, and pursue what is wanted of them.

    `drift` is what `compare` just found; the node is asked unless it is given. A container of which
    the node does not say how it is stays as it is until the next time.
    """
    end = time.monotonic() + NOTE_CHANGES_S
    with closing(open_driver(node)) as driver:
        drift = drift or compare(store, driver, node["_id"])
        for changed in drift.changed:
            if time.monotonic() > end:
                break
            try:
                _store_change(store, driver, changed, now=now)
            except NodeUnreachable:
                raise
            except NodeFailure as failure:
                facts = {"instance_id": changed.instance["_id"], "error": failure.reason}
                log.warning("instance.unobserved", extra=facts)
    for instance in drift.missing:
        _store_missing(store, instance)
    for instance in drift.deleting:
        going = [kind for kind, state in GOES_WITH.items() if state == instance["state"]]
        _pursue(store, instance, going[0], now=now)


def _store_change(store: Store, driver: NodeDriver, changed: Changed, *, now: datetime) -> None:
    instance = changed.instance
    status = driver.status(instance["_id"]) or changed.status
    if instance["suspended"] and status.power == Power.RUNNING:
        stop_suspended(store, instance, now=now)
    store.instances.update(
        instance["_id"],
        observe(driver, instance, status),
        only_if=_as_read(instance),
    )


def stop_suspended(store: Store, instance: Instance, *, now: datetime) -> None:
    """Have an instance stopped that was seen to run although it is suspended."""
    log.info("instance.ran_suspended", extra={"instance_id": instance["_id"]})
    _pursue(store, instance, OperationKind.SUSPEND, now=now)


def _store_missing(store: Store, instance: Instance) -> None:
    store.instances.update(
        instance["_id"],
        {"power": Power.STOPPED, "error": GONE},
        only_if=_as_read(instance),
    )


def _as_read(instance: Instance) -> dict[str, object]:
    """Say that nobody wrote the instance since it was read: what they saw is newer."""
    return {"state": instance["state"], "revision": instance.get("revision")}


def _pursue(store: Store, instance: Instance, kind: OperationKind, *, now: datetime) -> None:
    """Add the operation that the document wants, unless there is one, or was a moment ago."""
    latest = store.operations.find_latest(instance["_id"])
    if latest is not None and latest["kind"] == kind:
        failed = latest["status"] == OperationStatus.FAILED
        if latest["status"] in OPEN or (failed and now - latest["ended_at"] < PURSUE_AGAIN_AFTER):
            return
    wanted = {name: instance[name] for name in ("state", "suspended", "node_id")}

    def is_wanted(session: Session) -> bool:
        # The write keeps anybody from changing what is wanted before this is done.
        if kind in GOES_WITH:
            return operations.touch_going(store, instance["_id"], kind, now=now, session=session)
        noted = {"updated_at": now}
        # What replaces the container brings the power in line itself.
        return store.instances.update(
            instance["_id"], noted, only_if=wanted, session=session
        ) and not replacements.is_open(store, instance["_id"], session=session)

    def write(session: Session) -> None:
        if is_wanted(session):
            store.operations.add(
                operations.draft(kind, instance, origin=Origin(now)), session=session
            )

    with suppress(Conflict):  # another operation of the instance waits already
        store.transaction(write)
