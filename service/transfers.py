"""Instances that are transferred to another node, with their files.

While the operation is open the instance stays what it is, on the node that it is on; what it needs
on the other is held there (arrivals.py). The last step makes the other node the instance's, in one
transaction. Until then all that fails is undone, and after it what is left on the node of before is
removed as soon as that answers.
"""

from collections.abc import Mapping
from datetime import datetime

from service import arrivals, idempotency, port_choice, replacements
from service.errors import InstanceNotReady, InvalidInput, NotCleared, NotSupported
from service.instances import check_online
from service.model.container_settings import check_bounds, settings_of
from service.model.documents import (
    Instance,
    Node,
    Operation,
    new_operation,
    new_transfer,
)
from service.model.engines import find_volume_format, is_podman
from service.model.lifecycle import REMAKING, InstanceState, OperationKind
from service.model.origin import Origin
from service.model.precondition import ANY_STATE, Precondition
from service.model.replacements import changes_of, held_by, new_replacement
from service.store import Store
from service.store.collection import Session


def begin(
    store: Store,
    reference: str,
    *,
    node_id: str,
    only_if: Precondition = ANY_STATE,
    origin: Origin,
) -> tuple[Instance, Operation]:
    """Take on the transfer of an instance to a node; answer the operation that does it.

    Both nodes hold what the instance needs from now on. Its host ports are the same there where
    they are free; else others are found. What waits to be done to the instance is done by this:
    wishes for its power are. Raises NotFound for no instance or node, PreconditionFailed,
    InvalidInput for the node that it is on, one of the same engine, or one whose bounds do not
    allow its settings, NotSupported where files cannot be copied between the two, NodeOffline when
    one of them is down, InstanceNotReady for one that is not READY or is being changed, NotCleared,
    Maintenance, CapacityExceeded, NoFreePorts, and PortTaken. After an error nothing is changed. A
    repeat of what an earlier request did answers that.
    """
    if done := idempotency.find_done(store, origin.claim):
        return done
    instance = store.instances.get_by_reference(reference)
    source = store.nodes.get(instance["node_id"])
    target = store.nodes.get_by_reference(node_id, field="nodeId")
    _check_nodes(source, target)
    _check_bounds(instance, target)

    def write(session: Session) -> tuple[Instance, Operation]:
        current = store.instances.touch(
            instance["_id"], precondition=only_if, now=origin.now, session=session
        )
        _require_settled(store, current, source, target, session=session)
        operation = _draft(current, target, origin=origin)
        replacements.take_over_waiting(store, operation, now=origin.now, session=session)
        ports = port_choice.move_to(store, current, target, now=origin.now, session=session)
        operation["changes"] = ports
        store.operations.add(operation, session=session)
        idempotency.mark_operation(store, origin.claim, operation, session=session)
        hosts = [pair["host"] for pair in ports["port_map"]]
        held = arrivals.hold(store, current, target["_id"], hosts, session=session)
        return held, operation

    return store.transaction(write)


def complete(
    store: Store,
    operation: Operation,
    seen: Mapping[str, object],
    *,
    now: datetime,
    session: Session,
) -> None:
    """Make the target the node of the instance, with the end of its operation.

    `seen` is how its container is there. What is left on the node of before is to be removed.
    """
    instance = store.instances.get(operation["instance_id"], session=session)
    changes = changes_of(operation)
    store.instances.change(
        instance["_id"],
        {
            **changes,
            **seen,
            "ports": [pair["host"] for pair in changes["port_map"]],
            "node_id": operation["transfer"]["target_id"],
            "arrival": None,
            "updated_at": now,
        },
        session=session,
    )
    arrivals.leave(store, instance["_id"], instance["node_id"], now=now, session=session)
    store.nodes.release(instance["node_id"], **held_by(instance), session=session)


def check_pair(source: Node, target: Node) -> None:
    """Raise InvalidInput for two nodes between which nothing can be transferred."""
    if _find_engine(source) is not None and _find_engine(source) == _find_engine(target):
        # What the instance leaves on its node would be what it has on the other.
        raise InvalidInput(
            "It is the same engine.", nodeId=[f"It is the engine of {source['name']!r} as well."]
        )
    format_, there = (find_volume_format(node) for node in (source, target))
    if format_ is None or format_ != there:
        raise NotSupported(
            "Files cannot be copied between these nodes.",
            nodeId=[f"From {_describe(source)} none can be copied to {_describe(target)}."],
        )


def _describe(node: Node) -> str:
    if is_podman(node):
        return "nodes of Podman, which does not say who files belong to,"
    return f"nodes of the driver {node['driver']!r}"


def _find_engine(node: Node) -> str | None:
    report = node["report"]
    return None if report is None else report.get("engine_id")


def _check_nodes(source: Node, target: Node) -> None:
    if source["_id"] == target["_id"]:
        raise InvalidInput(
            "The instance is on this node already.", nodeId=[f"It is on {target['name']!r}."]
        )
    check_pair(source, target)
    for node in (source, target):
        check_online(node)


def _check_bounds(instance: Instance, target: Node) -> None:
    try:
        check_bounds(settings_of(instance), target)
    except InvalidInput as exc:
        raise InvalidInput(exc.message, nodeId=[exc.message]) from exc


def _require_settled(
    store: Store, current: Instance, source: Node, target: Node, *, session: Session
) -> None:
    """Raise InstanceNotReady for an instance that something else is being done to."""
    if current["state"] != InstanceState.READY:
        raise InstanceNotReady(f"The instance is {current['state']}.", state=current["state"])
    if current["node_id"] != source["_id"]:
        raise InstanceNotReady("The instance was transferred meanwhile.")
    if store.operations.list_open(current["_id"], REMAKING, session=session):
        raise InstanceNotReady("A change or a transfer of the instance is under way.")
    if store.operations.find_removal(current["_id"], target["_id"], session=session):
        raise NotCleared("What the instance left on that node is still to be removed.")


def _draft(instance: Instance, target: Node, *, origin: Origin) -> Operation:
    operation = new_operation(
        OperationKind.TRANSFER,
        instance["_id"],
        instance["node_id"],
        user_id=instance["user_id"],
        origin=origin,
    )
    operation["replacement"] = new_replacement()
    operation["transfer"] = new_transfer(instance["node_id"], target["_id"])
    return operation
