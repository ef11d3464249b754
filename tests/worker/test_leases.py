"""Who lost a lease writes nothing and touches no node; whoever takes over carries on."""

import signal
import sys
import threading
from datetime import timedelta
from pathlib import Path

import pytest

from service import instances
from service.model.lifecycle import InstanceState, OperationStatus, Power
from service.worker.carry_out import Job, carry_out
from service.worker.interruptions import LeaseLost
from tests.sick_engines import SickEngines
from tests.support import AT_NOON, NOON, a_node, an_order, eventually, run_due

BRIEF_WORKER = (Path(sys.executable), "-m", "tests.brief_worker")

SHORT_S = 0.2
"""A lease that runs out while a test waits for it."""


@pytest.fixture
def deployed(store, place):
    """An instance that was taken on, and its operation."""
    return instances.deploy(store, an_order(*place), origin=AT_NOON)


@pytest.fixture
def ready(store, memory_nodes, deployed):
    """The id of an instance that runs."""
    run_due(store, memory_nodes)
    return deployed[0]["_id"]


def claim(store, lease_s=SHORT_S):
    """Claim the operation that is due, and renew nothing."""
    operation = store.claims.take("late", lease_s=lease_s)
    return Job(store, operation, lease_s=lease_s, now=lambda: NOON)


def is_lost(job):
    """Return whether the job's lease has run out."""
    try:
        job.check_lease()
    except LeaseLost:
        return True
    return False


def carry_out_late(store, open_driver, here, *, lost=lambda: None):
    """Carry an operation out that is held inside the node until the lease was `lost`."""
    job = claim(store)
    here.faults.stall()
    late = threading.Thread(target=carry_out, args=(job, open_driver), daemon=True)
    late.start()
    assert here.faults.await_stalled()
    assert eventually(lambda: is_lost(job))
    lost()
    here.faults.release()
    late.join(20)
    assert not late.is_alive()


def test_who_lost_the_lease_before_the_first_step_writes_nothing(store, memory_nodes, deployed):
    """A worker that was frozen leaves the operation as it is, for whoever takes it over."""
    job = claim(store)
    assert eventually(lambda: is_lost(job))

    carry_out(job, memory_nodes)

    assert job.operation == store.operations.get(job.operation["_id"])


def test_who_lost_the_lease_in_the_middle_writes_nothing(store, memory_nodes, here, deployed, look):
    """What a late worker learns from the node is not written down any more."""
    seen = []

    carry_out_late(store, memory_nodes, here, lost=lambda: seen.append(look()))

    assert [look()] == seen


def test_what_nobody_took_over_is_carried_on(store, memory_nodes, here, deployed):
    """A lone worker that was frozen past its lease finds its own deploy again, and ends it."""
    instance, operation = deployed
    carry_out_late(store, memory_nodes, here)

    assert eventually(lambda: run_due(store, memory_nodes))

    assert (OperationStatus.SUCCEEDED, InstanceState.READY) == (
        store.operations.get(operation["_id"])["status"],
        store.instances.get(instance["_id"])["state"],
    )


def test_a_failure_that_comes_late_is_not_written(store, memory_nodes, here, deployed):
    """A refusal that arrives after the lease fails nothing: it may be of another time."""
    instance, operation = deployed
    here.faults.refuse("no room")
    carry_out_late(store, memory_nodes, here)

    assert (OperationStatus.RUNNING, InstanceState.INSTALLING, None) == (
        store.operations.get(operation["_id"])["status"],
        store.instances.get(instance["_id"])["state"],
        store.instances.get(instance["_id"])["error"],
    )


def test_a_lease_that_was_lost_is_not_renewed(store, deployed):
    """Once a worker has seen that its lease ran out, others are not kept waiting for it."""
    job = claim(store)
    assert eventually(lambda: is_lost(job))

    job.renew()

    assert job.operation == store.operations.get(job.operation["_id"])


def test_what_was_handed_over_is_not_gone_on_with(store, deployed):
    """A worker that stops hands its operations over, and then touches nothing of them."""
    job = claim(store, lease_s=30)

    job.reschedule(delay_s=0)

    assert is_lost(job)


def test_a_late_worker_does_not_stop_anything(store, memory_nodes, here, ready):
    """The node is not touched by who lost the lease, also where nobody has taken it over."""
    instances.suspend(store, ready, origin=AT_NOON)

    carry_out_late(store, memory_nodes, here)

    assert Power.RUNNING == here.containers[ready].power


def test_a_late_worker_does_not_remove_anything(store, memory_nodes, here, ready):
    """A deletion that was held up is done by whoever takes it over."""
    instances.delete(store, ready, origin=AT_NOON)

    carry_out_late(store, memory_nodes, here)

    assert [ready] == list(here.containers)


@pytest.mark.spawns
def test_a_lone_worker_that_was_frozen_ends_its_deploy(store, memory_nodes, place, programs):
    """A worker process that was stopped past its lease and goes on does not throw its work away."""
    user, _, image = place
    with SickEngines(1) as engines:
        node = a_node(
            store, memory_nodes, driver="docker", address="127.0.0.1", port=engines.ports[0]
        )
        instance, operation = instances.deploy(store, an_order(user, node, image), origin=AT_NOON)
        worker = programs(*BRIEF_WORKER, "1", SKYQUAY_ALLOW_LOOPBACK_NODES="1")
        assert eventually(lambda: engines.holding, timeout_s=60)
        worker.send_signal(signal.SIGSTOP)
        lease = store.operations.get(operation["_id"])["lease"]
        assert eventually(lambda: store.server_time() > lease["until"] + timedelta(seconds=1))
        engines.heal()
        worker.send_signal(signal.SIGCONT)

        ended = eventually(
            lambda: store.operations.get(operation["_id"])["status"] == OperationStatus.SUCCEEDED,
            timeout_s=60,
        )
        assert (True, InstanceState.READY) == (
            ended,
            store.instances.get(instance["_id"])["state"],
        )
