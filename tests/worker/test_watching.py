"""What a node says as it happens is written down at once, and right."""

import threading
import time
from contextlib import contextmanager
from datetime import timedelta

import pytest

from service import instances
from service.drivers.memory import MemoryNodes
from service.drivers.memory_container import MemoryFeed
from service.model.lifecycle import (
    InstanceState,
    OperationKind,
    OperationStatus,
    Power,
    PowerAction,
)
from service.worker import heard, watch, watching
from service.worker.watching import Watching
from tests.support import AT_NOON, FAR, NOON, a_node, an_order, eventually, run_due


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    """Wait for nothing."""
    monkeypatch.setattr(heard, "SETTLE_S", 0.01)
    monkeypatch.setattr(heard, "AGAIN_S", 0.02)


@pytest.fixture
def deployed(store, memory_nodes, place):
    """An instance that runs."""
    instance, _ = instances.deploy(store, an_order(*place), origin=AT_NOON)
    run_due(store, memory_nodes)
    return store.instances.get(instance["_id"])


@contextmanager
def following(store, memory_nodes, token="t", **options):
    """Follow the nodes, as a worker does."""
    watches = Watching(store, memory_nodes, token, now=lambda: FAR, **options)
    watches.turn()
    try:
        yield watches
    finally:
        watches.stop()


def await_fields(store, instance, **fields):
    """Wait until the instance has these values."""

    def look():
        found = store.instances.get(instance["_id"])
        return found if all(found.get(name) == value for name, value in fields.items()) else None

    return eventually(look)


def await_feed(node):
    """Wait until somebody follows the node."""
    assert eventually(lambda: node._feeds)


def test_an_end_is_written(store, memory_nodes, deployed, node):
    """With how the run ended."""
    with following(store, memory_nodes):
        await_feed(memory_nodes[node["_id"]])
        memory_nodes[node["_id"]].end_program(deployed["_id"], 137, oom_killed=True)

        assert await_fields(
            store, deployed, power=Power.STOPPED, exit_code=137, oom_killed=True, error=None
        )


def test_what_happened_before_is_written(store, memory_nodes, deployed, node):
    """What is in no feed is compared when it begins."""
    memory_nodes[node["_id"]].end_program(deployed["_id"], 3)

    with following(store, memory_nodes):
        assert await_fields(store, deployed, power=Power.STOPPED, exit_code=3)


def test_what_happened_in_a_gap_is_written(store, memory_nodes, deployed, node, monkeypatch):
    """A feed that is cut is followed anew, and everything compared."""
    monkeypatch.setattr("service.worker.watch.BRIEF_S", 0.0)
    with following(store, memory_nodes):
        await_feed(memory_nodes[node["_id"]])
        memory_nodes[node["_id"]].faults.stall()
        memory_nodes[node["_id"]].cut_feeds()
        memory_nodes[node["_id"]].end_program(deployed["_id"], 3)
        memory_nodes[node["_id"]].faults.release()

        assert await_fields(store, deployed, power=Power.STOPPED, exit_code=3)


def test_a_program_that_is_started_again_is_counted(store, memory_nodes, deployed, node):
    """The reason why it ended is kept, which its node does not say any more."""
    with following(store, memory_nodes):
        await_feed(memory_nodes[node["_id"]])
        memory_nodes[node["_id"]].end_program(deployed["_id"], 137, oom_killed=True, again=True)

        assert await_fields(
            store, deployed, power=Power.RUNNING, restarts=1, exit_code=137, oom_killed=True
        )


def test_what_an_operation_works_on_is_put_off(store, memory_nodes, deployed, node):
    """It is looked at when the operation has ended, as what that saw may be older."""
    instances.change_power(store, deployed["_id"], OperationKind.START, origin=AT_NOON)
    with following(store, memory_nodes):
        await_feed(memory_nodes[node["_id"]])
        memory_nodes[node["_id"]].end_program(deployed["_id"], 3)
        # The operation has it run, and is not over yet.
        claimed = store.claims.take("t", lease_s=30)
        memory_nodes[node["_id"]].end_program(deployed["_id"], 4)
        store.instances.update(deployed["_id"], {"power": Power.RUNNING, "exit_code": None})
        store.claims.finish(claimed["_id"], "t", OperationStatus.SUCCEEDED, now=FAR)

        assert await_fields(store, deployed, power=Power.STOPPED, exit_code=3)


def test_what_was_written_meanwhile_is_newer(store, memory_nodes, deployed, node, monkeypatch):
    """What was read before is not written over it; the container is looked at again."""
    status = type(memory_nodes[node["_id"]]).status
    late = threading.Event()

    def status_of_before(self, instance_id):
        found = status(self, instance_id)
        if not late.is_set():  # meanwhile it is started, and somebody writes that down
            late.set()
            self.containers[instance_id].start()
            store.instances.update(instance_id, {"power": Power.RUNNING})
        return found

    memory_nodes[node["_id"]].containers[deployed["_id"]].end(3)
    monkeypatch.setattr(type(memory_nodes[node["_id"]]), "status", status_of_before)
    with following(store, memory_nodes):
        assert late.wait(20)

        assert await_fields(store, deployed, power=Power.RUNNING, restarts=0)
        assert store.instances.get(deployed["_id"])["power"] == Power.RUNNING


