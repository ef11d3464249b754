"""What is measured of drains, of transfers, and of those who get no place."""

from datetime import timedelta

import pytest

from service import deletions, drains, instances, transfers
from service.errors import CapacityExceeded
from service.model.drains import ACTIVE
from service.model.lifecycle import OPEN
from tests.draining import BY_KEY, Fleet
from tests.support import AT_NOON, DEPLOY, a_deploy, a_node, run_due
from tests.telemetry.test_telemetry import find, measure


@pytest.fixture
def counted(api):
    """Return what a counter has more than at the beginning."""
    before = measure(api)

    def counted(name):
        return {
            next(iter(dict(labels).values())): value - before.get((each, labels), 0)
            for (each, labels), value in measure(api).items()
            if each == name and value != before.get((each, labels), 0)
        }

    return counted


def test_what_there_is_none_of_is_told(api):
    """Each status has a series from the start."""
    measured = measure(api)

    told = {
        (name, value)
        for name, labels in measured
        for _, value in labels
        if name in ("skyquay_drains", "skyquay_transfers")
    }
    assert told == {
        *(("skyquay_drains", status) for status in ACTIVE),
        *(("skyquay_transfers", status) for status in OPEN),
    }
    for what in ("left", "stuck"):
        assert 0 == measured[f"skyquay_drain_{what}_instances", frozenset()]


@pytest.mark.heavy
def test_a_drain_is_measured(api, store, memory_nodes):
    """How it is, what is left, and what of this is stuck; one that has ended is not."""
    fleet = Fleet(store, memory_nodes)
    first, *_ = fleet.deploy(3)
    fleet.refusals = {first: CapacityExceeded("Full.")}
    fleet.start()
    fleet.worker().turn()
    begun = measure(api)
    fleet.run()
    blocked = measure(api)
    fleet.refusals = {}
    fleet.now += timedelta(seconds=60)
    fleet.run()

    def read(measured):
        sums = [find(measured, f"skyquay_drain_{what}_instances") for what in ("left", "stuck")]
        return {status: find(measured, "skyquay_drains", status=status) for status in ACTIVE}, sums

    none = dict.fromkeys(ACTIVE, 0)
    assert ({**none, "running": 1}, [3, 1]) == read(begun)
    assert ({**none, "blocked": 1}, [1, 1]) == read(blocked)
    assert (none, [0, 0]) == read(measure(api))


@pytest.mark.heavy
def test_what_keeps_a_drain_from_its_end_is_left(api, store, memory_nodes):
    """Also an instance that is deleted and kept; but nothing of a node that is to get more."""
    fleet = Fleet(store, memory_nodes)
    kept, _ = fleet.deploy(2)
    instances.delete(store, kept, keep_s=60, origin=AT_NOON)
    fleet.start()
    held = measure(api)
    drains.undo(store, fleet.home, move_back=False, origin=BY_KEY)

    name = "skyquay_drain_left_instances"
    assert (2, 0) == (find(held, name), find(measure(api), name))


@pytest.mark.heavy
def test_a_transfer_is_measured(api, store, memory_nodes, place, counted):
    """While it waits, and once it has ended: as an operation, with what it copied."""
    instance_id = api.post(DEPLOY, a_deploy(*place)).json["Id"]
    run_due(store, memory_nodes)
    memory_nodes[place[1]["_id"]].volumes[instance_id] += ["world"]
    target = a_node(store, memory_nodes)
    operation = transfers.begin(store, instance_id, node_id=target["_id"], origin=AT_NOON)[1]
    waiting = measure(api)
    run_due(store, memory_nodes)

    copied = store.operations.get(operation["_id"])["transfer"]["bytes_copied"]
    assert (1, 0) == tuple(
        find(each, "skyquay_transfers", status="pending") for each in (waiting, measure(api))
    )
    assert ({"succeeded": copied}, True) == (
        counted("skyquay_transfer_copied_bytes_total"),
        copied > 0,
    )


def test_what_is_kept_is_measured(api, store, memory_nodes, place):
    """Apart from what is not deleted."""
    instance_id = api.post(DEPLOY, a_deploy(*place)).json["Id"]
    run_due(store, memory_nodes)
    instances.delete(store, instance_id, keep_s=60, origin=AT_NOON)
    kept = measure(api)
    deletions.restore(store, instance_id, {}, origin=AT_NOON)

    assert [(1, 0), (0, 1)] == [
        tuple(find(each, "skyquay_instances", state=state) for state in ("DELETED", "READY"))
        for each in (kept, measure(api))
    ]


def test_refusals_of_quotas_are_counted_by_limit(api, place, counted):
    """By each that would have been passed."""
    user_id = place[0]["_id"]
    api.send("PATCH", f"/api/users/{user_id}", json={"quota": {"memory": 1, "ports": 0}})

    status = api.post(DEPLOY, a_deploy(*place)).status

    assert (409, {"memory": 1, "ports": 1}) == (status, counted("skyquay_quota_refusals_total"))


@pytest.mark.parametrize(
    ("node", "order", "reason"),
    [
        ({"ram": "64M"}, {}, "capacity_exceeded"),
        ({"schedulable": False}, {}, "maintenance"),
        (
            {"portRange": "20000-20000"},
            {"ports": "80:auto,81:auto", "primary": "80:auto"},
            "no_ports",
        ),
        ({"ram": "64M"}, {"nodeId": "auto"}, "capacity_exceeded"),
        ({"schedulable": False}, {"nodeId": "auto"}, "maintenance"),
        ({}, {"nodeId": "auto", "placement": {"tags": ["gpu"]}}, "tag"),
    ],
)
def test_refusals_for_want_of_a_place_are_counted_by_reason(
    api, place, counted, node, order, reason
):
    """Whether the node is named or not."""
    api.send("PATCH", f"/api/nodes/{place[1]['_id']}", json=node)

    status = api.post(DEPLOY, {**a_deploy(*place), **order}).status

    assert (409, {reason: 1}) == (status, counted("skyquay_placement_refusals_total"))


def test_a_refusal_of_all_nodes_counts_once(api, store, memory_nodes, place, counted):
    """By the node that nearly fits."""
    a_node(store, memory_nodes, tags="other")
    api.send("PATCH", f"/api/nodes/{place[1]['_id']}", json={"tags": "gpu", "ram": "64M"})

    api.post(DEPLOY, {**a_deploy(*place), "nodeId": "auto", "placement": {"tags": ["gpu"]}})

    assert {"capacity_exceeded": 1} == counted("skyquay_placement_refusals_total")


def test_where_there_is_no_node_that_is_the_reason(api, place, counted):
    """It is not one of a node."""
    order = {**a_deploy(*place), "nodeId": "auto"}
    api.delete("/api/nodes/delete", {"nodeId": place[1]["_id"]})

    api.post(DEPLOY, order)

    assert {"no_node": 1} == counted("skyquay_placement_refusals_total")


def test_only_what_is_wanted_counts(api, place, counted):
    """No deploy that is only tried, and no change of a node that is being drained."""
    node_id = place[1]["_id"]
    api.post(f"/api/nodes/{node_id}/drain", {})

    tried = api.post(f"{DEPLOY}?dryRun=true", a_deploy(*place)).json["code"]
    changed = api.send("PATCH", f"/api/nodes/{node_id}", json={"schedulable": True}).json["code"]

    assert ("maintenance", "maintenance", {}) == (
        tried,
        changed,
        counted("skyquay_placement_refusals_total"),
    )
