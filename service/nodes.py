"""What can be done with nodes."""

import json
import secrets
import socket
from collections.abc import Callable
from datetime import datetime
from typing import cast

from service import arrivals, idempotency, probing, quotas
from service.drivers import DriverFactory
from service.errors import InvalidInput, NodeUnreachable
from service.model.addresses import is_socket
from service.model.documents import Capacity, Instance, Node, new_node
from service.model.driver_traits import traits_of
from service.model.labelling import label
from service.model.lifecycle import NodeStatus
from service.model.node_policy import NodePolicy
from service.model.orders import NodeOrder
from service.model.origin import Claim
from service.model.placement import AUTO, is_auto
from service.model.precondition import ANY_STATE, Precondition
from service.model.quantities import find_capacity_mib, find_capacity_milli, find_disk_mib, stretch
from service.model.wrong_fields import WrongFields
from service.security.vault import Vault
from service.store import Store
from service.store.collection import Session


def make_id() -> str:
    """Make up an id for a node."""
    return secrets.token_hex(8)


def create(
    store: Store,
    open_driver: DriverFactory,
    order: NodeOrder,
    *,
    policy: NodePolicy,
    trusted_address: bool = False,
    vault: Vault | None = None,
    now: datetime,
    claim: Claim | None = None,
    new_id: Callable[[], str] = make_id,
) -> Node:
    """Add a node, and probe it where that needs no enrolment. One that is down is added as well.

    Raises InvalidInput for what the policy does not allow, and for the name `auto`, NoSecretKey for
    what cannot be encrypted, Conflict for an external id that is taken, NodeExists for the engine
    of another node, unless the order allows that, and AlreadyDone for a repeat. A `trusted_address`
    may be any.
    """
    idempotency.refuse_repeat(claim)
    check(order, policy=policy, trusted_address=trusted_address)
    driver = traits_of(order["driver"])
    vault = vault or Vault("")
    node = draft(order, node_id=new_id(), now=now)
    node["trusted_address"] = trusted_address
    if "api_key" in order:
        node["secret"] = vault.seal(order["api_key"])
    if "tls" in order:
        node["tls"] = vault.seal(json.dumps(order["tls"]))
    if not driver.enrols or node["secret"] is not None:
        found = probing.compare_engine(store, node, probing.ask(open_driver, node, now=now))
        node = cast("Node", {**node, **found})

    def write(session: Session) -> None:
        store.nodes.add(node, session=session)
        store.idempotency.mark(claim, {"node": node["_id"]}, session=session)

    store.transaction(write)
    return node


def check(order: NodeOrder, *, policy: NodePolicy, trusted_address: bool = False) -> None:
    """Raise InvalidInput for all that is wrong in an order, which may be WellFormed."""
    wrong = WrongFields()
    with wrong.noting():
        check_name(order["name"])
    with wrong.noting():
        driver, address = traits_of(order["driver"]), order.get("address", "")
        policy.refuse_new(
            driver,
            address=address,
            ips=resolve(address) if driver.by_address else (),
            has_tls="tls" in order,
            trusted_address=trusted_address,
        )
    wrong.raise_any()


def draft(order: NodeOrder, *, node_id: str, now: datetime) -> Node:
    """Make the document of a node that nobody has talked to."""
    ram, processor = order.get("ram", ""), order.get("processor", "")
    memory_over, cpu_over = order.get("memory_overallocate"), order.get("cpu_overallocate")
    disk, disk_over = order.get("disk", ""), order.get("disk_overallocate")
    from_engine = not ram and traits_of(order["driver"]).reports_memory
    memory_mib = 0 if from_engine else find_capacity_mib(ram)
    return new_node(
        node_id,
        name=order["name"],
        tags=order.get("tags", ""),
        ram=ram,
        disk=disk,
        processor=processor,
        address=order.get("address", ""),
        port=order.get("port"),
        driver=order["driver"],
        memory_overallocate=memory_over,
        cpu_overallocate=cpu_over,
        disk_overallocate=disk_over,
        max_swap_mib=order.get("max_swap_mib"),
        pinnable_cores=order.get("pinnable_cores"),
        schedulable=order.get("schedulable", True),
        max_instances=order.get("max_instances"),
        port_range=order.get("port_range"),
        max_stop_grace_s=order.get("max_stop_grace_s"),
        allow_same_engine=order.get("allow_same_engine", False),
        memory_from_engine=from_engine,
        public_address=order.get("public_address"),
        capacity=Capacity(
            memory_mib=stretch(memory_mib, memory_over or 0),
            cpu_milli=stretch(find_capacity_milli(processor), cpu_over),
            disk_mib=find_disk_mib(disk, None, disk_over),
        ),
        labelling=label({"external_id": order.get("external_id"), "labels": order.get("labels")}),
        now=now,
    )