def test_what_runs_suspended_is_stopped(store, memory_nodes, deployed, node):
    """What is wanted becomes an operation again."""
    instances.suspend(store, deployed["_id"], origin=AT_NOON)
    run_due(store, memory_nodes)
    with following(store, memory_nodes):
        await_feed(memory_nodes[node["_id"]])
        memory_nodes[node["_id"]].power(deployed["_id"], PowerAction.START)

        assert eventually(
            lambda: store.operations.find_open(deployed["_id"], OperationKind.SUSPEND)
        )


def test_each_node_is_followed_once(store, memory_nodes, deployed, node):
    """The second worker follows none of the first one's, unless that has many more."""
    with following(store, memory_nodes, "a"), following(store, memory_nodes, "b"):
        assert {node["_id"]: "a"} == store.watches.find_holders()


def test_nodes_are_shared_out(store, memory_nodes):
    """A worker that follows none takes its share of who follows many."""
    for number in range(6):
        a_node(store, memory_nodes, name=f"node-{number}")
    with (
        following(store, memory_nodes, "a") as first,
        following(store, memory_nodes, "b") as second,
    ):
        second.turn()
        first.turn()

        tokens = sorted(store.watches.find_holders().values())
        assert ["a", "a", "a", "b", "b", "b"] == tokens


def test_the_nodes_of_a_worker_that_died_are_followed(store, memory_nodes, deployed, node):
    """As soon as its lease has run out, and what happened meanwhile is written."""
    store.watches.take(node["_id"], "dead", lease_s=0)
    memory_nodes[node["_id"]].end_program(deployed["_id"], 3)

    with following(store, memory_nodes):
        assert await_fields(store, deployed, power=Power.STOPPED)
        assert {node["_id"]: "t"} == store.watches.find_holders()


def test_a_node_that_does_not_answer_is_left(store, memory_nodes, deployed, node):
    """For a while, in which it holds nobody up, and others may try."""
    memory_nodes[node["_id"]].faults.silence()
    with following(store, memory_nodes) as watches:
        assert eventually(lambda: not watches._watches[node["_id"]].is_alive)
        watches.turn()

        assert {} == store.watches.find_holders()


def test_a_silent_node_holds_up_no_other(store, memory_nodes, deployed, node):
    """Each is followed by a thread of its own."""
    other = a_node(store, memory_nodes, name="other")
    memory_nodes[other["_id"]].faults.stall()
    with following(store, memory_nodes):
        await_feed(memory_nodes[node["_id"]])
        memory_nodes[node["_id"]].end_program(deployed["_id"], 3)

        assert await_fields(store, deployed, power=Power.STOPPED)
    memory_nodes[other["_id"]].faults.release()


def test_a_node_that_is_changed_is_followed_anew(store, memory_nodes, deployed, node):
    """It may be another machine by now."""
    with following(store, memory_nodes) as watches:
        before = watches._watches[node["_id"]]
        store.nodes.change(node["_id"], {"updated_at": NOON + timedelta(days=1)})
        watches.turn()
        watches.turn()

        assert before is not watches._watches[node["_id"]]


def test_a_node_that_is_followed_has_no_other_revision(store, memory_nodes, deployed, node):
    """Caches of what names it last."""
    before = store.nodes.get(node["_id"])["revision"]
    with following(store, memory_nodes, lease_s=0.0) as watches:
        await_feed(memory_nodes[node["_id"]])
        watches.turn()

        assert before == store.nodes.get(node["_id"])["revision"]


def test_a_node_that_is_left_is_looked_at_no_more(store, memory_nodes, deployed, node, monkeypatch):
    """What happens after that is seen by whoever follows it then."""
    monkeypatch.setattr(heard, "SETTLE_S", 0.0)
    monkeypatch.setattr(watch, "READ_S", 20.0)
    read, waiting = MemoryFeed.read, threading.Event()

    def read_and_tell(self, wait_s):
        if wait_s:
            waiting.set()
        return read(self, wait_s)

    monkeypatch.setattr(MemoryFeed, "read", read_and_tell)
    with following(store, memory_nodes) as watches:
        assert waiting.wait(20)
        left = watches._watches[node["_id"]]
    memory_nodes[node["_id"]].end_program(deployed["_id"], 3)

    assert eventually(lambda: not left.is_alive)
    assert Power.RUNNING == store.instances.get(deployed["_id"])["power"]


def test_what_is_being_installed_is_left_alone(store, memory_nodes, place, node):
    """Its operation knows better."""
    instance, _ = instances.deploy(store, an_order(*place), origin=AT_NOON)
    with following(store, memory_nodes):
        await_feed(memory_nodes[node["_id"]])

        assert InstanceState.INSTALLING == store.instances.get(instance["_id"])["state"]


def test_drivers_that_tell_nothing_are_not_followed(store, node, monkeypatch):
    """Their nodes are only probed."""
    monkeypatch.setattr(watching, "traits_of", lambda driver: type("T", (), {"tells_power": False}))
    with following(store, MemoryNodes()):
        assert {} == store.watches.find_holders()


def test_much_is_written_as_it_happens_and_more_now_and_then(monkeypatch):
    """A program that keeps ending floods nobody."""
    clock = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    pending, written = heard.Pending(), 0
    for _ in range(600):  # a minute
        clock[0] += 0.1
        pending.add(heard.Hint("i"))
        if pending.take(1):
            pending.count_write("i")
            written += 1

    assert heard.BURST <= written <= heard.BURST + 60 / heard.CALM_S + 1
