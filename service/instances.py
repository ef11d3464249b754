"""What can happen to an instance. What its node must do for it becomes an operation."""

import secrets
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TypedDict

from service import images, operations
from service.documents import Image, Instance, Node, Operation, PortPair
from service.drivers import ContainerSpec
from service.errors import InvalidInput, NodeOffline
from service.lifecycle import InstanceState, NodeStatus, OperationKind, Power
from service.ports import PortMapping, parse_primary
from service.store import Store
from service.store.collection import Session

_ID_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"

_WITHOUT_SCRIPTS = frozenset({"docker", "process"})

_POWER_KINDS = (OperationKind.SUSPEND, OperationKind.UNSUSPEND)


class Order(TypedDict):
    """An instance as somebody asks for it."""

    name: str
    user_id: str
    node_id: str
    image: str  # an image's id, its name, or its container image
    image_name: str | None
    memory_mib: int
    cpu_milli: int
    disk_gb: float | None
    ports: tuple[PortMapping, ...]
    primary: str | int
    variables: dict[str, str]


def make_id() -> str:
    """Make up an id: `i` and eleven base-32 characters.

    Containers and volumes bear it. Its length is fixed so that none is the start of another, and
    `i` is no hex digit, so that it cannot be taken for the start of a container's id.
    """
    return "i" + "".join(secrets.choice(_ID_ALPHABET) for _ in range(11))


def deploy(
    store: Store,
    order: Order,
    *,
    now: datetime,
    allow_any_image: bool = False,
    requested_by: str | None = None,
    request_id: str | None = None,
    new_id: Callable[[], str] = make_id,
) -> tuple[Instance, Operation]:
    """Take on an instance: reserve its ports and memory, and write down that it must be deployed.

    Afterwards it is INSTALLING, and durable: a worker brings it to READY or FAILED whatever
    crashes. After an error nothing is left. Raises NotFound and InvalidInput for what is wrong in
    the order, NodeOffline when the node is not there, PortTaken and CapacityExceeded.
    """
    user = store.users.get(order["user_id"], field="user")
    node = store.nodes.get(order["node_id"], field="nodeId")
    image = _choose_image(store, order, allow_any_image=allow_any_image)
    primary = _find_primary(order)
    variables = images.choose_variables(image, order["variables"])
    _check_node(node, image, variables)

    instance = Instance(
        _id=new_id(),
        name=order["name"],
        user_id=user["_id"],
        node_id=node["_id"],
        image=_container_image(image, order["image"]),
        image_id=image["_id"] or None,
        image_name=image["name"],
        memory_mib=order["memory_mib"],
        cpu_milli=order["cpu_milli"],
        disk_gb=order["disk_gb"],
        ports=[mapping.host for mapping in order["ports"]],
        port_map=[PortPair(container=m.container, host=m.host) for m in order["ports"]],
        primary=order["primary"],
        primary_port=primary.host,
        variables=variables,
        env=[*image["env"], *(f"{name}={value}" for name, value in variables.items())],
        cmd=image["cmd"],
        alt_images=image["alt_images"],
        stop_command=image["stop_command"],
        state=InstanceState.INSTALLING,
        suspended=False,
        power=Power.UNKNOWN,
        container_id=None,
        error=None,
        created_at=now,
        updated_at=now,
    )
    operation = operations.draft(
        OperationKind.DEPLOY, instance, now=now, requested_by=requested_by, request_id=request_id
    )

    def write(session: Session) -> None:
        store.instances.add(instance, session=session)
        store.operations.add(operation, session=session)
        store.nodes.reserve(
            node["_id"],
            memory_mib=instance["memory_mib"],
            cpu_milli=instance["cpu_milli"],
            session=session,
        )

    store.transaction(write)
    return instance, operation


def delete(
    store: Store,
    reference: str,
    *,
    now: datetime,
    requested_by: str | None = None,
    request_id: str | None = None,
) -> Operation:
    """Let the instance go, whatever its state; answer the operation that removes it.

    Afterwards it is DELETING until its container and volume are gone, and then unknown. Deleting
    what is being deleted answers the same operation. Raises NotFound.
    """
    instance = store.instances.get_by_reference(reference)
    operation = operations.draft(
        OperationKind.DELETE, instance, now=now, requested_by=requested_by, request_id=request_id
    )

    def write(session: Session) -> Operation:
        moved = store.instances.move(
            instance["_id"], InstanceState.DELETING, now=now, session=session
        )
        if not moved:
            store.instances.get(instance["_id"], session=session)
            underway = store.operations.find_open(
                instance["_id"], OperationKind.DELETE, session=session
            )
            if underway is not None:
                return underway
        store.operations.supersede_waiting(instance["_id"], now=now, session=session)
        store.operations.add(operation, session=session)
        return operation

    return store.transaction(write)


