"""When a worker looks for work: when there may be some, and hardly ever else."""

import threading
from contextlib import closing, contextmanager

import pytest

from service import instances
from service.app import make_deliveries, utc_now
from service.model.lifecycle import OperationStatus
from service.model.ports import parse
from service.store import Store
from service.store.due import LOOK, Look
from service.worker import fan_out
from service.worker.loop import Worker
from tests.support import AT_NOON, an_order, eventually, run_due

LONG_S = 3600.0
"""As good as never: the worker does not look by itself."""


def a_worker(store, open_driver, **over):
    """Make a worker that looks for work only when something tells it to."""
    settings = {"threads": 4, "look_again_s": LONG_S, "probe_interval_s": LONG_S, **over}
    return Worker(store, open_driver, now=utc_now, **settings)


@contextmanager
def working(*args, **over):
    """Have such a worker work for a while."""
    worker = a_worker(*args, **over)
    worker.start()
    try:
        yield worker
    finally:
        worker.stop()


def deploy(store, place, port=8080):
    """Take on an instance; answer its operation's id."""
    order = an_order(*place, ports=parse(f"80:{port}"), primary=port)
    return instances.deploy(store, order, origin=AT_NOON)[1]["_id"]


def is_done(store, operation_id):
    """Return whether the operation succeeded."""
    return store.operations.get(operation_id)["status"] == OperationStatus.SUCCEEDED


@pytest.mark.heavy
def test_a_worker_is_woken(store, memory_nodes, place):
    """Operations are done one after the other, as they come, by one that never looks by itself."""
    with working(store, memory_nodes):
        for port in (8080, 8081, 8082):
            operation_id = deploy(store, place, port)
            assert eventually(lambda wanted=operation_id: is_done(store, wanted))


@pytest.mark.heavy
def test_a_worker_wakes_when_something_is_due(store, memory_nodes, place):
    """The time of the next attempt is known, so nobody has to look before that."""
    operation_id = deploy(store, place)
    assert store.claims.take("another", lease_s=30)
    store.claims.postpone(operation_id, "another", delay_s=0.5)

    with working(store, memory_nodes):
        assert eventually(lambda: is_done(store, operation_id))


@pytest.mark.heavy
def test_a_worker_wakes_when_a_lease_runs_out(store, memory_nodes, place):
    """A dead worker says nothing, but when its lease ends is known."""
    operation_id = deploy(store, place)
    assert store.claims.take("the dead", lease_s=0.5)

    with working(store, memory_nodes):
        assert eventually(lambda: is_done(store, operation_id))


@pytest.mark.heavy
def test_a_worker_needs_no_stream(store, memory_nodes, place):
    """One that is told nothing looks by itself."""
    with working(store, memory_nodes, look_again_s=0.05) as worker:
        store.changes.unsubscribe(worker._wake)

        operation_id = deploy(store, place)

        assert eventually(lambda: is_done(store, operation_id))


def test_a_stop_ends_the_pause(store, memory_nodes):
    """A worker that waits for work ends at once, and nobody wakes it any more."""
    worker = a_worker(store, memory_nodes)
    worker.start()
    assert eventually(lambda: worker._wake in store.changes._wakers)

    worker.stop()

    assert not any(each.is_alive() for each in worker._takers)
    assert worker._wake not in store.changes._wakers


def test_a_stop_ends_the_pause_of_who_waits_for_events(config, store, memory_nodes, monkeypatch):
    """A worker that makes deliveries ends at once, however seldom it looks for events itself."""
    monkeypatch.setattr(fan_out, "LOOK_AGAIN_S", LONG_S)
    with working(store, memory_nodes, deliveries=make_deliveries(config)) as worker:
        assert eventually(lambda: store.changes._listeners)

    assert not any(each.is_alive() for each in worker._attendance._tellers)


