"""What can be done with nodes."""

import hashlib
import json
import logging
import secrets
import socket
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import cast

from service.drivers import DriverFactory, NodeDriver
from service.errors import (
    InvalidInput,
    NodeExists,
    NodeFailure,
    NodeRefused,
    NodeUnreachable,
    ServiceError,
    StoreUnavailable,
)
from service.model.addresses import LOOPBACK, is_loopback, refusal
from service.model.documents import Capacity, ConfigureKey, Node, Report, new_node
from service.model.lifecycle import NodeStatus
from service.model.node_warnings import UNLIMITED
from service.model.orders import NodeOrder
from service.model.quantities import find_capacity_mib, find_capacity_milli
from service.security.vault import Vault
from service.store import Store
from service.store.collection import Session
from service.store.nodes import engine_taken

log = logging.getLogger(__name__)

PROBED_WHEN_CREATED = frozenset({"docker", "process", "memory"})
"""Drivers that need nothing but an address. A skyportd node must be enrolled first."""

SEALED = ("secret", "pending_secret", "tls")
"""The fields that are encrypted."""

TLS_PARTS: dict[str, tuple[str, ...]] = {"docker": ("ca", "cert", "key"), "skyportd": ()}
"""Drivers that call nodes by address, each with what it needs at least to do so over TLS."""

RESTART = "Restart the daemon."
"""What is left to do for a daemon that enrolled itself."""

REPORTS_MEMORY = frozenset({"docker", "process"})
"""Drivers of nodes that have as much memory as their engine reports, unless `ram` is given."""

UNEXPECTED = "The probe ended with an unexpected error; the log of its worker says which."


def make_id() -> str:
    """Make up an id for a node."""
    return secrets.token_hex(8)


def create(
    store: Store,
    open_driver: DriverFactory,
    order: NodeOrder,
    *,
    allow_process: bool,
    allow_plain_docker: bool = False,
    allow_loopback: bool = False,
    trusted_address: bool = False,
    vault: Vault | None = None,
    now: datetime,
    new_id: Callable[[], str] = make_id,
) -> Node:
    """Add a node, and probe it where that needs no enrolment. One that is down is added as well.

    Raises InvalidInput for a `process` node, an engine without TLS or an address where the settings
    do not allow them, NoSecretKey for what cannot be encrypted, and NodeExists for the engine of
    another node, unless the order allows that. A `trusted_address` may be any.
    """
    if order["driver"] == "process" and not allow_process:
        raise InvalidInput(
            "Nodes of the driver 'process' are not allowed here.",
            driver=["Needs the setting SKYQUAY_ALLOW_PROCESS=1."],
        )
    if order["driver"] in TLS_PARTS:
        ips = _resolve(order.get("address", ""))
        if not trusted_address:
            _check_address(order, ips, allow_loopback=allow_loopback)
        _check_tls(order, ips, allow_plain=allow_plain_docker)
    vault = vault or Vault("")
    node = draft(order, node_id=new_id(), now=now)
    node["trusted_address"] = trusted_address
    if "api_key" in order:
        node["secret"] = vault.seal(order["api_key"])
    if "tls" in order:
        node["tls"] = vault.seal(json.dumps(order["tls"]))
    if order["driver"] in PROBED_WHEN_CREATED or node["secret"] is not None:
        found = _compare_engine(store, node, _ask(open_driver, node, now=now))
        node = cast("Node", {**node, **found})
    store.nodes.add(node)
    return node


def draft(order: NodeOrder, *, node_id: str, now: datetime) -> Node:
    """Make the document of a node that nobody has talked to."""
    ram, processor = order.get("ram", ""), order.get("processor", "")
    memory_over, cpu_over = order.get("memory_overallocate"), order.get("cpu_overallocate")
    from_engine = not ram and order["driver"] in REPORTS_MEMORY
    memory_mib = 0 if from_engine else find_capacity_mib(ram)
    return new_node(
        node_id,
        name=order["name"],
        tags=order.get("tags", ""),
        ram=ram,
        disk=order.get("disk", ""),
        processor=processor,
        address=order.get("address", ""),
        port=order.get("port"),
        driver=order["driver"],
        memory_overallocate=memory_over,
        cpu_overallocate=cpu_over,
        allow_same_engine=order.get("allow_same_engine", False),
        memory_from_engine=from_engine,
        capacity=Capacity(
            memory_mib=_stretch(memory_mib, memory_over or 0),
            cpu_milli=_stretch(find_capacity_milli(processor), cpu_over),
        ),
        now=now,
    )