def set_tls(
    store: Store,
    open_driver: DriverFactory,
    vault: Vault,
    node_id: str,
    tls: dict[str, str],
    *,
    only_if: Precondition = ANY_STATE,
    now: datetime,
) -> Node:
    """Call the node with these certificates from now on; answer it as its probe finds it.

    Raises NotFound, PreconditionFailed, InvalidInput for a node that has none or needs more, and
    NodeFailure when it does not answer to them; nothing is changed then. One that never enrolled is
    not asked.
    """
    node = store.nodes.get_by_reference(node_id, field="nodeId")
    only_if.check(node)  # before it is asked
    driver = traits_of(node["driver"])
    if driver.tls is None or is_socket(node["address"]):
        raise InvalidInput(
            "Only nodes that are called by address have certificates.",
            nodeId=[f"Is a {node['driver']} node on {node['address'] or 'this machine'}."],
        )
    missing = [part for part in driver.tls if part not in tls]
    if missing:
        raise InvalidInput(
            f"A {node['driver']} node needs them all.",
            **{part: ["Missing data for required field."] for part in missing},
        )
    written: dict[str, object] = {"tls": vault.seal(json.dumps(tls)), "updated_at": now}
    if not driver.enrols or node["secret"] is not None:
        found = probing.ask(open_driver, {**node, "tls": str(written["tls"])}, now=now)
        if found["status"] != NodeStatus.ONLINE:
            reason = f"It does not answer to them: {found['probe_error']}"
            raise NodeUnreachable(node["_id"], reason)
        # What it was found to be is recorded by the next probe, which is due now.
        written["probed_at"] = None

    def write(session: Session) -> Node:
        only_if.check(store.nodes.get(node["_id"], session=session))
        return store.nodes.change(node["_id"], written, session=session)

    return store.transaction(write)


def delete(
    store: Store,
    reference: str,
    *,
    force: bool = False,
    only_if: Precondition = ANY_STATE,
    now: datetime,
) -> int:
    """Forget a node; return how many instances were forgotten with it.

    Raises NodeNotEmpty while instances live on it, also deleted ones that are kept, unless `force`
    forgets them as well: their containers, where there still are any, run on. Raises NotFound for
    no node, and PreconditionFailed.
    """
    node_id = store.nodes.get_by_reference(reference, field="nodeId")["_id"]

    def write(session: Session) -> int:
        only_if.check(store.nodes.get(node_id, field="nodeId", session=session))
        forgotten: list[Instance] = []
        if force:
            arrivals.release_of_node(store, node_id, now=now, session=session)
            forgotten = store.instances.remove_on(node_id, session=session)
            forgotten += store.deleted.remove_on(node_id, session=session)
            quotas.refund(store, forgotten, session=session)
        store.operations.supersede_on(node_id, now=now, session=session)
        store.leftovers.remove_on(node_id, session=session)
        store.drains.remove(node_id, session=session)
        store.nodes.remove(node_id, only_if_empty=not force, session=session)
        return len(forgotten)

    return store.transaction(write)


def check_name(name: str) -> None:
    if is_auto(name):
        raise InvalidInput(
            "No node may have this name.", name=[f"{AUTO!r} stands for whichever node fits."]
        )


def resolve(address: str) -> list[str]:
    """Look up the IP addresses. Empty for a name that has none, as yet, or a path."""
    try:
        found = socket.getaddrinfo(address.strip("[]"), None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return [str(target[0]) for *_, target in found]