def test_no_thread_is_left(config, store, memory_nodes, place):
    """Neither of a worker that was stopped, nor of a store that was closed."""
    before = set(threading.enumerate())
    with closing(Store(config.mongodb_uri, config.database)) as own, working(own, memory_nodes):
        assert eventually(lambda: own.changes._thread)
        operation_id = deploy(store, place)
        assert eventually(lambda: is_done(store, operation_id))

    assert eventually(lambda: not list_threads(besides=before))


def list_threads(*, besides):
    """Name the threads that are neither of those nor PyMongo's."""
    ours = set(threading.enumerate()) - besides
    return [each.name for each in ours if not each.name.startswith("pymongo")]


@pytest.mark.parametrize("waiting", [0, 3])
def test_a_look_is_one_query(config, store, memory_nodes, place, waiting):
    """Also when many operations wait for their time."""
    for number in range(waiting):
        operation_id = deploy(store, place, 8080 + number)
        assert store.claims.take("another", lease_s=30)
        store.claims.postpone(operation_id, "another", delay_s=LONG_S)
    commands = []
    with closing(
        Store(
            config.mongodb_uri,
            config.database,
            record_command=lambda command, *_: commands.append(command),
        )
    ) as counted:
        counted.ping()
        commands.clear()

        assert not a_worker(counted, memory_nodes).claim_one()

        assert ["aggregate"] == commands


def list_stages(plan):
    """List the stages of a plan that read something, with what they examined."""
    if isinstance(plan, list):
        return [stage for each in plan for stage in list_stages(each)]
    if not isinstance(plan, dict):
        return []
    below = [stage for each in plan.values() for stage in list_stages(each)]
    return [*below, plan] if "keysExamined" in plan and "indexName" in plan else below


@pytest.mark.heavy
def test_a_look_reads_an_entry_for_each_node(store, database, memory_nodes, place):
    """Not one for each operation that waits, and no document of those."""
    for number in range(20):
        deploy(store, place, 8080 + number)

    explained = database.command(
        "explain",
        {"aggregate": "operations", "pipeline": LOOK[:3], "cursor": {}},
        verbosity="executionStats",
    )
    stages = list_stages(explained)
    whole = database.command("explain", {"aggregate": "operations", "pipeline": LOOK, "cursor": {}})

    assert [("DISTINCT_SCAN", "status_1_node_id_1_next_attempt_at_1", True)] == [
        (stage["stage"], stage["indexName"], stage["keysExamined"] <= 2) for stage in stages
    ]
    assert "COLLSCAN" not in str(whole)


def test_nothing_is_due_before_its_time(store, memory_nodes, place):
    """A look tells in how many seconds it is."""
    operation_id = deploy(store, place)
    assert store.claims.take("another", lease_s=30)
    store.claims.postpone(operation_id, "another", delay_s=60)

    look = store.claims.look()

    assert (False, True) == (look.is_due, 0 < look.next_s <= 60)
    store.operations.retry_now(operation_id)
    assert store.claims.look().is_due


def test_a_lease_that_ran_out_is_due():
    """Of what runs the next event is the end of its lease."""
    running = {"node_id": "n", "kind": "deploy", "slow_in_ms": 700, "is_slow": False}

    held = Look([{**running, "free_in_ms": 5000, "is_orphan": False}])
    lost = Look([{**running, "free_in_ms": -1, "is_orphan": True}])

    assert [(False, 5.0), (True, float("inf"))] == [
        (look.is_due, look.next_s) for look in (held, lost)
    ]


def test_what_waits_behind_others_is_looked_at_when_those_are_slow():
    """An operation that runs for long gives its thread up, which nobody writes down."""
    running = {
        "node_id": "n", "kind": "deploy", "slow_in_ms": 700, "is_slow": False,
        "free_in_ms": 5000, "is_orphan": False,
    }  # fmt: skip

    look = Look([running, {"_id": "n", "due_in_ms": 0}])

    assert 0.7 == look.next_s


def test_nothing_is_left_to_do(store, memory_nodes, place):
    """After the last operation nothing is due, now or later."""
    deploy(store, place)
    run_due(store, memory_nodes)

    look = store.claims.look()

    assert (False, float("inf")) == (look.is_due, look.next_s)
