"""Containers that are replaced: the operations that do it, and what is held on the node meanwhile.

While such an operation is open the instance keeps its old settings, and holds the ports and the
size that suffice for the old ones and for the new ones: so it can always be undone. There is one
running and one waiting at the most; a later one makes the changes of the waiting one too. Wishes
for its power are written into it, for it brings the power in line at its end.
"""

from collections.abc import Mapping
from datetime import datetime

from service import arrivals, idempotency
from service.errors import InstanceNotReady
from service.model.container_settings import check_bounds, settings_of
from service.model.documents import Instance, Operation, Settings, new_operation
from service.model.lifecycle import (
    GOES_WITH,
    REMAKING,
    REPLACING,
    InstanceState,
    OperationKind,
    OperationStatus,
    Power,
)
from service.model.origin import Origin
from service.model.quotas import amounts_of, subtract
from service.model.replacements import (
    changes_of,
    held_by,
    hold,
    inherit,
    new_replacement,
    with_changes,
)
from service.store import Store
from service.store.collection import Session

_RUN: Mapping[OperationKind, bool] = {
    OperationKind.START: True,
    OperationKind.RESTART: True,
    OperationKind.UNSUSPEND: True,
    OperationKind.STOP: False,
    OperationKind.KILL: False,
}
"""Whether what these ask for ends with a program that runs."""


def expect(store: Store, instance: Instance, *, session: Session | None = None) -> Instance:
    """Return how the instance will be when its open operations have succeeded."""
    for each in store.operations.list_open(instance["_id"], REPLACING, session=session):
        instance = with_changes(instance, changes_of(each))
    return instance


def take_on(
    store: Store,
    instance: Instance,
    changes: Settings,
    *,
    kind: OperationKind = OperationKind.UPDATE,
    keep_volume: bool = True,
    run: bool | None = None,
    origin: Origin,
    session: Session,
) -> Operation:
    """Add the operation that replaces the container, and hold what it needs.

    `run` is whether its program is to run afterwards; None: if it does before. In a transaction
    that has touched the instance. What waits is superseded, and done by this one.
    Raises InstanceNotReady while it is being installed, NotFound for another image that goes,
    PortTaken, QuotaExceeded and CapacityExceeded, and InvalidInput for what the node does not allow
    by now.
    """
    if instance["state"] == InstanceState.INSTALLING:
        raise InstanceNotReady("The instance is INSTALLING.", state=instance["state"])
    if store.operations.find_open(instance["_id"], OperationKind.TRANSFER, session=session):
        raise InstanceNotReady("The instance is being transferred to another node.")
    image_id = changes.get("image_id")
    if image_id is not None and image_id != instance["image_id"]:
        # Its deletion writes to every node, like `_hold` to this one: they cannot pass each other.
        store.images.require_deployable(image_id, now=origin.now, session=session)
    operation = new_operation(
        kind, instance["_id"], instance["node_id"], user_id=instance["user_id"], origin=origin
    )
    operation["changes"] = changes
    operation["replacement"] = new_replacement(keep_volume=keep_volume, run=run)
    take_over_waiting(store, operation, now=origin.now, session=session)
    store.operations.add(operation, session=session)
    idempotency.mark_operation(store, origin.claim, operation, session=session)
    _hold(store, instance, session=session)
    node = store.nodes.get(instance["node_id"], field="nodeId", session=session)
    check_bounds(settings_of(expect(store, instance, session=session)), node)
    return operation


def take_over_waiting(
    store: Store, operation: Operation, *, now: datetime, session: Session
) -> None:
    """Supersede what waits to be done to the instance by a new operation, which does it as well."""
    waiting = store.operations.find_waiting(operation["instance_id"], session=session)
    if waiting is not None and waiting["kind"] in REPLACING:
        operation.update(inherit(operation, waiting))  # type: ignore[typeddict-item]
    elif waiting is not None:
        operation["replacement"]["run"] = _RUN.get(waiting["kind"])
    store.operations.supersede_waiting(operation["instance_id"], now=now, session=session)


def wish(
    store: Store, instance_id: str, kind: OperationKind, *, session: Session
) -> Operation | None:
    """Have the open operation that remakes the container bring its power in line.

    None where there is none. In a transaction that has touched the instance.
    """
    underway = store.operations.list_open(instance_id, REMAKING, session=session)
    if not underway:
        return None
    if kind in _RUN:
        for each in underway:
            store.operations.change_open(
                each["_id"], {"replacement.run": _RUN[kind]}, session=session
            )
    return underway[-1]


def is_to_run(store: Store, instance: Instance, *, session: Session) -> bool:
    """Return whether its program is to run, but for a suspension, after all that is under way."""
    runs = instance["power"] != Power.STOPPED
    for each in store.operations.list_open(instance["_id"], OperationKind, session=session):
        remakes = each["kind"] in REMAKING
        wish = each["replacement"]["run"] if remakes else _RUN.get(each["kind"])
        runs = runs if wish is None else wish
    return runs


