"""What is held on the node that an instance is being transferred to, until it is there or is not.

The instance keeps what it has on its own node meanwhile. So the memory, the cores, the place and
the host ports of both are counted, whichever of them it ends on.
"""

from datetime import datetime

from service.errors import InstanceNotReady
from service.model.documents import Arrival, Instance, new_removal
from service.model.lifecycle import OperationKind, OperationStatus
from service.model.origin import Origin
from service.model.replacements import held_by
from service.store import Store
from service.store.collection import Session


def hold(
    store: Store, instance: Instance, node_id: str, ports: list[int], *, session: Session
) -> Instance:
    """Hold these host ports of the node, and room for the instance; return it as it is then.

    Raises PortTaken, CapacityExceeded and Maintenance. The last writes of their transaction.
    """
    size = held_by(instance)
    arrival = Arrival(
        node_id=node_id,
        ports=ports,
        memory_mib=size["memory_mib"],
        cpu_milli=size["cpu_milli"],
        disk_mib=size["disk_mib"],
    )
    held = store.instances.change(instance["_id"], {"arrival": arrival}, session=session)
    store.nodes.reserve(node_id, **size, session=session)
    return held


def release(
    store: Store, instance: Instance, *, may_be_there: bool, now: datetime, session: Session
) -> None:
    """Give back what is held for the instance, if anything is, and have what was made there go.

    `may_be_there`: a container or a volume of the instance's may be on that node.
    """
    arrival = instance.get("arrival")
    if arrival is None:
        return
    if store.instances.find(instance["_id"], session=session) is not None:
        store.instances.change(instance["_id"], {"arrival": None}, session=session)
    if may_be_there:
        leave(store, instance["_id"], arrival["node_id"], now=now, session=session)
    store.nodes.release(
        arrival["node_id"],
        memory_mib=arrival["memory_mib"],
        cpu_milli=arrival["cpu_milli"],
        disk_mib=arrival["disk_mib"],
        session=session,
    )


def leave(store: Store, instance_id: str, node_id: str, *, now: datetime, session: Session) -> None:
    """Have the container and the volume removed that an instance leaves on a node."""
    if store.nodes.find(node_id, session=session) is not None:
        removal = new_removal(instance_id, node_id, origin=Origin(now))
        store.operations.add(removal, session=session)


def refuse_running(store: Store, instance_id: str, *, session: Session) -> None:
    """Raise InstanceNotReady while the program may run on the target of a transfer.

    One that was given up for a deletion may have started it there. It does not run any more once
    one of the removals has succeeded that were added since; one that failed is to be retried. What
    a node runs that was deleted, nobody can remove.
    """
    transfer = store.operations.find_last(instance_id, OperationKind.TRANSFER, session=session)
    if (
        transfer is None
        or transfer["status"] != OperationStatus.SUPERSEDED
        or all(step["name"] != "start" for step in transfer["steps"])
    ):
        return
    target_id = transfer["transfer"]["target_id"]
    removals = store.operations.list_removals(
        instance_id, target_id, since=transfer["created_at"], session=session
    )
    removed = any(each["status"] == OperationStatus.SUCCEEDED for each in removals)
    if removals and not removed and store.nodes.find(target_id, session=session) is not None:
        raise InstanceNotReady(
            "What a transfer started on another node is still to be removed.",
            operations=[each["_id"] for each in removals],
        )


def release_of_node(store: Store, node_id: str, *, now: datetime, session: Session) -> None:
    """Give back what is held elsewhere for the instances of a node, which are being forgotten."""
    for instance in store.instances.list_leaving(node_id, session=session):
        release(store, instance, may_be_there=True, now=now, session=session)
