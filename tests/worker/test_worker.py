"""How operations are carried out, on nodes in memory and a real database."""

from contextlib import contextmanager
from datetime import timedelta

import pytest

from service import instances, operations
from service.app import utc_now
from service.errors import NodeFailure
from service.model.lifecycle import InstanceState, NodeStatus, OperationKind, OperationStatus, Power
from service.worker.carry_out import MAX_ATTEMPTS, Job, backoff_s, carry_out
from service.worker.interruptions import LeaseLost
from service.worker.loop import Worker
from tests.support import AT_NOON, NOON, a_node, a_user, an_image, an_order, eventually, run_due


@pytest.fixture
def node(store, memory_nodes):
    """A node that is Online."""
    return a_node(store, memory_nodes)


@pytest.fixture
def deployed(store, node):
    """An instance that was taken on, and not yet deployed."""
    order = an_order(a_user(store), node, an_image(store))
    return instances.deploy(store, order, origin=AT_NOON)


def claim(store, *, lease_s=30.0):
    """Claim the operation that is due, as another worker would."""
    operation = store.claims.take("a-token", lease_s=lease_s)
    return Job(store, operation, lease_s=lease_s, now=lambda: NOON)


def test_a_deploy_ends_ready_and_running(store, memory_nodes, deployed):
    """What was taken on is READY and runs once a worker has seen to it."""
    instance, _ = deployed

    run_due(store, memory_nodes)

    after = store.instances.get(instance["_id"])
    assert (InstanceState.READY, Power.RUNNING) == (after["state"], after["power"])


def test_steps_are_written_down(store, memory_nodes, deployed):
    """An operation tells which steps it took, each with its end."""
    _, operation = deployed

    run_due(store, memory_nodes)

    steps = store.operations.get(operation["_id"])["steps"]
    assert [("create", NOON, None), ("start", NOON, None)] == [
        (step["name"], step["ended_at"], step["error"]) for step in steps
    ]


def test_a_refusal_fails_the_instance(store, memory_nodes, node, deployed):
    """What the node says no to is FAILED, with the reason in plain words."""
    instance, _ = deployed
    memory_nodes[node["_id"]].faults.refuse("image not found on the registry")

    run_due(store, memory_nodes)

    after = store.instances.get(instance["_id"])
    assert (InstanceState.FAILED, "image not found on the registry") == (
        after["state"],
        after["error"],
    )


def test_a_silent_node_leaves_it_installing(store, memory_nodes, node, deployed):
    """A node that never answers leaves the instance INSTALLING, to be settled later."""
    instance, operation = deployed
    memory_nodes[node["_id"]].faults.silence()

    run_due(store, memory_nodes)

    states = (
        store.instances.get(instance["_id"])["state"],
        store.operations.get(operation["_id"])["status"],
    )
    assert (InstanceState.INSTALLING, OperationStatus.PENDING) == states


@pytest.mark.heavy
def test_a_node_that_comes_back_settles_it(store, memory_nodes, node, deployed, request):
    """What waited for a silent node is done by itself when the node answers again."""
    instance, operation = deployed
    memory_nodes[node["_id"]].faults.silence()
    request.getfixturevalue("worker")  # which begins at once: with the operation, or with a probe
    assert eventually(
        lambda: (
            store.operations.get(operation["_id"])["next_attempt_at"]
            or store.nodes.get(node["_id"])["status"] == NodeStatus.OFFLINE
        )
    )

    memory_nodes[node["_id"]].faults.behave()

    assert eventually(lambda: store.instances.get(instance["_id"])["state"] == InstanceState.READY)


def test_errors_of_a_node_are_tried_again(store, memory_nodes, node, deployed):
    """An error that may pass is no end: the operation waits for its next attempt."""
    _, operation = deployed
    memory_nodes[node["_id"]].faults.fail_times(1)

    run_due(store, memory_nodes)

    after = store.operations.get(operation["_id"])
    assert (OperationStatus.PENDING, 1) == (after["status"], after["attempts"])


def test_errors_of_a_node_end_some_time(store, memory_nodes, node, deployed):
    """A node that answers with errors for ever leaves nothing INSTALLING for ever."""
    instance, operation = deployed
    memory_nodes[node["_id"]].faults.fail_times(MAX_ATTEMPTS)

    for _ in range(MAX_ATTEMPTS):
        carry_out(claim(store), memory_nodes)
        store.operations.retry_now(operation["_id"])  # as if the pause were over

    assert InstanceState.FAILED == store.instances.get(instance["_id"])["state"]


