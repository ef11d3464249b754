"""What can be done with nodes."""

import logging
import secrets
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from typing import NotRequired, TypedDict

from service.documents import Allocated, Capacity, Node
from service.drivers import DriverFactory
from service.errors import InvalidInput, NodeFailure
from service.lifecycle import NodeStatus
from service.quantities import find_capacity_mib
from service.store import Store

log = logging.getLogger(__name__)

PROBED_WHEN_CREATED = frozenset({"docker", "process", "memory"})
"""Drivers that need nothing but an address. A skyportd node must be enrolled first."""


class NodeOrder(TypedDict):
    """A node as somebody asks for it."""

    name: str
    driver: str
    tags: NotRequired[str | list[str]]
    ram: NotRequired[str]
    disk: NotRequired[str]
    processor: NotRequired[str]
    address: NotRequired[str]
    port: NotRequired[int | None]


def make_id() -> str:
    """Make up an id for a node."""
    return secrets.token_hex(8)


def create(
    store: Store,
    drivers: DriverFactory,
    order: NodeOrder,
    *,
    allow_process: bool,
    now: datetime,
    new_id: Callable[[], str] = make_id,
) -> Node:
    """Add a node, and probe it where that needs no enrolment. One that is down is added as well.

    Raises InvalidInput for a `process` node where the settings do not allow them.
    """
    if order["driver"] == "process" and not allow_process:
        raise InvalidInput(
            "Nodes of the driver 'process' are not allowed here.",
            driver=["Needs the setting SKYQUAY_ALLOW_PROCESS=1."],
        )
    ram = order.get("ram", "")
    node = Node(
        _id=new_id(),
        name=order["name"],
        tags=order.get("tags", ""),
        ram=ram,
        disk=order.get("disk", ""),
        processor=order.get("processor", ""),
        address=order.get("address", ""),
        port=order.get("port"),
        driver=order["driver"],
        status=NodeStatus.UNCONFIGURED,
        last_seen_at=None,
        probed_at=now,
        probe_error=None,
        report=None,
        capacity=Capacity(memory_mib=find_capacity_mib(ram)),
        allocated=Allocated(memory_mib=0, cpu_milli=0, instances=0),
        created_at=now,
        updated_at=now,
    )
    if order["driver"] not in PROBED_WHEN_CREATED:
        store.nodes.add(node)
        return node
    node["status"] = NodeStatus.OFFLINE
    store.nodes.add(node)
    return probe(store, drivers, node, now=now)


def probe(store: Store, drivers: DriverFactory, node: Node, *, now: datetime) -> Node:
    """Ask the node how it is and write down the answer; answer the node as it is then.

    Raises NotFound when the node was deleted meanwhile, never for what the node does.
    """
    changes: dict[str, object]
    try:
        driver = drivers(node)
        try:
            report = driver.probe()
        finally:
            driver.close()
    except NodeFailure as failure:
        changes = {"status": NodeStatus.OFFLINE, "probe_error": failure.reason}
    else:
        changes = {
            "status": NodeStatus.ONLINE,
            "probe_error": None,
            "report": asdict(report),
            "last_seen_at": now,
        }
    if changes["status"] != node["status"]:
        reason = f": {changes['probe_error']}" if changes["probe_error"] else ""
        log.info("node %s is %s%s", node["_id"], changes["status"], reason)
    return store.nodes.note_probe(node["_id"], changes)


def delete(store: Store, node_id: str) -> None:
    """Forget a node. Raises NodeNotEmpty while instances live on it, NotFound for no node."""
    store.nodes.remove(node_id)
