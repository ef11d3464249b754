"""The program that an instance's container runs: a line for it to read, and what it uses."""

from contextlib import closing

from service import idempotency
from service.drivers import ContainerUsage, Delivery, DriverFactory
from service.errors import (
    InstanceNotReady,
    InstanceSuspended,
    NodeRefused,
    NotSupported,
    ServiceError,
)
from service.instances import check_online
from service.model.documents import Instance, Node
from service.model.driver_traits import traits_of
from service.model.lifecycle import InstanceState
from service.model.origin import Origin
from service.store import Store

_UNDELIVERED: dict[Delivery, tuple[type[ServiceError], str]] = {
    Delivery.NOT_RUNNING: (InstanceNotReady, "The instance does not run."),
    Delivery.UNREAD: (InstanceNotReady, "The program does not read its standard input."),
    Delivery.NO_INPUT: (
        NotSupported,
        "The container was made without a standard input that can be written to. Reinstall the "
        "instance.",
    ),
}


def send_line(
    store: Store, open_driver: DriverFactory, reference: str, line: str, *, origin: Origin
) -> Instance:
    """Write a line to the standard input of the instance's program.

    A repeat of a request that may have written it writes nothing. Raises AlreadyDone for that,
    NotFound, NotSupported where the node's driver or the container has no input, InstanceNotReady
    for one that is not READY, does not run or does not read, InstanceSuspended, NodeOffline, and
    what drivers raise.
    """
    idempotency.refuse_repeat(origin.claim)
    instance = store.instances.get_by_reference(reference)
    if instance["state"] != InstanceState.READY:
        raise InstanceNotReady(f"The instance is {instance['state']}.", state=instance["state"])
    if instance["suspended"]:
        raise InstanceSuspended("The instance is suspended, so it does not run.")
    node = store.nodes.get(instance["node_id"])
    if not traits_of(node["driver"]).takes_lines:
        raise NotSupported(f"Programs on nodes of the driver {node['driver']} are sent no lines.")
    check_online(node)

    def authorize() -> None:
        idempotency.mark_attempt(store, origin.claim, instance)

    with closing(open_driver(node, authorize=authorize)) as driver:
        try:
            delivery = driver.command(instance["_id"], line)
        except NodeRefused:
            store.idempotency.unmark(origin.claim)
            raise
    if delivery != Delivery.SENT:
        store.idempotency.unmark(origin.claim)
        kind, reason = _UNDELIVERED[delivery]
        raise kind(reason)
    return instance


def measure_usage(
    store: Store, open_driver: DriverFactory, reference: str
) -> tuple[Instance, ContainerUsage | None]:
    """Measure what the instance's container uses; None when it does not run.

    Raises NotFound, NotSupported, NodeOffline when its node is down, and what drivers raise.
    """
    instance, node = find_measured(store, reference)
    check_online(node)
    with closing(open_driver(node)) as driver:
        return instance, driver.usage(instance["_id"])


def find_measured(store: Store, reference: str) -> tuple[Instance, Node]:
    """Find an instance of which it can be measured what it uses. Raises NotFound, NotSupported."""
    instance = store.instances.get_by_reference(reference)
    node = store.nodes.get(instance["node_id"])
    if not traits_of(node["driver"]).measures_usage:
        raise NotSupported(f"Nodes of the driver {node['driver']} do not say what containers use.")
    return instance, node
