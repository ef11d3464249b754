"""Deletions that can be undone.

An instance that is deleted and kept is out of the way of all others: store/deleted.py. It keeps
its place on the node and in its user's quota (memory, cores, disk, its container and its volume),
but not its ports. Its container is stopped. It is restored as it was, or purged when its time is
over, which is a deletion like any other.
"""

from datetime import datetime
from typing import cast

from service import arrivals, idempotency, operations, port_choice, replacements, suspensions
from service.errors import NotFound, NotRestorable, PortTaken
from service.model.documents import (
    DeletedInstance,
    Instance,
    Kept,
    Operation,
    Settings,
    new_deleted,
    new_restored,
)
from service.model.held_ports import list_held
from service.model.lifecycle import InstanceState, OperationKind
from service.model.orders import Restoration
from service.model.origin import Origin
from service.model.ports import PortMapping, keep_hosts, release_run
from service.model.precondition import ANY_STATE, Precondition
from service.model.quotas import amounts_of, subtract
from service.model.replacements import held_by
from service.order_checks import find_primary
from service.store import Store
from service.store.collection import Session
from service.store.instances import Instances

_OTHER_PORTS = " Give others in `ports`."


def find_home(
    store: Store, instance_id: str, *, deleted: bool = True, session: Session | None = None
) -> tuple[Instances, Instance]:
    """Find an instance and the collection that it is in, `deleted` ones if these are meant too.

    With a session it is missed in neither while it goes from one to the other. Raises NotFound.
    """
    for home in (store.instances, store.deleted) if deleted else (store.instances,):
        instance = home.find(instance_id, session=session)
        if instance is not None:
            return home, instance
    raise NotFound(store.instances.what, instance_id)


def is_known(store: Store, instance_id: str) -> bool:
    """Return whether there is an instance of this id, deleted or not, at one moment."""

    def look(session: Session) -> bool:
        homes = store.instances, store.deleted
        return any(home.find(instance_id, session=session) is not None for home in homes)

    return store.transaction(look)


def find(store: Store, reference: str) -> Instance | None:
    """Read an instance by its id or by its container's, deleted or not."""
    # Once more: one that was restored between the two.
    for home in (store.instances, store.deleted, store.instances):
        instance = home.find_by_reference(reference)
        if instance is not None:
            return instance
    return None


def resolve(store: Store, reference: str, *, deleted: bool) -> Instance:
    """Read an instance by its id or by its container's, `deleted` ones if these are meant too.

    Raises NotFound.
    """
    instance = find(store, reference) if deleted else None
    return instance or store.instances.get_by_reference(reference)


def keep(
    store: Store, instance: Instance, *, keep_s: float, origin: Origin, session: Session
) -> Operation:
    """Delete an instance so that it can be restored; answer the operation that stops it.

    In the transaction that has read it. What was under way is given up, also a transfer.
    """
    kept = Kept(
        state=instance["state"],
        runs=replacements.is_to_run(store, instance, session=session),
        intact=instance["state"] == InstanceState.READY
        and instance["container_id"] is not None
        and not replacements.is_open(store, instance["_id"], session=session),
    )
    taken = store.instances.take(instance["_id"], InstanceState.DELETED, session=session)
    if taken is None:
        raise NotFound(store.instances.what, instance["_id"])
    deleted = new_deleted(taken, kept, keep_s=keep_s, now=origin.now)
    store.deleted.bring(deleted, session=session)
    operation = operations.draft(OperationKind.KEEP, deleted, origin=origin)
    store.operations.supersede_waiting(deleted["_id"], now=origin.now, session=session)
    store.operations.add(operation, session=session)
    arrivals.release(store, taken, may_be_there=True, now=origin.now, session=session)
    less = subtract(amounts_of(deleted), amounts_of(taken))
    store.users.adjust(deleted["user_id"], less, session=session)
    before, after = held_by(taken), held_by(deleted)
    if before != after:
        store.nodes.resize(
            deleted["node_id"],
            memory_mib=after["memory_mib"] - before["memory_mib"],
            cpu_milli=after["cpu_milli"] - before["cpu_milli"],
            session=session,
        )
    return operation


