"""How the instances of a node that is drained are moved, a few at a time, on a real database.

The transfers themselves are doubles: they hold what a transfer holds, and end when they are told.
"""

from datetime import timedelta

import pytest

from service import deletions, drains, instances, nodes
from service.errors import (
    CapacityExceeded,
    InstanceNotReady,
    Maintenance,
    NodeOffline,
    NotSupported,
)
from service.model.drains import UNDO_ATTEMPTS, DrainStatus, WaitingFor
from service.model.lifecycle import NodeStatus
from tests.draining import BY_KEY, Crash, Fleet
from tests.support import AT_NOON, NOON, a_node, run_due


@pytest.fixture
def fleet(store, database, memory_nodes):
    """Three nodes, without instances. No worker of an earlier test has the duty any more."""
    database["meta"].delete_one({"_id": "drains"})
    return Fleet(store, memory_nodes)


@pytest.mark.heavy
def test_twenty_instances_are_moved_two_at_a_time(fleet):
    """The node is empty then, and the drain is done."""
    fleet.deploy(20)
    fleet.start()

    fleet.run()

    assert (0, 2, DrainStatus.DONE) == (fleet.count_home(), fleet.most_open, fleet.status())
    assert 20 == len(fleet.drain()["moved"])


@pytest.mark.heavy
def test_as_many_are_on_their_way_as_was_said(fleet):
    """`atOnce` is a bound, whoever begins."""
    fleet.deploy(9)
    fleet.start(at_once=5)

    fleet.worker().turn()
    fleet.worker("another").take_turn(fleet.drain())

    assert 5 == len(fleet.list_open())


def test_a_drain_begins_with_the_refusal_of_instances(fleet):
    """A deploy is refused from the start on."""
    fleet.start()

    with pytest.raises(Maintenance):
        fleet.deploy(1)


def test_a_drain_of_an_empty_node_is_done_at_its_first_turn(fleet):
    """There is nothing to wait for."""
    fleet.start()

    fleet.worker().turn()

    assert DrainStatus.DONE == fleet.status()


@pytest.mark.parametrize("crash_at", ["before", "after"])
def test_a_crash_begins_none_twice(fleet, crash_at):
    """Whatever the worker that died had begun is known to the next one."""
    [instance_id] = fleet.deploy(1)
    fleet.start()
    fleet.crash_at = crash_at
    with pytest.raises(Crash):
        fleet.worker().take_turn(fleet.drain())
    fleet.crash_at = None

    fleet.worker("next").take_turn(fleet.drain())

    [operation] = fleet.store.operations.list_newest({"kind": "restart"}, limit=9)
    assert operation["_id"] == fleet.drain()["moving"][instance_id]["operation_id"]


@pytest.mark.heavy
def test_a_crash_after_an_arrival_counts_it_once(fleet):
    """What arrived is written down by the next worker; once more changes nothing."""
    fleet.deploy(1)
    fleet.start()
    fleet.worker().turn()
    before = fleet.drain()
    fleet.end_all()

    fleet.worker().take_turn(before)
    fleet.worker("late").take_turn(before)

    assert (1, DrainStatus.DONE) == (len(fleet.drain()["moved"]), fleet.status())


def test_a_worker_without_the_duty_does_nothing(fleet):
    """One of two workers attends to drains, until it leaves that to the other."""
    fleet.deploy(1)
    fleet.start()
    fleet.store.drain_duty.take("first", lease_s=60)

    fleet.worker("second").turn()
    assert [] == fleet.list_open()
    fleet.store.drain_duty.release("first")
    fleet.worker("second").turn()

    assert 1 == len(fleet.list_open())


@pytest.mark.heavy
def test_a_pause_that_comes_in_between_is_heeded(fleet):
    """A worker that read the drain before begins nothing any more."""
    fleet.deploy(3)
    fleet.start()
    before = fleet.drain()
    drains.pause(fleet.store, fleet.home, origin=BY_KEY)

    fleet.worker().take_turn(before)

    assert ([], DrainStatus.PAUSED) == (fleet.list_open(), fleet.status())