def test_an_unexpected_error_is_settled_too(store, deployed, caplog):
    """A bug in a driver is logged, and the operation is tried again."""
    _, operation = deployed

    def broken(node, **_):
        raise ZeroDivisionError("a bug")

    carry_out(claim(store), broken)

    assert OperationStatus.PENDING == store.operations.get(operation["_id"])["status"]
    assert "a bug" in caplog.text


def test_attempts_slow_down_to_once_a_minute():
    """The pauses double, up to a minute."""
    pauses = [backoff_s(attempt, chance=lambda: 0) for attempt in (1, 2, 3, 7, 100)]

    assert [1, 2, 4, 60, 60] == pauses


def test_attempts_scatter():
    """Chance takes up to half of a pause away."""
    pauses = [backoff_s(3, chance=lambda lot=lot: lot) for lot in (0, 0.5, 1)]

    assert [4, 3, 2] == pauses


def test_suspended_while_installing_stays_stopped(store, memory_nodes, node, deployed):
    """Who suspends an instance that is INSTALLING finds it READY and stopped."""
    instance, _ = deployed
    instances.suspend(store, instance["_id"], origin=AT_NOON)

    run_due(store, memory_nodes)

    after = store.instances.get(instance["_id"])
    assert (InstanceState.READY, Power.STOPPED, True) == (
        after["state"],
        memory_nodes[node["_id"]].containers[instance["_id"]].power,
        after["suspended"],
    )


@pytest.mark.heavy
def test_suspended_in_the_last_moment_stays_stopped(store, memory_nodes, node, deployed, worker):
    """A suspension that arrives while the container starts is heeded before READY."""
    instance, _ = deployed
    here = memory_nodes[node["_id"]]
    here.faults.stall()
    assert here.faults.await_stalled()
    instances.suspend(store, instance["_id"], origin=AT_NOON)

    here.faults.release()

    assert eventually(lambda: store.instances.get(instance["_id"])["state"] == InstanceState.READY)
    # What stalled may have been a probe, and the deployment done: then the suspension follows it.
    assert eventually(lambda: here.containers[instance["_id"]].power == Power.STOPPED)


def test_delete_supersedes_a_deploy_that_waits(store, memory_nodes, deployed):
    """Deleting what is not yet deployed ends the deployment before it begins."""
    instance, operation = deployed
    instances.delete(store, instance["_id"], origin=AT_NOON)

    run_due(store, memory_nodes)

    assert OperationStatus.SUPERSEDED == store.operations.get(operation["_id"])["status"]


@pytest.mark.heavy
def test_delete_overtakes_a_deploy_that_runs(store, memory_nodes, node, deployed, worker):
    """Deleting what is being deployed leaves neither a document nor a container."""
    instance, _ = deployed
    here = memory_nodes[node["_id"]]
    here.faults.stall()
    assert here.faults.await_stalled()
    instances.delete(store, instance["_id"], origin=AT_NOON)

    here.faults.release()

    assert eventually(lambda: store.instances.find(instance["_id"]) is None)
    assert {} == here.containers


def test_delete_gives_everything_back(store, memory_nodes, node, deployed):
    """After a delete the node has promised nothing, and the port is free."""
    instance, _ = deployed
    run_due(store, memory_nodes)
    instances.delete(store, instance["_id"], origin=AT_NOON)

    run_due(store, memory_nodes)

    nothing = {"memory_mib": 0, "cpu_milli": 0, "disk_mib": 0, "instances": 0}
    assert nothing == store.nodes.get(node["_id"])["allocated"]


def test_a_failed_instance_can_be_deleted(store, memory_nodes, node, deployed):
    """What FAILED keeps its port until it is deleted, and then nothing is left of it."""
    instance, _ = deployed
    memory_nodes[node["_id"]].faults.refuse()
    run_due(store, memory_nodes)
    memory_nodes[node["_id"]].faults.behave()
    instances.delete(store, instance["_id"], origin=AT_NOON)

    run_due(store, memory_nodes)

    assert store.instances.find(instance["_id"]) is None


def test_a_delete_that_a_node_refused_can_be_repeated(store, memory_nodes, node, deployed):
    """A delete that failed leaves the instance DELETING, and the next delete tries again."""
    instance, _ = deployed
    run_due(store, memory_nodes)
    memory_nodes[node["_id"]].faults.refuse()
    first = instances.delete(store, instance["_id"], origin=AT_NOON)
    run_due(store, memory_nodes)
    memory_nodes[node["_id"]].faults.behave()

    second = instances.delete(store, instance["_id"], origin=AT_NOON)
    run_due(store, memory_nodes)

    assert first["_id"] != second["_id"]
    assert store.instances.find(instance["_id"]) is None


