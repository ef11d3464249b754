"""The moves of instances and operations: the tables, and what no walk through them can reach."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.model import lifecycle
from service.model.lifecycle import InstanceState, OperationStatus

INSTANCE_WALKS = st.lists(st.sampled_from(InstanceState), max_size=30)


def walk(wishes):
    """Move as the store does, only where the state before allows it; the list of states passed."""
    passed = [InstanceState.INSTALLING]
    for wish in wishes:
        if passed[-1] in lifecycle.instance_states_before(wish):
            passed.append(wish)
    return passed


@given(wishes=INSTANCE_WALKS)
def test_no_instance_leaves_deleting(wishes):
    """
    Whatever is asked of an instance, in any order, DELETING is the last state it is seen in.
    """
    passed = walk(wishes)

    assert InstanceState.DELETING not in passed[:-1]


@given(wishes=INSTANCE_WALKS)
def test_every_verdict_follows_an_installation(wishes):
    """
    READY and FAILED are reached from INSTALLING, or again from DELETED: neither becomes the other.
    """
    passed = walk(wishes)

    for before, after in itertools.pairwise(passed):
        if after in (InstanceState.READY, InstanceState.FAILED):
            assert before in (InstanceState.INSTALLING, InstanceState.DELETED)


@pytest.mark.parametrize("state", [state for state in InstanceState if state != "DELETING"])
def test_every_instance_can_be_deleted(state):
    """
    Whatever became of an instance, deleting it is allowed.
    """
    assert state in lifecycle.instance_states_before(InstanceState.DELETING)


def test_only_what_runs_succeeds_or_fails():
    """
    Nothing is said of an operation's outcome that no worker has begun.
    """
    outcomes = {OperationStatus.SUCCEEDED, OperationStatus.FAILED}

    assert {OperationStatus.RUNNING} == {
        before for before, moves in lifecycle.OPERATION_MOVES.items() if moves & outcomes
    }


def test_two_statuses_are_no_ends():
    """
    Pending and running are left some time; all others are ends.
    """
    assert {OperationStatus.PENDING, OperationStatus.RUNNING} == lifecycle.OPEN
    assert set(OperationStatus) - lifecycle.OPEN == lifecycle.ENDED


def test_looking_back_agrees_with_the_table():
    """
    The states before a state are exactly those whose moves lead to it, for every state there is.
    """
    forward = {
        (before, after) for before, moves in lifecycle.INSTANCE_MOVES.items() for after in moves
    }
    backward = {
        (before, after)
        for after in InstanceState
        for before in lifecycle.instance_states_before(after)
    }

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