@pytest.mark.heavy
def test_what_is_on_its_way_arrives_while_paused(fleet):
    """And nothing more is begun; resuming goes on."""
    fleet.deploy(5)
    fleet.start()
    fleet.worker().turn()
    drains.pause(fleet.store, fleet.home, origin=BY_KEY)
    fleet.run()
    assert (3, DrainStatus.PAUSED) == (fleet.count_home(), fleet.status())

    drains.resume(fleet.store, fleet.home, origin=BY_KEY)
    fleet.run()

    assert (0, DrainStatus.DONE) == (fleet.count_home(), fleet.status())


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("refusal", "code", "reason"),
    [
        (InstanceNotReady("It is FAILED."), "instance_not_ready", "It is FAILED."),
        (NotSupported("No."), "no_node_fits", "None of the nodes fits. n1: No.; n2: No."),
        (
            CapacityExceeded("Full."),
            "no_node_fits",
            "None of the nodes fits. n1: Full.; n2: Full.",
        ),
        (NodeOffline("its own", "Gone."), "node_offline", "Gone. nodeId: its own"),
    ],
)
def test_what_cannot_be_moved_is_stuck_with_the_reason(fleet, refusal, code, reason):
    """The others are moved all the same; then the drain is blocked."""
    stays, *_ = fleet.deploy(4)
    fleet.refusals[stays] = refusal
    fleet.start()

    fleet.run()

    stuck = fleet.drain()["stuck"]
    assert ([stays], DrainStatus.BLOCKED) == ([*stuck], fleet.status())
    assert (code, reason) == (stuck[stays]["code"], stuck[stays]["reason"])


@pytest.mark.heavy
def test_a_node_that_refuses_is_passed_over(fleet):
    """The next best one gets the instance."""
    fleet.deploy(1)
    fleet.refusals[fleet.nodes[1]] = Maintenance("No.")
    fleet.start()

    fleet.run()

    assert [fleet.nodes[2]] == [*fleet.drain()["moved"].values()]


def test_of_many_nodes_some_are_named(fleet, memory_nodes):
    """A few are tried, and the others may still take it; what is kept of each instance is short."""
    fleet.nodes += [a_node(fleet.store, memory_nodes, name=f"m{n}")["_id"] for n in range(6)]
    [stays] = fleet.deploy(1)
    fleet.refusals[stays] = CapacityExceeded("Full.")
    fleet.start()

    fleet.run()

    reason = fleet.drain()["stuck"][stays]["reason"]
    assert reason.startswith("None of the best nodes fits; 3 more may. ")
    assert 5 == reason.count(": Full.")


@pytest.mark.heavy
def test_what_does_not_fit_back_says_why(fleet):
    """Of the one node that it is to return to."""
    [moved] = fleet.deploy(1)
    fleet.start()
    fleet.run()
    fleet.refusals[fleet.home] = CapacityExceeded("Full.")
    drains.undo(fleet.store, fleet.home, move_back=True, origin=BY_KEY)

    fleet.worker().turn()

    stuck = fleet.drain()["stuck"][moved]
    assert ("capacity_exceeded", "Full.") == (stuck["code"], stuck["reason"])


@pytest.mark.heavy
def test_what_is_stuck_is_tried_again_later(fleet):
    """Not at once, and then it moves on by itself."""
    [stays] = fleet.deploy(1)
    fleet.refusals[stays] = CapacityExceeded("Full.")
    fleet.start()
    fleet.run()
    fleet.refusals.clear()
    fleet.run()
    assert DrainStatus.BLOCKED == fleet.status()

    fleet.now += timedelta(seconds=5)
    fleet.run()

    assert DrainStatus.DONE == fleet.status()


@pytest.mark.heavy
def test_resuming_tries_what_is_stuck_at_once(fleet):
    """The operator knows that something changed."""
    [stays] = fleet.deploy(1)
    fleet.refusals[stays] = CapacityExceeded("Full.")
    fleet.start()
    fleet.run()
    fleet.refusals.clear()

    drains.resume(fleet.store, fleet.home, origin=BY_KEY)
    fleet.run()

    assert DrainStatus.DONE == fleet.status()