def is_open(store: Store, instance_id: str, *, session: Session) -> bool:
    """Return whether the container is being replaced or transferred, or is about to be."""
    return bool(store.operations.list_open(instance_id, REMAKING, session=session))


def settle(
    store: Store,
    instance: Instance,
    changes: Mapping[str, object],
    *,
    ready: bool,
    now: datetime,
    session: Session,
) -> None:
    """Write what became of the instance, with the end of its operation; give back the rest.

    What FAILED is `ready` when it has the container that was wanted.
    """
    instance_id = instance["_id"]
    if ready and instance["state"] == InstanceState.FAILED:
        for state in (InstanceState.INSTALLING, InstanceState.READY):
            store.instances.move(instance_id, state, now=now, session=session)
    store.instances.change(instance_id, {**changes, "updated_at": now}, session=session)
    _hold(store, store.instances.get(instance_id, session=session), session=session)


def drop(store: Store, operation: Operation, *, now: datetime, session: Session) -> None:
    """Give back what an operation held that changed nothing, in the transaction of its end.

    What was wished of the power before it began becomes an operation of its own.
    """
    instance_id = operation["instance_id"]
    if not store.instances.update(
        instance_id,
        {"updated_at": now},
        only_if={"state": {"$ne": InstanceState.DELETING}},
        session=session,
    ):
        return  # a deletion gives everything back
    instance = store.instances.get(instance_id, session=session)
    latest = store.operations.get(operation["_id"], session=session)["replacement"]
    kind = _find_wish(instance, None if latest["begun"] else latest["run"])
    waiting = store.operations.find_waiting(instance_id, session=session)
    if kind is not None and waiting is None:
        store.operations.add(
            new_operation(
                kind, instance_id, instance["node_id"], user_id=instance["user_id"],
                origin=Origin(now),
            ),
            session=session,
        )  # fmt: skip
    if operation["kind"] == OperationKind.TRANSFER:
        arrivals.release(store, instance, may_be_there=latest["begun"], now=now, session=session)
    _hold(store, instance, session=session)


def hand_over(
    store: Store, operation_id: str, token: str, *, now: datetime, session: Session
) -> bool:
    """End a running operation that would wait behind a later one, which does the work of both.

    False where it may wait itself: what else waited is superseded then, and done by this one.
    """
    operation = store.operations.get(operation_id, session=session)
    instance_id = operation["instance_id"]
    # The write keeps anybody from adding an operation meanwhile.
    store.instances.update(instance_id, {"updated_at": now}, session=session)
    waiting = store.operations.find_waiting(instance_id, session=session)
    if waiting is None:
        return False
    if waiting["kind"] not in (*REPLACING, *GOES_WITH):
        store.operations.supersede_waiting(instance_id, now=now, session=session)
        return False
    ended = store.claims.finish(
        operation_id,
        token,
        OperationStatus.SUPERSEDED,
        error=operation["replacement"]["undo"],
        now=now,
        session=session,
    )
    if ended and waiting["kind"] in REPLACING:
        store.operations.change_open(waiting["_id"], inherit(waiting, operation), session=session)
    return ended


def give_way(
    store: Store,
    operation_id: str,
    token: str,
    *,
    error: str | None,
    now: datetime,
    session: Session,
) -> bool:
    """End any other running operation that would wait behind a later one.

    What it wished of the power is granted by one that remakes the container, unless somebody wished
    something since. False where none waits.
    """
    operation = store.operations.get(operation_id, session=session)
    waiting = store.operations.find_waiting(operation["instance_id"], session=session)
    if waiting is None:
        return False
    ended = store.claims.finish(
        operation_id, token, OperationStatus.SUPERSEDED, error=error, now=now, session=session
    )
    run = _RUN.get(operation["kind"])
    if ended and waiting["kind"] in REMAKING and waiting["replacement"]["run"] is None:
        store.operations.change_open(waiting["_id"], {"replacement.run": run}, session=session)
    return ended


def _find_wish(instance: Instance, run: bool | None) -> OperationKind | None:
    if instance["suspended"]:
        return OperationKind.SUSPEND
    if run is None or instance["state"] != InstanceState.READY:
        return None
    return OperationKind.START if run else OperationKind.STOP


def _hold(store: Store, instance: Instance, *, session: Session) -> None:
    """Hold what suffices for the instance and all of its open changes, and no more."""
    underway = store.operations.list_open(instance["_id"], REPLACING, session=session)
    ports, needed = hold(instance, map(changes_of, underway))
    held = held_by(instance)
    # What it has already no transfer can hold.
    more_ports = {*ports} - {*instance["ports"]}
    store.occupancy.refuse_held_ports(instance["node_id"], more_ports, session=session)
    after = store.instances.change(
        instance["_id"], {"ports": ports, "reserved": needed if underway else None}, session=session
    )
    more = subtract(amounts_of(after), amounts_of(instance))
    store.users.adjust(instance["user_id"], more, session=session)
    store.nodes.resize(
        instance["node_id"],
        memory_mib=needed["memory_mib"] - held["memory_mib"],
        cpu_milli=needed["cpu_milli"] - held["cpu_milli"],
        session=session,
    )
