"""What a probe of a node finds, and what is recorded of it."""

import logging
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import asdict
from datetime import datetime
from typing import cast

from service.drivers import DriverFactory, NodeDriver
from service.enrolment import RESTART, use_new_key
from service.errors import (
    NodeExists,
    NodeFailure,
    NodeRefused,
    ServiceError,
    StoreFailure,
    StoreUnavailable,
)
from service.model.documents import Node, Report
from service.model.lifecycle import NodeStatus
from service.model.quantities import find_disk_mib, stretch
from service.store import Store

log = logging.getLogger(__name__)

UNEXPECTED = "The probe ended with an unexpected error; the log of its worker says which."


def probe(
    store: Store,
    open_driver: DriverFactory,
    node: Node,
    *,
    now: datetime,
    more: Callable[[NodeDriver], object] | None = None,
) -> Node:
    """Ask the node how it is and write down the answer; answer the node as it is then.

    Of a node that is as it was nothing is written: when it was seen is for whoever ends the probe.
    It is Online when it answered `more` too. A node that never answered before, and turns out to be
    of another node's engine, is Offline unless that is allowed; one that did goes on, with a
    warning. Raises NotFound when the node was deleted meanwhile, StoreUnavailable and
    StoreFailure, never for what the node does.
    """
    enrolled = use_new_key(node)
    changes = ask(open_driver, enrolled if node["secret"] is None else node, now=now, more=more)
    if node["pending_secret"] is not None:
        with_new_key = ask(open_driver, enrolled, now=now, more=more) if node["secret"] else changes
        if with_new_key["status"] == NodeStatus.ONLINE:
            changes = {**with_new_key, "secret": enrolled["secret"], "pending_secret": None}
    after = _record_probe(store, node, changes)
    if node.get("held_ports"):
        store.held_ports.forget_old(node["_id"], now=now)
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


def explain(node: Node, failure: NodeFailure) -> str:
    """Say why the node does not answer: a daemon reads a new key only when it is started."""
    is_new = node["secret"] is not None and node["secret"] == node["pending_secret"]
    return RESTART if is_new and isinstance(failure, NodeRefused) else failure.reason


def ask(
    open_driver: DriverFactory,
    node: Node,
    *,
    now: datetime,
    more: Callable[[NodeDriver], object] | None = None,
) -> dict[str, object]:
    """Ask the node how it is; return what that makes of its document, of which nothing is written.

    Raises StoreUnavailable and StoreFailure, and nothing for what the node does.
    """
    try:
        with closing(open_driver(node)) as driver:
            report = driver.probe()
            if more is not None:
                more(driver)
    except (StoreUnavailable, StoreFailure):
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
    disk_mib = find_disk_mib(node["disk"], report.disk_mib, node["disk_overallocate"])
    capacity = {**node["capacity"], "disk_mib": disk_mib}
    if node["memory_from_engine"]:
        capacity["memory_mib"] = stretch(report.memory_mib, node["memory_overallocate"] or 0)
    return {**found, "capacity": capacity}


def compare_engine(store: Store, node: Node, found: Mapping[str, object]) -> Mapping[str, object]:
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
        raise NodeExists(other["name"], other["_id"])
    return {**found, "same_engine_as": other["_id"]}


def _record_probe(store: Store, node: Node, found: Mapping[str, object]) -> Node:
    """Write down what was found of the node as it was read, unless it was changed meanwhile.

    Whoever changes how it is called, or its capacity, has it probed again.
    """
    try:
        return _record(store, node, compare_engine(store, node, found))
    except NodeExists as exc:
        if node["report"] is None and not node["allow_same_engine"]:
            refused = {
                "status": NodeStatus.OFFLINE,
                "probe_error": f"{exc.message} Delete one of them, or add this one anew and say "
                "that it may be of the same engine.",
            }
            return _record(store, node, refused)
    # The other was found to be of this engine after ours was compared.
    return _record(store, node, compare_engine(store, node, found))


def _record(store: Store, node: Node, changes: Mapping[str, object]) -> Node:
    after = cast("Node", {**node, **changes})
    if {**after, "last_seen_at": None} == {**node, "last_seen_at": None}:
        return after
    return store.nodes.update(node["_id"], changes, only_if={"updated_at": node["updated_at"]})