def test_a_transfer_that_fails_makes_its_instance_stuck(fleet):
    """With the reason of the operation, and it is tried again after a while."""
    [stays] = fleet.deploy(1)
    fleet.start()
    fleet.worker().turn()
    fleet.end_all(error="The node died.")

    fleet.worker().turn()

    stuck = fleet.drain()["stuck"][stays]
    assert ("The node died.", 1) == (stuck["reason"], stuck["attempts"])
    assert (DrainStatus.BLOCKED, []) == (fleet.status(), fleet.list_open())


@pytest.mark.heavy
def test_a_stuck_instance_that_is_deleted_is_forgotten(fleet, memory_nodes):
    """It keeps no drain from its end."""
    [stays] = fleet.deploy(1)
    fleet.refusals[stays] = CapacityExceeded("Full.")
    fleet.start()
    fleet.run()
    instances.delete(fleet.store, stays, origin=AT_NOON)
    run_due(fleet.store, memory_nodes)

    fleet.run()

    assert ({}, DrainStatus.DONE) == (fleet.drain()["stuck"], fleet.status())


@pytest.mark.heavy
def test_what_is_being_installed_is_waited_for(fleet, memory_nodes):
    """It is not stuck, and moves once it is READY."""
    fleet.deploy(1, settle=False)
    fleet.start()
    fleet.worker().turn()
    drain = fleet.drain()
    assert (WaitingFor.OPERATIONS, {}) == (drain["waiting_for"], drain["stuck"])

    run_due(fleet.store, memory_nodes)
    fleet.run()

    assert (DrainStatus.DONE, None) == (fleet.status(), fleet.drain()["waiting_for"])


@pytest.mark.heavy
def test_a_node_that_is_down_is_waited_for(fleet):
    """Nothing is begun, nothing is stuck, and it goes on when the node is back."""
    fleet.deploy(2)
    fleet.start()
    fleet.store.nodes.update(fleet.home, {"status": NodeStatus.OFFLINE})
    fleet.run()
    drain = fleet.drain()
    assert (WaitingFor.NODE, {}, 2) == (drain["waiting_for"], drain["stuck"], fleet.count_home())

    fleet.store.nodes.update(fleet.home, {"status": NodeStatus.ONLINE})
    fleet.run()

    assert DrainStatus.DONE == fleet.status()


@pytest.mark.heavy
def test_what_is_kept_on_the_node_is_waited_for(fleet, memory_nodes):
    """Its files are there, until it is purged. What is restored is moved like all others."""
    restored, purged = fleet.deploy(2)
    for each in (restored, purged):
        instances.delete(fleet.store, each, keep_s=60, origin=AT_NOON)
    run_due(fleet.store, memory_nodes)
    fleet.start()
    fleet.run()
    assert (DrainStatus.RUNNING, WaitingFor.KEPT) == (fleet.status(), fleet.drain()["waiting_for"])

    deletions.restore(fleet.store, restored, {}, origin=AT_NOON)
    run_due(fleet.store, memory_nodes)
    fleet.run()
    assert (DrainStatus.RUNNING, [restored]) == (fleet.status(), [*fleet.drain()["moved"]])
    instances.delete(fleet.store, purged, purges=True, origin=AT_NOON)
    run_due(fleet.store, memory_nodes)
    fleet.run()

    assert (DrainStatus.DONE, None) == (fleet.status(), fleet.drain()["waiting_for"])


@pytest.mark.heavy
def test_a_node_that_dies_meanwhile_is_said(fleet):
    """Also while as many are on their way as may be; and no longer once it is back, or paused."""
    fleet.deploy(3)
    fleet.start()
    fleet.worker().turn()
    said = []
    for status in (NodeStatus.OFFLINE, NodeStatus.ONLINE, NodeStatus.OFFLINE):
        fleet.store.nodes.update(fleet.home, {"status": status})
        fleet.worker().turn()
        said.append(fleet.drain()["waiting_for"])

    drains.pause(fleet.store, fleet.home, origin=BY_KEY)

    assert [WaitingFor.NODE, None, WaitingFor.NODE] == said
    assert None is fleet.drain()["waiting_for"]


