"""What can be changed of a node, so that it stays the engine that it is."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import cast

from service import drains, probing
from service.drivers import DriverFactory
from service.errors import Conflict, DifferentEngine, InvalidInput, NodeUnreachable
from service.model.addresses import is_socket
from service.model.documents import Node, Report
from service.model.driver_traits import traits_of
from service.model.labelling import relabel
from service.model.lifecycle import NodeStatus
from service.model.node_policy import NodePolicy
from service.model.orders import NodeChanges
from service.model.precondition import ANY_STATE, Precondition
from service.model.quantities import find_capacity_mib, find_capacity_milli, find_disk_mib, stretch
from service.model.wrong_fields import WrongFields
from service.nodes import check_name, resolve
from service.store import Store
from service.store.collection import Session

_DIALED = ("address", "port", "tls", "secret", "trusted_address")
"""The fields that say how a node is called."""

_BESIDE = ("external_id", "labels", "expect_engine")
"""What is no plain field of the node's document."""

_SHOWN = ("name", "address", "port", "public_address")
"""Those that instances' answers have, from a cache."""


def edit(
    store: Store,
    open_driver: DriverFactory,
    reference: str,
    changes: NodeChanges,
    *,
    policy: NodePolicy,
    only_if: Precondition = ANY_STATE,
    now: datetime,
) -> Node:
    """Change what `changes` name of a node, all of it or, after an error, nothing.

    Where it is called anew it must answer first, and be the engine that it was; it is no address
    that the operator vouched for any more. Where the changes `expect_engine`, that one must answer
    instead, also where it is called as before; what ran on the engine of before is drift then.
    Less capacity than was promised takes nothing back.
    Raises NotFound, PreconditionFailed, InvalidInput like `nodes.create`, NodeUnreachable when it
    does not answer, DifferentEngine, NodeExists, and Conflict for an external id that is taken or
    for a node that somebody else moves now.
    """
    node = store.nodes.get_by_reference(reference)
    only_if.check(node)  # before it is asked where it would be called
    fields = {name: value for name, value in changes.items() if name not in _BESIDE}
    moves = _check(node, fields, policy=policy)
    if moves:
        fields["trusted_address"] = False
    looks = moves or "expect_engine" in changes
    if looks:
        known = node["report"] and node["report"].get("engine_id")
        expected = changes.get("expect_engine", known)
        moved = cast("Node", {**node, **fields})
        fields |= _look(store, open_driver, node, moved, expected=expected, now=now)

    def write(session: Session) -> Node:
        fresh = store.nodes.get(node["_id"], session=session)
        only_if.check(fresh)
        if looks and any(fresh[name] != node[name] for name in _DIALED):  # type: ignore[literal-required]
            raise Conflict("Somebody else changed how the node is called. Please try again.")
        if "schedulable" in changes:
            schedulable = changes["schedulable"]
            drains.note_schedulable(store, fresh, schedulable, now=now, session=session)
        given, removed = relabel(fresh.get("labels", {}), changes)
        written = {
            **fields,
            **_find_capacity(fresh, fields),
            **given,
            "probed_at": None,
            # Later than any that a probe under way has seen.
            "updated_at": max(now, fresh["updated_at"] + timedelta(milliseconds=1)),
        }
        return store.nodes.change(node["_id"], written, remove=removed, session=session)

    edited = store.transaction(write)
    if any(name in fields for name in _SHOWN):
        store.nodes.outlast_caches()
    return edited


def check(store: Store, reference: str, changes: NodeChanges, *, policy: NodePolicy) -> None:
    """Check changes, which may be WellFormed. Raises NotFound and InvalidInput like `edit`."""
    _check(store.nodes.get_by_reference(reference), changes, policy=policy)