def set_suspended(
    store: Store,
    reference: str,
    suspended: bool,
    *,
    now: datetime,
    requested_by: str | None = None,
    request_id: str | None = None,
) -> tuple[Instance, Operation | None]:
    """Write down whether the instance may run; answer the operation that makes it so.

    There is none for an instance that is INSTALLING, whose deployment heeds what is wanted at its
    end, nor for one that FAILED. Repeating it is harmless. Raises NotFound, also for an instance
    that is being deleted.
    """
    instance = store.instances.get_by_reference(reference)
    operation = operations.draft(
        OperationKind.SUSPEND if suspended else OperationKind.UNSUSPEND,
        instance,
        now=now,
        requested_by=requested_by,
        request_id=request_id,
    )

    def write(session: Session) -> tuple[Instance, Operation | None]:
        changed = store.instances.set_suspended(
            instance["_id"], suspended, now=now, session=session
        )
        if changed["state"] != InstanceState.READY:
            return changed, None
        store.operations.supersede_waiting(
            instance["_id"], kinds=_POWER_KINDS, now=now, session=session
        )
        store.operations.add(operation, session=session)
        return changed, operation

    return store.transaction(write)


def forget(store: Store, instance: Instance, *, session: Session) -> None:
    """Give back the ports and the memory of an instance whose container and volume are gone."""
    if store.instances.remove(instance["_id"], session=session):
        store.nodes.release(
            instance["node_id"],
            memory_mib=instance["memory_mib"],
            cpu_milli=instance["cpu_milli"],
            session=session,
        )


def specify(instance: Instance) -> ContainerSpec:
    """Tell a driver what should run."""
    ports = tuple(PortMapping(**pair) for pair in instance["port_map"])
    cmd = instance["cmd"]
    return ContainerSpec(
        instance_id=instance["_id"],
        image=instance["image"],
        cmd=tuple(cmd) if isinstance(cmd, list) else cmd,
        env=_parse_env(instance["env"]),
        memory_mib=instance["memory_mib"],
        cpu_milli=instance["cpu_milli"],
        ports=ports,
        primary=next(mapping for mapping in ports if mapping.host == instance["primary_port"]),
        stop_command=instance["stop_command"],
    )


def _choose_image(store: Store, order: Order, *, allow_any_image: bool) -> Image:
    try:
        return images.resolve(store, order["image"], order["image_name"])
    except InvalidInput:
        if not allow_any_image or store.images.list_matching(order["image"]):
            raise
        return images.outside_catalogue(order["image"])


def _container_image(image: Image, reference: str) -> str:
    return reference if reference in image["alt_images"] else image["image"]


def _find_primary(order: Order) -> PortMapping:
    try:
        return parse_primary(order["primary"], order["ports"])
    except ValueError as exc:
        raise InvalidInput("The primary port is wrong.", primary=[str(exc)]) from exc


def _check_node(node: Node, image: Image, variables: Mapping[str, str]) -> None:
    if image["scripts"].get("Install") and node["driver"] in _WITHOUT_SCRIPTS:
        raise InvalidInput(
            "This image has install scripts, which this node cannot run.",
            image=[f"Nodes of the driver {node['driver']!r} run no install scripts."],
        )
    if node["driver"] == "process":
        if not image["process"]:
            raise InvalidInput(
                "This image cannot run as a process.",
                image=["Only images that an operator marked with `process` run on this node."],
            )
        undeclared = sorted(variables.keys() - image["variables"].keys())
        if undeclared:
            # A process runs on our own machine: LD_PRELOAD must not become a way into it.
            raise InvalidInput(
                "This image has no such variable.",
                variables={name: ["The image does not declare it."] for name in undeclared},
            )
    if node["status"] != NodeStatus.ONLINE:
        raise NodeOffline(node["_id"], f"The node is {node['status']}.")


def _parse_env(env: list[str]) -> dict[str, str]:
    return dict(entry.partition("=")[::2] for entry in env)
