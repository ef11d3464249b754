"""What can happen to an instance. What its node must do for it becomes an operation."""

import secrets
from base64 import b32encode
from collections.abc import Callable
from contextlib import closing
from datetime import datetime
from itertools import count

from service import (
    arrivals,
    deletions,
    idempotency,
    operations,
    placement,
    quotas,
    replacements,
    suspensions,
)
from service.deploy_drafts import draft
from service.drivers import DriverFactory
from service.errors import (
    InstanceNotReady,
    InstanceSuspended,
    NodeOffline,
)
from service.model.container import parse_env
from service.model.documents import Instance, Node, Operation
from service.model.lifecycle import ALL_BUT_DELETE, InstanceState, NodeStatus, OperationKind
from service.model.orders import Order
from service.model.origin import Origin
from service.model.placement import ALONE, CROWDED
from service.model.precondition import ANY_STATE, Precondition
from service.model.replacements import held_by
from service.order_checks import Checked, check_order
from service.security.masking import mask
from service.store import Store
from service.store.capacity import find_refusal
from service.store.collection import Session
from service.store.images import refuse_deleting


def make_id() -> str:
    """Make up an id: `i` and eleven base-32 characters.

    Containers and volumes bear it. Its length is fixed so that none is the start of another, and
    `i` is no hex digit, so that it cannot be taken for the start of a container's id.
    """
    return "i" + b32encode(secrets.token_bytes(7)).decode().lower()[:11]


def deploy(
    store: Store,
    order: Order,
    *,
    allow_any_image: bool = False,
    may_edit_all: bool = True,
    new_id: Callable[[], str] = make_id,
    origin: Origin,
) -> tuple[Instance, Operation]:
    """Take on an instance: reserve its ports and memory, and write down that it must be deployed.

    Afterwards it is INSTALLING, and durable: a worker brings it to READY or FAILED whatever
    crashes. After an error nothing is left. Who may not edit all variables sets those of owners
    only. Raises InvalidInput like `check_order`, NodeOffline when the node is down and the order
    does not say `queue`, PortTaken, NoFreePorts, Conflict for an external id that is taken,
    UserSuspended, QuotaExceeded and CapacityExceeded. A repeat of what an earlier request did
    answers that; AlreadyDone when it is gone.
    """
    if done := idempotency.find_done(store, origin.claim):
        return done
    instance_id, attempts = new_id(), count()

    def check(session: Session | None = None) -> Checked:
        checked = check_order(
            store,
            order,
            allow_any_image=allow_any_image,
            may_edit_all=may_edit_all,
            session=session,
        )
        if checked.node is not None:
            check_online(checked.node, queue=order.get("queue", False))
        return checked

    def write(session: Session) -> tuple[Instance, Operation]:
        # All is judged by what is read here: whoever changes the user or the node meanwhile, to
        # both of which this writes, has it tried again, and so does who deletes the image.
        checked = check(session)
        refuse_deleting(checked.image, now=origin.now)
        slack = CROWDED if next(attempts) else ALONE
        node, ports = placement.place(
            store, order, checked, slack=slack, now=origin.now, session=session
        )
        instance = draft(order, checked, node, ports, instance_id=instance_id, origin=origin)
        operation = operations.draft(OperationKind.DEPLOY, instance, origin=origin)
        # What others write too comes first: whoever meets them there has done little in vain.
        quotas.charge(store, instance, seen=checked.user, now=origin.now, session=session)
        size = held_by(instance)
        if (refusal := find_refusal(node, **size)) is not None:
            raise refusal
        store.nodes.reserve(node["_id"], **size, even_if_full=True, session=session)
        store.instances.add(instance, held_ports=checked.held_ports, session=session)
        store.operations.add(operation, session=session)
        idempotency.mark_operation(store, origin.claim, operation, session=session)
        return instance, operation

    if order["node_id"] is not None:
        return store.transaction(write)
    check()  # so that none waits for its turn in vain
    with placement.take_turn():
        return store.transaction(write)


