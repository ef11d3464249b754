"""Operations: what must be done on a node, written down before it is done."""

import time
from datetime import datetime
from threading import Event

from service import replacements
from service.errors import NodeFailure, StoreUnavailable, WrongStatus
from service.model.documents import Instance, Operation, new_operation, new_removal, removed_id
from service.model.lifecycle import (
    ENDED,
    GOES_WITH,
    REMAKING,
    REPLACING,
    InstanceState,
    OperationKind,
    OperationStatus,
)
from service.model.origin import Claim, Origin
from service.model.precondition import ANY_STATE, Precondition
from service.store import Store
from service.store.changes import LOOK_AGAIN_S
from service.store.collection import Session

CANCELLED = "It was cancelled."
"""Why what somebody cancelled was not done, and why the instance is FAILED if it was a deploy."""

_PURSUED = frozenset({*GOES_WITH, OperationKind.SUSPEND, OperationKind.UNSUSPEND})
"""What documents say is wanted, so that only the opposite wish ends it."""

_REPEATED = {
    OperationKind.BULK: "Send the items that failed again.",
    OperationKind.TRANSFER: "Transfer the instance again: its node may be another one now.",
}
"""What is not done again as it was, and what to do instead."""

_WHY_PURSUED = {
    OperationKind.DELETE: "A deletion cannot be cancelled.",
    OperationKind.KEEP: "The instance is deleted. Restore it instead.",
    OperationKind.SUSPEND: "The instance is to be suspended. Unsuspend it instead.",
    OperationKind.UNSUSPEND: "The instance may run. Suspend or stop it instead.",
}


def draft(kind: OperationKind, instance: Instance, *, origin: Origin) -> Operation:
    """Make the document of an operation that is to be done at once."""
    return new_operation(
        kind, instance["_id"], instance["node_id"], user_id=instance["user_id"], origin=origin
    )


LAST_LOOK_S = 1.0
"""How long whoever waits looks at the operation after its time."""

STOP_WITHIN_S = 0.2
"""How soon whoever waits notices that the process is to end."""


def wait(
    store: Store,
    operation: Operation,
    *,
    timeout_s: float,
    look_again_s: float = LOOK_AGAIN_S,
    stopping: Event | None = None,
) -> Operation:
    """Wait until the operation has ended, `timeout_s` at the most; answer it as it is then.

    It is woken by what happens to the operation, and looks by itself every `look_again_s`. It does
    not wait once `stopping` is set, and not for a database that went away: what is waited for was
    written down, and goes on.
    """
    if timeout_s <= 0 or operation["status"] in ENDED:
        return operation
    until, look_at = time.monotonic() + timeout_s, 0.0
    with store.changes.follow(operation["_id"]) as changed:
        while stopping is None or not stopping.is_set():
            pause_s = max(0.0, look_at - time.monotonic())
            if not changed.wait(min(pause_s, STOP_WITHIN_S)) and pause_s > STOP_WITHIN_S:
                continue
            changed.clear()
            left_s = max(0.0, until - time.monotonic())
            try:
                with store.bounded(LAST_LOOK_S + left_s):
                    operation = store.operations.get(operation["_id"])
            except StoreUnavailable:
                break
            if operation["status"] in ENDED or left_s == 0:
                break
            look_at = min(until, time.monotonic() + look_again_s)
    return operation


def require_success(operation: Operation) -> Operation:
    """Pass the operation on unless it failed. Raises NodeFailure with the node's reason."""
    if operation["status"] == OperationStatus.FAILED:
        raise NodeFailure(operation["node_id"], operation["error"] or "The node failed.")
    return operation


def cancel(
    store: Store,
    operation_id: str,
    *,
    only_if: Precondition = ANY_STATE,
    now: datetime,
    claim: Claim | None = None,
) -> Operation:
    """End a waiting operation, or ask the worker that carries it out to stop at its next step.

    An instance whose deployment ends that way is FAILED, until it is retried or deleted. A change
    that has begun is undone first; of a bulk operation the items end that have not begun, and it
    ends after the others. Raises NotFound, PreconditionFailed, and WrongStatus for an operation
    that has ended or only carries out what its instance's document says. A repeat of what an
    earlier request did answers the operation.
    """
    operation = store.operations.get(operation_id)
    if claim is not None and claim.made is not None:
        return operation
    if operation["kind"] in _PURSUED:
        raise WrongStatus(_WHY_PURSUED[operation["kind"]], kind=operation["kind"])

    def write(session: Session) -> None:
        latest = store.operations.get(operation_id, session=session)
        only_if.check(latest)
        store.idempotency.mark(claim, {"operation": operation_id}, session=session)
        is_begun = latest["kind"] in REMAKING and latest["replacement"]["begun"]
        may_end = latest["kind"] != OperationKind.BULK and not is_begun
        if may_end and store.operations.cancel_waiting(operation_id, now=now, session=session):
            if latest["kind"] in REMAKING:
                replacements.drop(store, latest, now=now, session=session)
            if operation["kind"] == OperationKind.DEPLOY:
                fail_deploy(store, operation["instance_id"], CANCELLED, now=now, session=session)
            return
        if store.operations.request_cancel(operation_id, session=session):
            return
        raise _ended(store.operations.get(operation_id, session=session))

    store.transaction(write)
    return store.operations.get(operation_id)


