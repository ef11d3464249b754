"""What a node really runs, against what the documents say.

A worker compares the two after each probe, and brings in line what it may: worker/reconcile.py.
Containers that no document knows, and documents without a container, are only listed: what becomes
of them somebody has to say. Containers that may be another installation's, which the node shares,
are never removed unless they were adopted.
"""

from collections import Counter
from collections.abc import Container, Iterable
from contextlib import closing
from dataclasses import replace
from itertools import chain

from service import adoption, instances, operations, replacements
from service.drivers import DriverFactory, NodeDriver
from service.errors import (
    InstanceNotReady,
    InvalidInput,
    NodeOffline,
)
from service.model.documents import Instance, Observed, Operation, new_operation, new_removal
from service.model.drift import Changed, Drift, Orphan, Resolved
from service.model.lifecycle import (
    InstanceState,
    NodeStatus,
    OperationKind,
    Power,
)
from service.model.orders import Resolution
from service.model.origin import Origin
from service.store import Store
from service.store.collection import Session


def find(store: Store, open_driver: DriverFactory, node_id: str) -> Drift:
    """Compare now. Raises NotFound, NodeOffline when the node is down, and what drivers raise."""
    node = store.nodes.get_by_reference(node_id)
    if node["status"] != NodeStatus.ONLINE:
        raise NodeOffline(node["_id"], f"The node is {node['status']}.")
    with closing(open_driver(node)) as driver:
        found = compare(store, driver, node["_id"])
    return replace(found, leftovers=store.leftovers.list_on(node["_id"]))


def resolve(
    store: Store,
    open_driver: DriverFactory,
    node_id: str,
    resolution: Resolution,
    *,
    origin: Origin,
) -> list[Resolved]:
    """Do with differences what the resolution says.

    `adopt` makes an orphan or unclaimed container an instance of a user; `remove` removes an
    orphan from the node, deletes an instance whose container is missing, or tries once more to
    remove files that an instance left; `recreate` makes a missing container anew. Raises
    InvalidInput for an id that is no such difference, or is named more than once, and then does
    nothing at all.
    """
    node = store.nodes.get_by_reference(node_id)
    _require_once(
        adopt=[wish["id"] for wish in resolution["adopt"]],
        remove=resolution["remove"],
        recreate=resolution["recreate"],
    )
    drift = find(store, open_driver, node["_id"])
    orphans = {item.instance_id: item for item in drift.orphans}
    adoptable = {item.instance_id: item for item in [*drift.unclaimed, *drift.orphans]}
    missing = {instance["_id"]: instance for instance in drift.missing}
    left = {leftover["_id"] for leftover in drift.leftovers}
    _require("adopt", [wish["id"] for wish in resolution["adopt"]], adoptable)
    _require("remove", resolution["remove"], {*orphans, *missing, *left})
    _require("recreate", resolution["recreate"], missing)
    adopted = [
        adoption.draft(store, open_driver, node, wish, adoptable[wish["id"]].status, now=origin.now)
        for wish in resolution["adopt"]
    ]

    done = []
    for instance in adopted:
        adoption.add(store, instance)
        done.append(Resolved(instance["_id"], "adopt", None))
    for instance_id in resolution["remove"]:
        if instance_id in missing:
            operation = instances.delete(store, instance_id, origin=origin)
        else:
            operation = new_operation(OperationKind.REMOVE, instance_id, node_id, origin=origin)
            if store.instances.find(instance_id) is not None:  # it was transferred to another
                operation = new_removal(instance_id, node_id, origin=origin)
            if instance_id in orphans:  # of files that were left no container is known
                operation["container_id"] = orphans[instance_id].status.container_id
            store.operations.add(operation)
        done.append(Resolved(instance_id, "remove", operation["_id"]))
    for instance_id in resolution["recreate"]:
        operation = _recreate(store, missing[instance_id], origin=origin)
        done.append(Resolved(instance_id, "recreate", operation["_id"]))
    return done