def probe(
    store: Store,
    open_driver: DriverFactory,
    node: Node,
    *,
    now: datetime,
    more: Callable[[NodeDriver], object] | None = None,
) -> Node:
    """Ask the node how it is and write down the answer; answer the node as it is then.

    It is Online when it answered `more` too. A node that never answered before, and turns out to be
    of another node's engine, is Offline unless that is allowed; one that did goes on, with a
    warning. Raises NotFound when the node was deleted meanwhile and StoreUnavailable, never for
    what the node does.
    """
    enrolled = use_new_key(node)
    changes = _ask(open_driver, enrolled if node["secret"] is None else node, now=now, more=more)
    if node["pending_secret"] is not None:
        with_new_key = (
            _ask(open_driver, enrolled, now=now, more=more) if node["secret"] else changes
        )
        if with_new_key["status"] == NodeStatus.ONLINE:
            changes = {**with_new_key, "secret": enrolled["secret"], "pending_secret": None}
    after = _record_probe(store, node, changes)
    if after["status"] != node["status"]:
        log.info(
            "node.status_changed",
            extra={
                "node_id": node["_id"],
                "node": node["name"],
                "status": after["status"],
                "error": after["probe_error"],
            },
        )
        if after["status"] == NodeStatus.ONLINE:
            store.operations.retry_now_on_node(node["_id"])
    return after


def use_new_key(node: Node) -> Node:
    """Make the node as it is once its daemon answers to the key that it enrolled itself with."""
    if node["pending_secret"] is None:
        return node
    return {**node, "secret": node["pending_secret"]}


def explain(node: Node, failure: NodeFailure) -> str:
    """Say why the node does not answer: a daemon reads a new key only when it is started."""
    is_new = node["secret"] is not None and node["secret"] == node["pending_secret"]
    return RESTART if is_new and isinstance(failure, NodeRefused) else failure.reason


def issue_configure_key(
    store: Store, node_id: str, *, lifetime_s: float, now: datetime
) -> tuple[Node, str]:
    """Make the key that the node's daemon enrols itself with, once; the one before is worthless.

    Raises NotFound, and InvalidInput for a node of another driver.
    """
    node = store.nodes.get(node_id, field="nodeId")
    if node["driver"] != "skyportd":
        raise InvalidInput(
            "Only skyportd nodes are enrolled.", nodeId=[f"Is a {node['driver']} node."]
        )
    key = secrets.token_hex(32)
    expires_at = now + timedelta(seconds=lifetime_s)
    kept = ConfigureKey(digest=_digest(key), expires_at=expires_at)
    return store.nodes.update(node_id, {"configure_key": kept}), key


def set_tls(
    store: Store,
    open_driver: DriverFactory,
    vault: Vault,
    node_id: str,
    tls: dict[str, str],
    *,
    now: datetime,
) -> Node:
    """Call the node with these certificates from now on; answer it as its probe finds it.

    Raises NotFound, InvalidInput for a node that has none or needs more, and NodeFailure when it
    does not answer to them; nothing is changed then. One that never enrolled is not asked.
    """
    node = store.nodes.get(node_id, field="nodeId")
    if node["driver"] not in TLS_PARTS or node["address"].startswith("unix://"):
        raise InvalidInput(
            "Only nodes that are called by address have certificates.",
            nodeId=[f"Is a {node['driver']} node on {node['address'] or 'this machine'}."],
        )
    missing = [part for part in TLS_PARTS[node["driver"]] if part not in tls]
    if missing:
        raise InvalidInput(
            f"A {node['driver']} node needs them all.",
            **{part: ["Missing data for required field."] for part in missing},
        )
    sealed = vault.seal(json.dumps(tls))
    if node["driver"] == "skyportd" and node["secret"] is None:
        return store.nodes.update(node_id, {"tls": sealed, "updated_at": now})
    found = _ask(open_driver, {**node, "tls": sealed}, now=now)
    if found["status"] != NodeStatus.ONLINE:
        raise NodeUnreachable(node_id, f"It does not answer to them: {found['probe_error']}")
    # What it was found to be is noted by the next probe, which is due now.
    return store.nodes.update(node_id, {"tls": sealed, "updated_at": now, "probed_at": None})


def enroll(
    store: Store, vault: Vault, *, configure_key: str, access_key: str, now: datetime
) -> Node:
    """Take the key that a daemon made for itself; it is used once the daemon answers to it.

    Raises InvalidInput for a configure key that is wrong, used or expired.
    """
    node = store.nodes.take_configure_key(
        _digest(configure_key),
        changes={"pending_secret": vault.seal(access_key), "probed_at": None},
        now=now,
    )
    if node is None:
        raise InvalidInput(
            "The configure key is not valid.", configureKey=["Is wrong, used or expired."]
        )
    if node["status"] == NodeStatus.UNCONFIGURED:
        waits = {"status": NodeStatus.OFFLINE, "probe_error": RESTART}
        return store.nodes.update(node["_id"], waits)
    return node


def delete(store: Store, node_id: str, *, force: bool = False, now: datetime) -> int:
    """Forget a node; return how many instances were forgotten with it.

    Raises NodeNotEmpty while instances live on it, unless `force` forgets them as well: their
    containers, where there still are any, run on. Raises NotFound for no node.
    """

    def write(session: Session) -> int:
        forgotten = store.instances.remove_on(node_id, session=session) if force else 0
        store.operations.supersede_on(node_id, now=now, session=session)
        store.leftovers.remove_on(node_id, session=session)
        store.nodes.remove(node_id, only_if_empty=not force, session=session)
        return forgotten

    return store.transaction(write)