def delete(
    store: Store,
    reference: str,
    *,
    keep_s: float = 0,
    purges: bool = False,
    only_if: Precondition = ANY_STATE,
    origin: Origin,
) -> Operation:
    """Let the instance go, whatever its state; answer the operation that removes or stops it.

    With `keep_s` it is kept for so many seconds: see deletions.py. Else it is DELETING until its
    container and volume are gone, and then unknown. Deleting what is being deleted answers the same
    operation. What is deleted and kept is unknown, unless this `purges`. Raises NotFound and
    PreconditionFailed.
    """
    purges = purges and not keep_s
    instance = deletions.resolve(store, reference, deleted=purges)
    operation = operations.draft(OperationKind.DELETE, instance, origin=origin)

    def write(session: Session) -> Operation:
        home, current = deletions.find_home(store, instance["_id"], deleted=purges, session=session)
        only_if.check(current)
        operation["node_id"] = current["node_id"]  # it may have been transferred meanwhile
        if keep_s and current["state"] != InstanceState.DELETING:
            return deletions.keep(store, current, keep_s=keep_s, origin=origin, session=session)
        moved = home.move(instance["_id"], InstanceState.DELETING, now=origin.now, session=session)
        if not moved:
            underway = store.operations.find_open(
                instance["_id"], OperationKind.DELETE, session=session
            )
            if underway is not None:
                return underway
        store.operations.supersede_waiting(instance["_id"], now=origin.now, session=session)
        store.operations.add(operation, session=session)
        return operation

    return store.transaction(write)


def delete_by_force(
    store: Store,
    reference: str,
    *,
    purges: bool = False,
    only_if: Precondition = ANY_STATE,
    origin: Origin,
) -> Operation:
    """Forget the instance at once, for a node that may never return.

    Its ports and memory are free at once. The operation that is answered removes what is left on
    the node, if that ever answers again. What is deleted and kept is unknown, unless this `purges`.
    Raises NotFound and PreconditionFailed.
    """
    instance = deletions.resolve(store, reference, deleted=purges)
    instance_id = instance["_id"]
    operation = operations.draft(OperationKind.REMOVE, instance, origin=origin)
    operation["container_id"] = {
        **store.deleted.list_containers([instance_id]),
        **store.instances.list_containers([instance_id]),
    }.get(instance_id)

    def write(session: Session) -> Operation:
        _, current = deletions.find_home(store, instance_id, deleted=purges, session=session)
        only_if.check(current)
        operation["node_id"] = current["node_id"]
        forget(store, current, now=origin.now, session=session)
        store.operations.supersede_waiting(instance_id, now=origin.now, session=session)
        store.operations.add(operation, session=session)
        return operation

    return store.transaction(write)


def suspend(
    store: Store, reference: str, *, only_if: Precondition = ANY_STATE, origin: Origin
) -> tuple[Instance, Operation | None]:
    """Write down that the instance may not run; answer the operation that stops it.

    There is none while a deployment or a change of the container is open, which applies what is
    wanted at its end. What FAILED may have a container that runs, which is stopped too. Repeating
    it is harmless. Raises NotFound, also for an instance that is being deleted, and
    PreconditionFailed.
    """
    return _change_suspension(store, reference, OperationKind.SUSPEND, only_if, origin=origin)


def unsuspend(
    store: Store, reference: str, *, only_if: Precondition = ANY_STATE, origin: Origin
) -> tuple[Instance, Operation | None]:
    """Write down that the instance may run; answer the operation that starts it.

    There is none while a deployment is open, like in `suspend`, nor for an instance that FAILED: a
    retry starts it. Repeating it is harmless. Raises like `suspend`, and UserSuspended.
    """
    return _change_suspension(store, reference, OperationKind.UNSUSPEND, only_if, origin=origin)