def compare(store: Store, driver: NodeDriver, node_id: str) -> Drift:
    """Compare what the driver lists with the documents. Raises what drivers raise.

    Only of what differs the documents themselves are read, and those compared once more.
    """
    # Whatever changes while the two are read has an operation that is open, or was since then.
    since = store.server_time()
    there = driver.list()
    found = {name: status for name, status in there.items() if status.is_ours}
    observed = {each["_id"]: each for each in store.instances.list_observed(node_id)}
    touched = store.operations.list_touched(node_id, since)
    orphans = there.keys() - observed.keys() - touched
    # One machine may be two nodes; what the other's documents know is no orphan.
    orphans -= store.instances.list_known(orphans) | store.deleted.list_known(orphans)
    # Once more: one that was restored between the two.
    orphans -= store.instances.list_known(orphans)
    kept = store.deleted.list_observed(node_id)

    def differs(each: Observed) -> bool:
        if each["_id"] in touched:
            return False
        status = found.get(each["_id"])
        if status is None:  # what FAILED may never have had one
            return each["state"] == InstanceState.READY
        settled = each["state"] in (InstanceState.READY, InstanceState.FAILED)
        runs_suspended = each["suspended"] and status.power == Power.RUNNING
        return settled and (runs_suspended or status.power != each["power"])

    def is_deleting(each: Observed) -> bool:
        return each["state"] == InstanceState.DELETING

    documents = store.instances.list_by_ids(
        each["_id"] for each in observed.values() if is_deleting(each) or differs(each)
    )

    def is_unstopped(each: Observed) -> bool:
        status = found.get(each["_id"])
        seen = each["power"] if status is None else status.power
        return each["state"] == InstanceState.DELETED and Power.STOPPED != seen

    going = [
        each["_id"]
        for each in kept
        if each["_id"] not in touched and (is_deleting(each) or is_unstopped(each))
    ]
    return Drift(
        orphans=[Orphan(name, found[name]) for name in sorted(orphans & found.keys())],
        unclaimed=[Orphan(name, there[name]) for name in sorted(orphans - found.keys())],
        missing=[each for each in documents if each["_id"] not in found and differs(each)],
        changed=[
            Changed(each, found[each["_id"]])
            for each in documents
            if each["_id"] in found and differs(each)
        ],
        deleting=[
            *(each for each in documents if is_deleting(each)),
            *store.deleted.list_by_ids(going),
        ],
    )


def _require(what: str, named: Iterable[str], there: Container[str]) -> None:
    wrong = [name for name in named if name not in there]
    if wrong:
        raise InvalidInput(
            f"Not every id in '{what}' is such a difference of this node.",
            **{what: [f"{name} is none." for name in wrong]},
        )


def _require_once(**named: list[str]) -> None:
    """Raise InvalidInput, with the fields, for ids of which it is not clear what they become."""
    count = Counter(chain.from_iterable(named.values()))
    wrong = {
        what: [f"{name} is named more than once." for name in sorted(twice)]
        for what, names in named.items()
        if (twice := {name for name in names if count[name] > 1})
    }
    if wrong:
        raise InvalidInput("An id may be named once in a request.", **wrong)


def _recreate(store: Store, instance: Instance, *, origin: Origin) -> Operation:
    operation = operations.draft(OperationKind.DEPLOY, instance, origin=origin)

    def write(session: Session) -> None:
        moved = store.instances.move(
            instance["_id"],
            InstanceState.INSTALLING,
            now=origin.now,
            changes={"error": None},
            only_if={"node_id": instance["node_id"]},
            session=session,
        )
        if not moved or replacements.is_open(store, instance["_id"], session=session):
            raise InstanceNotReady("The instance changed meanwhile.")
        store.operations.supersede_waiting(instance["_id"], now=origin.now, session=session)
        store.operations.add(operation, session=session)

    store.transaction(write)
    return operation