def list_unreadable(store: Store, vault: Vault) -> list[Node]:
    """Read the nodes that have a secret which none of the secret keys opens."""
    return [
        node
        for node in store.nodes.all()
        if not all(vault.can_open(sealed) for sealed in _sealed(node).values())
    ]


def reseal(store: Store, vault: Vault) -> int:
    """Encrypt the secrets of all nodes with the first secret key; return how many those are.

    Raises StoreFailure for one that no key opens; those before it are done, and repeating is safe.
    """
    count = 0
    for node in store.nodes.all():
        for field, sealed in _sealed(node).items():
            anew = {field: vault.seal_anew(sealed)}
            # One that was replaced meanwhile was sealed with the first key already.
            count += store.nodes.replace_secret(node["_id"], anew, only_if={field: sealed})
    return count


def _sealed(node: Node) -> dict[str, str]:
    return {
        field: str(sealed)
        for field in SEALED
        if (sealed := node[field]) is not None  # type: ignore[literal-required]
    }


def _check_address(order: NodeOrder, ips: list[str], *, allow_loopback: bool) -> None:
    reasons = [refusal(ip, allow_loopback=allow_loopback) for ip in ips]
    if _is_socket(order) and not allow_loopback:
        reasons = [LOOPBACK]
    found = next((reason for reason in reasons if reason), None)
    if found is not None:
        raise InvalidInput("No node may have this address.", address=[found])


def _check_tls(order: NodeOrder, ips: list[str], *, allow_plain: bool) -> None:
    """Raise InvalidInput for an engine that everybody on its network could use."""
    if order["driver"] != "docker" or "tls" in order or _is_socket(order):
        return
    if not allow_plain and not (ips and all(map(is_loopback, ips))):
        raise InvalidInput(
            "A Docker Engine is called over TLS, with a client certificate.",
            tls=["Needs ca, cert and key, or the setting SKYQUAY_ALLOW_PLAIN_DOCKER=1."],
        )


def _resolve(address: str) -> list[str]:
    """Look up the IP addresses. Empty for a name that has none, as yet, or a path."""
    try:
        found = socket.getaddrinfo(address.strip("[]"), None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return [str(target[0]) for *_, target in found]


def _is_socket(order: NodeOrder) -> bool:
    return order.get("address", "").startswith("unix://")


def _ask(
    open_driver: DriverFactory,
    node: Node,
    *,
    now: datetime,
    more: Callable[[NodeDriver], object] | None = None,
) -> dict[str, object]:
    try:
        with closing(open_driver(node)) as driver:
            report = driver.probe()
            if more is not None:
                more(driver)
    except StoreUnavailable:
        raise  # no word about the node
    except NodeFailure as failure:
        return {"status": NodeStatus.OFFLINE, "probe_error": explain(node, failure)}
    except ServiceError as error:
        return {"status": NodeStatus.OFFLINE, "probe_error": error.message}
    except Exception:
        log.exception("node.probe_crashed", extra={"node_id": node["_id"]})
        return {"status": NodeStatus.OFFLINE, "probe_error": UNEXPECTED}
    found: dict[str, object] = {
        "status": NodeStatus.ONLINE,
        "probe_error": None,
        "report": asdict(report),
        "last_seen_at": now,
    }
    if node["memory_from_engine"]:
        memory_mib = _stretch(report.memory_mib, node["memory_overallocate"] or 0)
        found["capacity"] = {**node["capacity"], "memory_mib": memory_mib}
    return found


def _compare_engine(store: Store, node: Node, found: Mapping[str, object]) -> Mapping[str, object]:
    """Add to what a look found whether another node is of the same engine.

    Raises NodeExists when there is one, this node was never Online, and that is not allowed.
    """
    if found["status"] != NodeStatus.ONLINE:
        return found
    report = cast("Report", found["report"])
    other = store.nodes.find_same_engine(report["engine_id"], except_id=node["_id"])
    if other is None:
        return {**found, "same_engine_as": None}
    if node["report"] is None and not node["allow_same_engine"]:
        raise engine_taken(other)
    return {**found, "same_engine_as": other["_id"]}


def _record_probe(store: Store, node: Node, found: Mapping[str, object]) -> Node:
    try:
        return store.nodes.update(node["_id"], _compare_engine(store, node, found))
    except NodeExists as exc:
        if node["report"] is None and not node["allow_same_engine"]:
            refused = {
                "status": NodeStatus.OFFLINE,
                "probe_error": f"{exc.message} Delete one of them, or add this one anew and say "
                "that it may be of the same engine.",
            }
            return store.nodes.update(node["_id"], refused)
    # The other was found to be of this engine after ours was compared.
    return store.nodes.update(node["_id"], _compare_engine(store, node, found))


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def _stretch(amount: int | None, overallocate: int | None) -> int | None:
    if amount is None or overallocate is None or overallocate == UNLIMITED:
        return None
    return amount * (100 + overallocate) // 100