def test_a_lost_lease_is_taken_over(store, memory_nodes, deployed):
    """What a dead worker had under way is done by another when its lease has run out."""
    instance, _ = deployed
    claim(store, lease_s=0.001)

    assert eventually(lambda: run_due(store, memory_nodes))

    assert InstanceState.READY == store.instances.get(instance["_id"])["state"]


def test_a_worker_that_comes_back_late_changes_nothing(store, memory_nodes, deployed):
    """Who lost the lease cannot end the operation that somebody else carries out now."""
    _, operation = deployed
    late = claim(store, lease_s=0.001)
    taken = eventually(lambda: store.claims.take("another", lease_s=30))
    assert taken["_id"] == operation["_id"]

    with pytest.raises(LeaseLost):
        late.finish(OperationStatus.FAILED, error="late")

    after = store.operations.get(operation["_id"])
    assert (OperationStatus.RUNNING, "another") == (after["status"], after["lease"]["token"])


@contextmanager
def a_busy_worker(config, store, memory_nodes, here, **over):
    """Start a worker, and yield it when a driver of its is held in the middle of a call."""
    here.faults.stall()
    worker = Worker(store, memory_nodes, threads=4, probe_interval_s=1, now=utc_now, **over)
    worker.start()
    try:
        assert here.faults.await_stalled()
        # It may be a probe that is held, which is not preceded by a claim.
        assert eventually(lambda: any(each["lease"] for each in store.operations.all()))
        yield worker
    finally:
        here.faults.release()
        worker.stop()


@pytest.mark.heavy
def test_a_lease_is_renewed_while_a_driver_is_busy(config, store, memory_nodes, node, deployed):
    """A driver call that outlasts the lease keeps the operation all the same."""
    _, operation = deployed
    here = memory_nodes[node["_id"]]
    with a_busy_worker(config, store, memory_nodes, here, lease_s=3):
        first = store.operations.get(operation["_id"])["lease"]["until"]

        def is_renewed():
            after = store.operations.get(operation["_id"])
            return after["lease"] and after["lease"]["until"] > first + timedelta(seconds=3)

        renewed = eventually(is_renewed)

    assert renewed
    assert 1 == store.operations.get(operation["_id"])["attempts"]


def test_a_stopping_worker_hands_over(config, store, memory_nodes, node, deployed):
    """What is not done when a worker stops may be taken up by another at once."""
    _, operation = deployed
    with a_busy_worker(config, store, memory_nodes, memory_nodes[node["_id"]]) as worker:
        worker.stop(timeout_s=0)

        status = store.operations.get(operation["_id"])["status"]

    assert OperationStatus.PENDING == status


def test_operations_of_one_instance_run_one_at_a_time(store, memory_nodes, deployed):
    """While an operation of an instance runs, no other of it is claimed."""
    instance, _ = deployed
    claim(store)
    instances.delete(store, instance["_id"], origin=AT_NOON)

    second = store.claims.take("another", lease_s=30)

    assert second is None


@pytest.mark.heavy
def test_a_probe_notices_that_a_node_went(store, memory_nodes, node, worker):
    """A node that does not answer its probe is Offline, and says why."""
    memory_nodes[node["_id"]].faults.silence("connection refused")
    store.nodes.update(node["_id"], {"probed_at": None})

    assert eventually(lambda: store.nodes.get(node["_id"])["status"] == "Offline")

    assert "connection refused" == store.nodes.get(node["_id"])["probe_error"]


def test_who_waits_learns_of_a_failure(store, memory_nodes, node, deployed):
    """Waiting for an operation that its node refused raises the node's reason."""
    _, operation = deployed
    memory_nodes[node["_id"]].faults.refuse("no room")
    run_due(store, memory_nodes)

    with pytest.raises(NodeFailure, match="no room"):
        operations.require_success(operations.wait(store, operation, timeout_s=1))


def test_who_waits_does_not_wait_for_ever(store, deployed):
    """Waiting ends after its time with the operation as it is then."""
    _, operation = deployed

    after = operations.wait(store, operation, timeout_s=0.1)

    assert OperationStatus.PENDING == after["status"]


def test_unsuspending_while_a_suspension_waits_supersedes_it(store, memory_nodes, deployed):
    """Of suspend and unsuspend only the last that is wanted is carried out."""
    instance, _ = deployed
    run_due(store, memory_nodes)
    _, suspension = instances.suspend(store, instance["_id"], origin=AT_NOON)
    instances.unsuspend(store, instance["_id"], origin=AT_NOON)

    run_due(store, memory_nodes)

    after = store.operations.get(suspension["_id"])
    assert (OperationKind.SUSPEND, OperationStatus.SUPERSEDED) == (after["kind"], after["status"])
