"""What a worker does by itself where a node differs from the documents, on nodes in memory."""

import pytest

from service import drift, instances
from service.model.documents import new_operation
from service.model.lifecycle import OperationKind, OperationStatus, Power
from service.model.origin import Origin
from service.worker.reconcile import GONE, PURSUE_AGAIN_AFTER, reconcile
from tests.support import AT_NOON, DEPLOY, NOON, a_body, eventually, get, run_due


@pytest.fixture
def settle(store, memory_nodes, node):
    """Compare the node with the documents, as a worker does after each probe."""
    return lambda: reconcile(store, memory_nodes, node, now=NOON)


def test_a_container_that_stopped_shows_as_stopped(api, here, ready, settle):
    """Power follows what is seen."""
    here.containers[ready].power = Power.STOPPED

    settle()

    assert "stopped" == get(api, ready)["power"]


def test_a_container_that_is_gone_shows_as_stopped(api, here, ready, settle):
    """And the instance says why; it is not made again by itself, nor forgotten."""
    here.containers.clear()

    settle()

    after = get(api, ready)
    assert ("READY", "stopped", GONE) == (
        after["InternalState"],
        after["power"],
        after["error"],
    )


def test_what_failed_and_runs_shows_as_running(api, store, here, ready, settle):
    """Its state and the reason stay; `power` is what is seen."""
    store.instances.update(ready, {"state": "FAILED", "error": "no", "power": Power.UNKNOWN})

    settle()

    after = get(api, ready)
    assert ("FAILED", "running", "no") == (after["InternalState"], after["power"], after["error"])


def test_what_failed_and_was_suspended_is_stopped(api, store, memory_nodes, here, ready, settle):
    """Somebody started by hand what FAILED and is suspended."""
    store.instances.update(ready, {"state": "FAILED", "suspended": True})

    settle()
    run_due(store, memory_nodes)

    assert Power.STOPPED == here.containers[ready].power


def test_a_suspended_container_that_runs_is_stopped(api, store, memory_nodes, here, ready, settle):
    """Somebody started by hand what is suspended."""
    api.post(f"/api/instances/suspend/{ready}")
    run_due(store, memory_nodes)
    here.containers[ready].power = Power.RUNNING

    settle()
    run_due(store, memory_nodes)

    assert Power.STOPPED == here.containers[ready].power


def test_a_stray_container_is_left_alone(here, ready, settle):
    """Nothing is removed silently."""
    here.containers["istray2345ab"] = here.containers[ready]

    settle()

    assert {"istray2345ab", ready} == here.containers.keys()


def test_a_deletion_that_failed_is_tried_again(api, store, memory_nodes, node, here, ready, settle):
    """Some minutes after a node refused a deletion it is asked again."""
    here.faults.refuse("no")
    instances.delete(store, ready, origin=Origin(NOON - PURSUE_AGAIN_AFTER))
    operation = store.claims.take("a-token", lease_s=30)
    store.claims.finish(
        operation["_id"], "a-token", OperationStatus.FAILED, now=NOON - PURSUE_AGAIN_AFTER
    )
    here.faults.behave()

    settle()
    run_due(store, memory_nodes)

    assert [] == api.get("/api/instances").json


def test_a_deletion_that_just_failed_is_left_alone(api, store, memory_nodes, here, ready, settle):
    """Not every probe asks a node again that just refused."""
    here.faults.refuse("no")
    api.delete("/api/instance/delete", {"id": ready})
    run_due(store, memory_nodes)
    here.faults.behave()

    settle()

    assert 1 == len(api.get(f"/api/operations?instanceId={ready}").json) - 1


def test_an_old_look_does_not_undo_what_was_done_since(store, memory_nodes, node, here, ready):
    """A change that an operation made while the node was compared is not overwritten."""
    stale = store.instances.get(ready)
    here.containers[ready].power = Power.STOPPED
    found = drift.find(store, memory_nodes, node["_id"])
    store.instances.update(ready, {"power": Power.UNKNOWN})

    reconcile(store, memory_nodes, node, drift=found, now=NOON)

    assert [stale] == [changed.instance for changed in found.changed]
    assert stale["power"] == Power.RUNNING
    assert Power.UNKNOWN == store.instances.get(ready)["power"]


@pytest.mark.heavy
def test_a_worker_compares_after_each_probe(api, here, ready, worker):
    """Nobody has to ask: a worker notices by itself."""
    here.containers[ready].power = Power.STOPPED

    assert eventually(lambda: get(api, ready)["power"] == "stopped")


def test_a_removal_spares_an_instance_of_the_same_id(store, memory_nodes, node, here, ready):
    """Should an instance of that id exist when the removal runs, its container stays."""
    removal = new_operation(OperationKind.REMOVE, ready, node["_id"], origin=AT_NOON)
    store.operations.add(removal)

    run_due(store, memory_nodes)

    assert (OperationStatus.SUPERSEDED, True) == (
        store.operations.get(removal["_id"])["status"],
        ready in here.containers,
    )


@pytest.mark.heavy
def test_what_was_deployed_for_a_forgotten_instance_is_removed(
    api, store, memory_nodes, place, here, worker
):
    """A deployment that was under way when its instance was forgotten leaves no orphan behind."""
    here.faults.stall()
    deployed = api.post(DEPLOY, a_body(place)).json
    assert here.faults.await_stalled()
    store.instances._collection.delete_one({"_id": deployed["Id"]})

    here.faults.release()

    operation = deployed["operationId"]
    assert eventually(lambda: store.operations.get(operation)["status"] == "superseded")
    assert {} == here.containers
