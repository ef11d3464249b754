"""Nodes: whether they answer from here, and what instances that are gone left on them."""

import time
from collections.abc import Iterator
from contextlib import closing
from itertools import chain

from service import enrolment, leftovers, node_secrets, probing
from service.admin.doctor.findings import Finding, Level, end
from service.drivers import DriverFactory
from service.errors import NodeFailure, ServiceError
from service.model.documents import Node
from service.model.driver_traits import traits_of
from service.model.lifecycle import NodeStatus, OperationKind, OperationStatus
from service.security.vault import Vault
from service.store import Store

MANY_ATTEMPTS = 3
"""How often a deletion is tried before that is reported."""


def try_secrets(store: Store, vault: Vault, known: list[Node]) -> Finding:
    """Try whether the secret key opens what nodes have of secrets."""
    subject = "secret key"
    unreadable = [node["name"] for node in node_secrets.list_unreadable(store, vault)]
    if unreadable:
        return Finding(
            Level.FAIL,
            subject,
            f"It does not open the secrets of the nodes {', '.join(unreadable)}.",
            "Set SKYQUAY_SECRET_KEY to the key that encrypted them, if only behind the new one.",
        )
    if not vault.has_key:
        return Finding(
            Level.FAIL,
            subject,
            "SKYQUAY_SECRET_KEY is not set, and without it nothing is done on nodes.",
            "Make one with `openssl rand -base64 32`, set it everywhere, and keep a copy.",
        )
    sealed = any(node[field] for node in known for field in node_secrets.SEALED)  # type: ignore[literal-required]
    found = "It opens the secrets of all nodes that have any." if sealed else "No node has secrets."
    return Finding(Level.OK, subject, found)


def examine_node(open_driver: DriverFactory, node: Node) -> Finding:
    """Ask the node from here, and compare with what the workers hold it for."""
    subject = f"node {node['name']}"
    if node["status"] == NodeStatus.UNCONFIGURED:
        return Finding(
            Level.WARN,
            subject,
            "Its daemon has not enrolled itself.",
            "Run the command that `POST /api/nodes/{id}/configure-key` answers, on the node.",
        )
    began = time.monotonic()
    keyed = enrolment.use_new_key(node) if node["secret"] is None else node
    try:
        with closing(open_driver(keyed)) as driver:
            report = driver.probe()
    except ServiceError as exc:
        reason = probing.explain(keyed, exc) if isinstance(exc, NodeFailure) else exc.message
        return Finding(
            Level.FAIL,
            subject,
            end(f"It is {node['status']}, and does not answer from here: {reason}"),
            traits_of(node["driver"]).remedy,
        )
    answers = f"{report.engine} answers in {(time.monotonic() - began) * 1000:.0f} ms"
    if node["status"] != NodeStatus.ONLINE:
        return Finding(
            Level.WARN,
            subject,
            end(
                f"{answers} from here, but the workers hold the node for {node['status']}: "
                f"{node['probe_error'] or 'it was not probed yet'}"
            ),
            "See that a worker runs, and reaches the node from its own machine.",
        )
    return Finding(Level.OK, subject, f"{answers}.")


def examine_leftovers(store: Store, known: list[Node]) -> Iterator[Finding]:
    """List the files that instances which are gone left on nodes."""
    names = {node["_id"]: node["name"] for node in known}
    for left in store.leftovers.all():
        yield Finding(
            Level.WARN,
            f"leftovers of node {names.get(left['node_id'], left['node_id'])}",
            end(f"Of instance {left['_id']}, which is gone, {leftovers.describe(left)}"),
            "Delete it on the node; then `remove` the id with "
            f"`POST /api/nodes/{left['node_id']}/drift/resolve`: {left['_id']}.",
        )


def examine_deletions(store: Store, known: list[Node]) -> Iterator[Finding]:
    """List the instances that their nodes do not remove."""
    for node in known:
        deleting = (each.list_deleting(node["_id"]) for each in (store.instances, store.deleted))
        for instance in chain.from_iterable(deleting):
            latest = store.operations.find_latest(instance["_id"])
            if latest is None or latest["kind"] != OperationKind.DELETE:
                continue
            failed = latest["status"] == OperationStatus.FAILED
            if failed or latest["attempts"] >= MANY_ATTEMPTS:
                yield Finding(
                    Level.WARN,
                    f"instance {instance['_id']}",
                    end(f"Node {node['name']} does not remove it: {latest['error']}"),
                    "Mend that on the node: it is tried again. `force` forgets the instance.",
                )