def change_power(
    store: Store,
    reference: str,
    kind: OperationKind,
    *,
    only_if: Precondition = ANY_STATE,
    origin: Origin,
) -> tuple[Instance, Operation]:
    """Have the instance started, stopped, restarted or killed; answer the operation that does it.

    Raises NotFound, also for an instance that is being deleted, PreconditionFailed,
    InstanceNotReady for one that is not installed, InstanceSuspended and UserSuspended when it may
    not run, and NodeOffline when its node is down. A repeat is answered like that of `deploy`.
    """
    if done := idempotency.find_done(store, origin.claim):
        return done
    instance = store.instances.get_by_reference(reference)
    check_online(store.nodes.get(instance["node_id"]))
    operation = operations.draft(kind, instance, origin=origin)

    def write(session: Session) -> tuple[Instance, Operation]:
        touched = store.instances.touch(
            instance["_id"], precondition=only_if, now=origin.now, session=session
        )
        if touched["state"] != InstanceState.READY:
            raise InstanceNotReady(f"The instance is {touched['state']}.", state=touched["state"])
        if kind in (OperationKind.START, OperationKind.RESTART):
            suspensions.refuse_suspended(store, touched, session=session)
            if touched["suspended"]:
                raise InstanceSuspended("The instance is suspended, so it may not run.")
        operation["node_id"] = touched["node_id"]
        replacing = replacements.wish(store, instance["_id"], kind, session=session)
        if replacing is not None:
            idempotency.mark_operation(store, origin.claim, replacing, session=session)
            return touched, replacing
        store.operations.supersede_waiting(
            instance["_id"], kinds=ALL_BUT_DELETE, now=origin.now, session=session
        )
        store.operations.add(operation, session=session)
        idempotency.mark_operation(store, origin.claim, operation, session=session)
        return touched, operation

    return store.transaction(write)


def read_logs(
    store: Store, open_driver: DriverFactory, reference: str, *, tail: int
) -> tuple[Instance, str]:
    """Read the last `tail` lines that the instance's program printed.

    Raises NotFound, NodeOffline when its node is down, and what drivers raise.
    """
    instance = store.instances.get_by_reference(reference)
    node = store.nodes.get(instance["node_id"])
    check_online(node)
    with closing(open_driver(node)) as driver:
        printed = hide_secrets(instance, driver.logs(instance["_id"], tail=tail))
    # The program may be the one of a change that is under way.
    return instance, hide_secrets(replacements.expect(store, instance), printed)


def forget(store: Store, instance: Instance, *, now: datetime, session: Session) -> None:
    """Give back the ports and the memory of an instance whose container and volume are gone.

    What a transfer that did not end made of it on another node is to go as well.
    """
    instance_id = instance["_id"]
    if store.instances.remove(instance_id, session=session) or store.deleted.remove(
        instance_id, session=session
    ):
        quotas.refund(store, [instance], session=session)
        arrivals.release(store, instance, may_be_there=True, now=now, session=session)
        store.nodes.release(instance["node_id"], **held_by(instance), session=session)


def hide_secrets(instance: Instance, printed: str) -> str:
    """Mask the values of the instance's secret variables in what its program printed."""
    return mask(printed, list_secrets(instance))


def list_secrets(instance: Instance) -> list[str]:
    """List the values of the instance's secret variables."""
    # What was adopted has its variables in its environment alone.
    values = {**parse_env(instance["env"]), **instance["variables"]}
    return [values.get(name, "") for name in instance["secret_variables"]]


def _change_suspension(
    store: Store, reference: str, kind: OperationKind, only_if: Precondition, *, origin: Origin
) -> tuple[Instance, Operation | None]:
    if done := idempotency.find_done(store, origin.claim):
        return done
    instance = store.instances.get_by_reference(reference)
    suspends = kind == OperationKind.SUSPEND
    operation = operations.draft(kind, instance, origin=origin)

    def write(session: Session) -> tuple[Instance, Operation | None]:
        current = store.instances.get(instance["_id"], session=session)
        before = current.get("before_suspension")
        if not suspends:
            suspensions.refuse_suspended(store, current, session=session)
        changed = store.instances.set_suspended(
            instance["_id"],
            suspends,
            precondition=only_if,
            # It stays suspended when its user is no more; or is not, before a worker has seen that.
            before={**before, "suspended": True} if suspends and before is not None else None,
            now=origin.now,
            session=session,
        )
        operation["node_id"] = changed["node_id"]
        added = suspensions.pursue(store, changed, operation, session=session)
        if added is not None:
            idempotency.mark_operation(store, origin.claim, added, session=session)
        return changed, added

    return store.transaction(write)


def check_online(node: Node, *, queue: bool = False) -> None:
    """Raise NodeOffline for a node that is down; not if it is known and the request may `queue`."""
    waiting = queue and node["status"] == NodeStatus.OFFLINE
    if node["status"] != NodeStatus.ONLINE and not waiting:
        raise NodeOffline(node["_id"], f"The node is {node['status']}.")