def restore(
    store: Store,
    instance_id: str,
    order: Restoration,
    *,
    only_if: Precondition = ANY_STATE,
    origin: Origin,
) -> tuple[Instance, Operation]:
    """Undo a deletion; answer the instance, and the operation that has it run if it did.

    It gets the ports that it had, or those of the order; for what was `auto` and is taken others
    are found. After an error it is deleted as before. Raises NotFound, NotRestorable for one that
    is not deleted or is being purged, PreconditionFailed, UserSuspended, InvalidInput for ports
    that are none, PortTaken, NoFreePorts, QuotaExceeded, InstanceNotReady until a transfer that was
    under way has ended, and what it started on another node is removed, and Conflict for an
    external id that is taken. A repeat is answered like that of a deploy.
    """
    if done := idempotency.find_done(store, origin.claim):
        return done

    def write(session: Session) -> tuple[Instance, Operation]:
        deleted = _take(store, instance_id, only_if, session=session)
        arrivals.refuse_running(store, instance_id, session=session)
        suspensions.refuse_suspended(store, deleted, session=session)
        # They cannot pass each other: a user's suspension, and this.
        store.suspensions.mark(deleted["user_id"], session=session)
        settings = _settle_ports(store, deleted, order, now=origin.now, session=session)
        instance = new_restored(deleted, settings, now=origin.now)
        store.instances.bring(instance, session=session)
        more = subtract(amounts_of(instance), amounts_of(deleted))
        store.users.adjust(instance["user_id"], more, session=session)
        store.operations.supersede_waiting(instance_id, now=origin.now, session=session)
        same_ports = settings["port_map"] == deleted["port_map"]
        operation = _bring_back(
            store, instance, deleted["kept"], same_ports, origin=origin, session=session
        )
        # It and a transfer that takes a port on the node cannot pass each other: both write to it.
        store.nodes.resize(instance["node_id"], memory_mib=0, cpu_milli=0, session=session)
        return store.instances.get(instance_id, session=session), operation

    return store.transaction(write)


def purge(store: Store, deleted: DeletedInstance, *, now: datetime) -> bool:
    """Begin to remove an instance whose time is over.

    False, with nothing changed, when it was restored meanwhile, or is being purged.
    """
    operation = operations.draft(OperationKind.DELETE, deleted, origin=Origin(now))

    def write(session: Session) -> bool:
        moved = store.deleted.move(
            deleted["_id"],
            InstanceState.DELETING,
            now=now,
            only_if={"purge_at": {"$lte": now}},
            session=session,
        )
        if moved:
            store.operations.supersede_waiting(deleted["_id"], now=now, session=session)
            store.operations.add(operation, session=session)
        return moved

    return store.transaction(write)


def _take(
    store: Store, instance_id: str, only_if: Precondition, *, session: Session
) -> DeletedInstance:
    home, instance = find_home(store, instance_id, session=session)
    if instance["state"] != InstanceState.DELETED:
        raise NotRestorable(f"The instance is {instance['state']}.", state=instance["state"])
    only_if.check(instance)
    home.take(instance_id, InstanceState.READY, session=session)
    return cast("DeletedInstance", instance)


def _settle_ports(
    store: Store, deleted: DeletedInstance, order: Restoration, *, now: datetime, session: Session
) -> Settings:
    """Find the ports that it gets. Raises InvalidInput, PortTaken and NoFreePorts."""
    node = store.nodes.get(deleted["node_id"], session=session)
    taken = store.occupancy.list_taken_ports(node["_id"], session=session)
    avoided = taken | list_held(node, now=now)
    before = tuple(PortMapping(**pair) for pair in deleted["port_map"])
    ports = keep_hosts(order["ports"], before, except_for=avoided) if "ports" in order else before
    at, sent = _find_primary(deleted, order, ports)
    for port in [mapping.host for mapping in ports if mapping.host in avoided]:
        ports = release_run(ports, port) or ports
    lost = [mapping.host for mapping in ports if mapping.host in taken]
    if lost:
        raise PortTaken(node["_id"], *lost, advice=_OTHER_PORTS)
    settled = port_choice.settle(store, node, ports, now=now, session=session)
    return port_choice.describe(settled, ports, at, sent=sent)


def _find_primary(
    deleted: DeletedInstance, order: Restoration, ports: tuple[PortMapping, ...]
) -> tuple[int, str | int | None]:
    """Find which port is the primary one, and how that is said; None: as its host port.

    Where it is not named that is the same container port as before, or else the first.
    """
    if "primary" in order:
        wanted = order.get("ports", ports)
        return wanted.index(find_primary(order["primary"], wanted)), order["primary"]
    port = deleted["primary_port"]
    before = next(pair for pair in deleted["port_map"] if pair["host"] == port)
    inside = [mapping.container for mapping in ports]
    at = inside.index(before["container"]) if before["container"] in inside else 0
    return at, deleted["primary"] if ports[at].host == port else None


def _bring_back(
    store: Store,
    instance: Instance,
    kept: Kept,
    same_ports: bool,
    *,
    origin: Origin,
    session: Session,
) -> Operation:
    """Add the operation that brings the container of a restored instance to what it was."""
    if kept["state"] != InstanceState.READY:
        kind, runs = OperationKind.REINSTALL, True  # it was not installed to its end
    elif not (kept["intact"] and same_ports and instance["container_id"] is not None):
        kind, runs = OperationKind.UPDATE, kept["runs"]
    else:
        operation = operations.draft(_find_power(instance, kept), instance, origin=origin)
        store.operations.add(operation, session=session)
        idempotency.mark_operation(store, origin.claim, operation, session=session)
        return operation
    return replacements.take_on(
        store, instance, Settings(), kind=kind, run=runs, origin=origin, session=session
    )


def _find_power(instance: Instance, kept: Kept) -> OperationKind:
    if instance["suspended"]:
        return OperationKind.SUSPEND
    return OperationKind.START if kept["runs"] else OperationKind.STOP
