"""The moves of instances and operations: the tables, and what no walk through them can reach."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service import lifecycle
from service.lifecycle import InstanceState, OperationStatus

INSTANCE_WALKS = st.lists(st.sampled_from(InstanceState), max_size=30)
OPERATION_WALKS = st.lists(st.sampled_from(OperationStatus), max_size=30)


def walk(start, wishes, states_before):
    """Move as the store does, only where the state before allows it; the list of states passed."""
    passed = [start]
    for wish in wishes:
        if passed[-1] in states_before(wish):
            passed.append(wish)
    return passed


@given(wishes=INSTANCE_WALKS)
def test_no_instance_leaves_deleting(wishes):
    """
    Whatever is asked of an instance, in any order, DELETING is the last state it is seen in.
    """
    passed = walk(InstanceState.INSTALLING, wishes, lifecycle.instance_states_before)

    assert InstanceState.DELETING not in passed[:-1]


@given(wishes=INSTANCE_WALKS)
def test_every_verdict_follows_an_installation(wishes):
    """
    READY and FAILED are reached from INSTALLING only: neither becomes the other by itself.
    """
    passed = walk(InstanceState.INSTALLING, wishes, lifecycle.instance_states_before)

    for before, after in itertools.pairwise(passed):
        if after in (InstanceState.READY, InstanceState.FAILED):
            assert InstanceState.INSTALLING == before


@pytest.mark.parametrize("state", [state for state in InstanceState if state != "DELETING"])
def test_every_instance_can_be_deleted(state):
    """
    Whatever became of an instance, deleting it is allowed.
    """
    assert state in lifecycle.instance_states_before(InstanceState.DELETING)


@given(wishes=OPERATION_WALKS)
def test_no_operation_leaves_its_end(wishes):
    """
    Whatever workers do, in any order, an operation that has ended stays as it is.
    """
    passed = walk(OperationStatus.PENDING, wishes, lifecycle.operation_statuses_before)

    assert lifecycle.ENDED.isdisjoint(passed[:-1])


@given(wishes=OPERATION_WALKS)
def test_no_operation_succeeds_without_running(wishes):
    """
    Only a running operation succeeds or fails.
    """
    passed = walk(OperationStatus.PENDING, wishes, lifecycle.operation_statuses_before)

    for before, after in itertools.pairwise(passed):
        if after in (OperationStatus.SUCCEEDED, OperationStatus.FAILED):
            assert OperationStatus.RUNNING == before


def test_two_statuses_are_no_ends():
    """
    Pending and running are left some time; all others are ends.
    """
    assert {OperationStatus.PENDING, OperationStatus.RUNNING} == lifecycle.OPEN
    assert set(OperationStatus) - lifecycle.OPEN == lifecycle.ENDED


def test_a_running_operation_can_be_taken_over():
    """
    Running to running is a move: another worker claims what a silent one held.
    """
    assert OperationStatus.RUNNING in lifecycle.operation_statuses_before(OperationStatus.RUNNING)


@pytest.mark.parametrize(
    ("moves", "states_before"),
    [
        (lifecycle.INSTANCE_MOVES, lifecycle.instance_states_before),
        (lifecycle.OPERATION_MOVES, lifecycle.operation_statuses_before),
    ],
    ids=["instances", "operations"],
)
def test_looking_back_agrees_with_the_table(moves, states_before):
    """
    The states before a state are exactly those whose moves lead to it, for every state there is.
    """
    states = list(type(next(iter(moves))))

    forward = {(before, after) for before in states for after in moves[before]}
    backward = {(before, after) for after in states for before in states_before(after)}

    assert forward == backward


@pytest.mark.parametrize(
    ("moves", "start"),
    [
        (lifecycle.INSTANCE_MOVES, InstanceState.INSTALLING),
        (lifecycle.OPERATION_MOVES, OperationStatus.PENDING),
    ],
    ids=["instances", "operations"],
)
def test_every_state_can_be_reached(moves, start):
    """
    No state stands in the table that nothing ever comes to.
    """
    reached, frontier = {start}, [start]
    while frontier:
        new = moves[frontier.pop()] - reached
        reached |= new
        frontier.extend(new)

    assert set(type(start)) == reached
