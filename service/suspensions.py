"""Suspensions: of instances, and of users with all that is theirs.

A user's suspension is written at the user, and a worker brings the instances in line with it, one
after the other: whatever crashes, those that are left are found again. Each remembers what it was
before, so that what was suspended or stopped on its own stays so when the user is let run again.
"""

from datetime import datetime
from functools import partial

from service import operations, replacements
from service.errors import UserSuspended
from service.model.documents import BeforeSuspension, Instance, Operation, User
from service.model.lifecycle import ALL_BUT_DELETE, InstanceState, OperationKind, Power
from service.model.origin import Origin
from service.model.precondition import ANY_STATE, Precondition
from service.store import Store
from service.store.collection import Session

BATCH = 100
"""How many instances of a user are listed at a time."""


def change_user(
    store: Store,
    user_id: str,
    *,
    suspended: bool,
    only_if: Precondition = ANY_STATE,
    origin: Origin,
) -> User:
    """Write down whether a user's instances may run. A worker brings them in line with that.

    Repeating it is harmless. Raises NotFound and PreconditionFailed.
    """
    if origin.claim is not None and origin.claim.made is not None:
        return store.users.get(user_id)

    def write(session: Session) -> User:
        only_if.check(store.users.get(user_id, session=session))
        store.idempotency.mark(origin.claim, {"user": user_id}, session=session)
        changes = {"suspended": suspended, "aligning": True, "updated_at": origin.now}
        return store.users.change(user_id, changes, session=session)

    return store.transaction(write)


def refuse_suspended(store: Store, instance: Instance, *, session: Session) -> None:
    """Raise UserSuspended for what is to run of a suspended user."""
    user = store.users.find(instance["user_id"], session=session)
    if user is not None and user.get("suspended"):
        raise UserSuspended(user["_id"])


def pursue(
    store: Store, instance: Instance, operation: Operation, *, session: Session
) -> Operation | None:
    """Add the operation that stops or starts what was just suspended or unsuspended.

    None where an open deployment or replacement brings the power in line itself, and where nothing
    is to be started. In a transaction that has written the wish.
    """
    instance_id, kind = instance["_id"], OperationKind(operation["kind"])
    if instance["state"] == InstanceState.INSTALLING and store.operations.find_open(
        instance_id, OperationKind.DEPLOY, session=session
    ):
        return None
    if replacements.wish(store, instance_id, kind, session=session):
        return None
    store.operations.supersede_waiting(
        instance_id, kinds=ALL_BUT_DELETE, now=operation["created_at"], session=session
    )
    if kind == OperationKind.UNSUSPEND and instance["state"] != InstanceState.READY:
        return None
    store.operations.add(operation, session=session)
    return operation


def list_unaligned(store: Store, user_id: str) -> list[str]:
    """List the ids of some of a user's instances that are not in line with the user.

    The user is noted as done once there are none.
    """

    def look(session: Session) -> list[str]:
        user = store.users.find(user_id, session=session)
        if user is None:
            return []
        found = store.suspensions.list_instances(
            user_id, suspended=user.get("suspended", False), limit=BATCH, session=session
        )
        if not found:
            store.suspensions.unmark(user_id, session=session)
        return found

    return store.transaction(look)


def align(store: Store, instance_id: str, *, now: datetime) -> bool:
    """Bring an instance in line with its user; nothing, if that is done or it is gone."""
    store.transaction(partial(_align, store, instance_id, now))
    return True


def _align(store: Store, instance_id: str, now: datetime, session: Session) -> None:
    instance = store.instances.find(instance_id, session=session)
    if instance is None or instance["state"] == InstanceState.DELETING:
        return
    user = store.users.get(instance["user_id"], session=session)
    store.suspensions.mark(user["_id"], session=session)
    suspended = user.get("suspended", False)
    before = instance.get("before_suspension")
    if suspended and before is None:
        _suspend(store, instance, now=now, session=session)
    elif not suspended and before is not None:
        _release(store, instance, before, now=now, session=session)


def _suspend(store: Store, instance: Instance, *, now: datetime, session: Session) -> None:
    # What waits, such as the start after an earlier suspension, is superseded by this one.
    runs = replacements.is_to_run(store, instance, session=session)
    stopped = instance["state"] == InstanceState.READY and not runs
    changed = store.instances.set_suspended(
        instance["_id"],
        True,
        before=BeforeSuspension(suspended=instance["suspended"], stopped=stopped),
        now=now,
        session=session,
    )
    if not instance["suspended"]:
        operation = operations.draft(OperationKind.SUSPEND, changed, origin=Origin(now))
        pursue(store, changed, operation, session=session)


def _release(
    store: Store, instance: Instance, before: BeforeSuspension, *, now: datetime, session: Session
) -> None:
    changed = store.instances.set_suspended(
        instance["_id"], before["suspended"], now=now, session=session
    )
    if before["suspended"]:
        return
    if before["stopped"] and instance["power"] == Power.STOPPED:
        # What waits for its node would start it, as it is not suspended any more.
        store.operations.supersede_waiting(
            instance["_id"], kinds=(OperationKind.SUSPEND,), now=now, session=session
        )
        return
    kind = OperationKind.STOP if before["stopped"] else OperationKind.UNSUSPEND
    operation = operations.draft(kind, changed, origin=Origin(now))
    pursue(store, changed, operation, session=session)