def retry(store: Store, operation_id: str, *, origin: Origin) -> Operation:
    """Have a waiting operation tried at once, or one that failed or was cancelled done again.

    Answers the operation that does it: what has ended stays as it ended, and a new one follows it.
    Raises NotFound, and WrongStatus for an operation that runs, succeeded, or is no longer wanted.
    A repeat of what an earlier request did answers the operation that this made.
    """
    if origin.claim is not None and origin.claim.made is not None:
        return store.operations.get(origin.claim.made["operation"])
    operation = store.operations.get(operation_id)
    if store.operations.retry_now(operation_id):
        return store.operations.get(operation_id)
    if operation["kind"] in _REPEATED:
        raise WrongStatus(_REPEATED[operation["kind"]], kind=operation["kind"])
    again = new_operation(
        operation["kind"],
        operation["instance_id"],
        operation["node_id"],
        user_id=operation["user_id"],
        origin=origin,
    )
    if "remains_of" in operation:
        again = new_removal(operation["remains_of"], operation["node_id"], origin=origin)
    now = origin.now

    def write(session: Session) -> Operation:
        before = store.operations.get(operation_id, session=session)
        instance_id = before["instance_id"]
        if before["status"] not in (OperationStatus.FAILED, OperationStatus.CANCELLED):
            raise _ended(before)
        if before["kind"] in REPLACING:
            return replacements.take_on(
                store,
                store.instances.touch(instance_id, now=now, session=session),
                before["changes"],
                kind=before["kind"],
                keep_volume=before["replacement"]["keep_volume"],
                origin=origin,
                session=session,
            )
        if before["kind"] not in GOES_WITH and replacements.is_open(
            store, instance_id, session=session
        ):
            raise WrongStatus("A change of the instance is under way.", kind=before["kind"])
        if not _still_wanted(store, before, now=now, session=session):
            raise WrongStatus("This is no longer wanted of the instance.", kind=before["kind"])
        if (instance := store.instances.find(instance_id, session=session)) is not None:
            again["node_id"] = instance["node_id"]  # it may have been transferred since
        store.operations.supersede_waiting(instance_id, now=now, session=session)
        store.operations.add(again, session=session)
        store.idempotency.mark(origin.claim, {"operation": again["_id"]}, session=session)
        return again

    return store.transaction(write)


def fail_deploy(
    store: Store, instance_id: str, reason: str, *, now: datetime, session: Session
) -> None:
    """Call an instance FAILED whose deployment is given up.

    It may have a container all the same, which may run: `power` stays as it was last seen, and
    what is suspended is stopped.
    """
    moved = store.instances.move(
        instance_id, InstanceState.FAILED, now=now, changes={"error": reason}, session=session
    )
    instance = store.instances.find(instance_id, session=session)
    if moved and instance is not None and instance["suspended"]:
        store.operations.add(
            draft(OperationKind.SUSPEND, instance, origin=Origin(now)), session=session
        )


def is_gone_from(store: Store, removal: Operation, *, session: Session) -> bool:
    """Return whether the instance of a removal is known neither on its node nor to come there."""
    instance_id = removed_id(removal)
    instance = store.instances.find(instance_id, session=session)
    instance = instance or store.deleted.find(instance_id, session=session)
    if instance is None:
        return True
    arrival = instance.get("arrival")
    here = {instance["node_id"], arrival["node_id"] if arrival else None}
    return "remains_of" in removal and removal["node_id"] not in here


def touch_going(
    store: Store, instance_id: str, kind: OperationKind, *, now: datetime, session: Session
) -> bool:
    """Touch an instance that is deleted, so that nobody changes it meanwhile.

    False when this kind of operation is not wanted of it.
    """
    wanted = {"state": GOES_WITH[kind]}
    return any(
        home.update(instance_id, {"updated_at": now}, only_if=wanted, session=session)
        for home in (store.instances, store.deleted)
    )


def _still_wanted(store: Store, before: Operation, *, now: datetime, session: Session) -> bool:
    instance_id = before["instance_id"]
    wanted: dict[str, object]
    match before["kind"]:
        case OperationKind.DEPLOY:
            return store.instances.move(
                instance_id,
                InstanceState.INSTALLING,
                now=now,
                changes={"error": None},
                only_if={"state": InstanceState.FAILED},
                session=session,
            )
        case OperationKind.REMOVE:
            return is_gone_from(store, before, session=session)
        case OperationKind.DELETE | OperationKind.KEEP:
            return touch_going(store, instance_id, before["kind"], now=now, session=session)
        case OperationKind.SUSPEND:
            instance = store.instances.find(instance_id, session=session)
            failed = instance is not None and instance["state"] == InstanceState.FAILED
            state = InstanceState.FAILED if failed else InstanceState.READY
            wanted = {"state": state, "suspended": True}
        case OperationKind.STOP | OperationKind.KILL:
            wanted = {"state": InstanceState.READY}
        case _:
            wanted = {"state": InstanceState.READY, "suspended": False}
    return store.instances.update(instance_id, {"updated_at": now}, only_if=wanted, session=session)


def _ended(operation: Operation) -> WrongStatus:
    return WrongStatus(f"The operation is {operation['status']}.", status=operation["status"])