def _check(node: Node, fields: Mapping[str, object], *, policy: NodePolicy) -> bool:
    """Return whether the node is called anew. Raises InvalidInput for all that is wrong."""
    wrong = WrongFields()
    with wrong.noting():
        if "name" in fields:
            check_name(str(fields["name"]))
    with wrong.noting():
        _refuse_emptied(node, {**fields})
    with wrong.noting():
        moves = any(fields.get(name, node[name]) != node[name] for name in ("address", "port"))
        if moves and fields.get("address", node["address"]):
            _refuse_address(cast("Node", {**node, **fields}), policy=policy)
    wrong.raise_any()
    return moves


def _refuse_emptied(node: Node, fields: Mapping[str, object]) -> None:
    driver = traits_of(node["driver"])
    emptied = [name for name in driver.required if fields.get(name, node["_id"]) in (None, "")]
    if emptied:
        raise InvalidInput(
            f"A {driver.name} node needs them.",
            **{name: ["Missing data for required field."] for name in emptied},
        )


def _refuse_address(moved: Node, *, policy: NodePolicy) -> None:
    driver, address = traits_of(moved["driver"]), moved["address"]
    policy.refuse_new(
        driver,
        address=address,
        ips=resolve(address) if driver.by_address else (),
        has_tls=moved["tls"] is not None,
        trusted_address=False,
    )
    if moved["tls"] is not None and is_socket(address):
        raise InvalidInput(
            "The node is called over TLS.", address=["Only nodes that are called by address are."]
        )


def _look(
    store: Store,
    open_driver: DriverFactory,
    node: Node,
    moved: Node,
    *,
    expected: str | None,
    now: datetime,
) -> dict[str, object]:
    """Ask the node where it would be called; return what to note. One not enrolled is not asked.

    Raises DifferentEngine for another than is `expected`, if one is, and NodeExists for one that is
    new to the node and another node's.
    """
    if traits_of(node["driver"]).enrols and node["secret"] is None:
        return {}
    found = probing.ask(open_driver, moved, now=now)
    if found["status"] != NodeStatus.ONLINE:
        raise NodeUnreachable(node["_id"], f"It does not answer there: {found['probe_error']}")
    engine_id = cast("Report", found["report"])["engine_id"]
    if expected is not None and engine_id != expected:
        raise DifferentEngine(
            "Another engine answers there: add it as a node of its own, or expect it.",
            nodeId=[f"Expected the engine {expected}, found {engine_id}."],
        )
    known = node["report"] and node["report"].get("engine_id")
    is_new = known is not None and engine_id != known
    # What never answered may be no other node's engine; so it is for an engine that is new.
    judged = cast("Node", {**moved, "report": None}) if is_new else moved
    same = probing.compare_engine(store, judged, found)["same_engine_as"]
    # The rest of what was found is noted by the next probe, which is due then.
    noted = {"same_engine_as": same, "report": found["report"]}
    return {**noted, "held_ports": []} if is_new else noted


def _find_capacity(node: Node, fields: Mapping[str, object]) -> dict[str, object]:
    """Find what the node may give away with these fields, as far as they bear on it."""
    after = cast("Node", {**node, **fields})
    report = after["report"]
    capacity, from_engine = dict(node["capacity"]), node["memory_from_engine"]
    if "ram" in fields:
        from_engine = not after["ram"] and traits_of(node["driver"]).reports_memory
    if fields.keys() & {"ram", "memory_overallocate"}:
        reported = report["memory_mib"] if report else 0
        memory_mib = reported if from_engine else find_capacity_mib(after["ram"])
        capacity["memory_mib"] = stretch(memory_mib, after["memory_overallocate"] or 0)
    if fields.keys() & {"processor", "cpu_overallocate"}:
        cores = find_capacity_milli(after["processor"])
        capacity["cpu_milli"] = stretch(cores, after["cpu_overallocate"])
    if fields.keys() & {"disk", "disk_overallocate"}:
        reported_disk = report.get("disk_mib") if report else None
        over = after["disk_overallocate"]
        capacity["disk_mib"] = find_disk_mib(after["disk"], reported_disk, over)
    return {"capacity": capacity, "memory_from_engine": from_engine}