@pytest.mark.heavy
def test_an_undo_lets_what_is_on_its_way_arrive(fleet):
    """Nothing more is begun, and the node gets instances at once."""
    fleet.deploy(5)
    fleet.start()
    fleet.worker().turn()

    drains.undo(fleet.store, fleet.home, move_back=False, origin=BY_KEY)
    assert DrainStatus.UNDOING == fleet.status()
    fleet.deploy(1, settle=False)
    fleet.end(fleet.list_open()[0])
    fleet.run()

    assert DrainStatus.UNDONE == fleet.status()


@pytest.mark.parametrize("schedulable", [True, False])
def test_an_undo_leaves_the_node_as_it_was(fleet, schedulable):
    """One that got no instances before gets none after either."""
    fleet.store.nodes.change(fleet.home, {"schedulable": schedulable})
    fleet.start()
    fleet.run()
    fleet.start()

    drains.undo(fleet.store, fleet.home, move_back=False, origin=BY_KEY)

    assert schedulable == fleet.store.nodes.get(fleet.home)["schedulable"]


@pytest.mark.heavy
def test_an_undo_moves_back_what_was_moved(fleet):
    """Also what was on its way; what somebody moved elsewhere since stays there."""
    made = fleet.deploy(5)
    fleet.start()
    fleet.run(turns=3)
    fleet.worker().turn()
    moved = next(iter(fleet.drain()["moved"]))
    elsewhere = {fleet.nodes[1]: fleet.nodes[2], fleet.nodes[2]: fleet.nodes[1]}
    where = fleet.store.instances.get(moved)["node_id"]
    fleet.store.instances.change(moved, {"node_id": elsewhere[where]})

    drains.undo(fleet.store, fleet.home, move_back=True, origin=BY_KEY)
    fleet.run()

    assert DrainStatus.UNDONE == fleet.status()
    assert {*made} - {moved} == {*fleet.store.instances.list_ids_on(fleet.home)}


@pytest.mark.heavy
def test_what_cannot_be_moved_back_is_left(fleet):
    """After a few attempts it is said, and the undo ends."""
    [moved] = fleet.deploy(1)
    fleet.start()
    fleet.run()
    fleet.refusals[fleet.home] = CapacityExceeded("Full.")
    drains.undo(fleet.store, fleet.home, move_back=True, origin=BY_KEY)

    for _ in range(UNDO_ATTEMPTS):
        assert DrainStatus.UNDOING == fleet.status()
        fleet.run()
        fleet.now += timedelta(seconds=60)

    assert (DrainStatus.UNDONE, [moved]) == (fleet.status(), [*fleet.drain()["stuck"]])


@pytest.mark.heavy
def test_a_drain_that_is_being_undone_can_go_on(fleet):
    """It keeps what it knows: how the node was before, and what is on its way."""
    fleet.deploy(3)
    fleet.start()
    fleet.worker().turn()
    drains.undo(fleet.store, fleet.home, move_back=True, origin=BY_KEY)

    fleet.start()
    fleet.run()

    assert (0, DrainStatus.DONE) == (fleet.count_home(), fleet.status())
    assert fleet.drain()["schedulable_before"]


@pytest.mark.heavy
def test_a_node_that_goes_takes_its_drain_along(fleet):
    """A worker that read the drain before does nothing more."""
    fleet.deploy(2)
    fleet.start()
    fleet.worker().turn()
    before = fleet.drain()

    nodes.delete(fleet.store, fleet.home, force=True, now=NOON)
    fleet.worker().take_turn(before)

    assert None is fleet.store.drains.find(fleet.home)


def test_each_move_is_in_the_audit_log(fleet):
    """With the key that asked for the drain."""
    [instance_id] = fleet.deploy(1)
    fleet.start()

    fleet.worker().turn()

    [entry] = fleet.store.audit.list_newest({}, since=None, before=None, limit=9)
    assert ("drain.move", instance_id, "a-key") == (
        entry["action"],
        entry["target_id"],
        entry["key_id"],
    )
