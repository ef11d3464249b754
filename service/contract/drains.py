"""Drains of nodes on the wire."""

from typing import Any

import marshmallow as ma

from service.contract import answers, fields
from service.contract.answers import Answer, Json
from service.contract.base import SingleField, StrictRequest
from service.model.documents import DrainProgress
from service.model.drains import DEFAULT_AT_ONCE, MOST_AT_ONCE, DrainStatus, WaitingFor

MOST_SHOWN = 100
"""How many instances that are stuck an answer names."""


class StartDrain(StrictRequest[int | None], SingleField[int | None]):
    """How a node is to be drained."""

    at_once = fields.count(
        longest=MOST_AT_ONCE,
        data_key="atOnce",
        load_default=None,
        metadata={
            "description": f"How many instances are on their way at a time; {DEFAULT_AT_ONCE} if "
            "absent, or as before where a drain is on.",
            "sample": DEFAULT_AT_ONCE,
        },
    )


class UndoQuery(SingleField[bool]):
    """What becomes of what was moved."""

    move_back = ma.fields.Boolean(
        data_key="moveBack",
        load_default=False,
        metadata={"description": "Move back what was moved, where it still is there and fits."},
    )


class MovingAnswer(Answer[Json]):
    """An instance that is on its way to another node."""

    instanceId = answers.text(fields.INSTANCE_ID, of="instance_id")
    nodeId = answers.text("8f3b1c5d7e9a2b4c", of="node_id", description="Where it goes.")
    operationId = answers.text(fields.OPERATION_ID, of="operation_id")
    since = answers.time(fields.WHEN)


class StuckAnswer(Answer[Json]):
    """An instance that could not be moved."""

    instanceId = answers.text(fields.INSTANCE_ID, of="instance_id")
    code = answers.text("instance_not_ready", description="As of errors.")
    reason = answers.text("The instance is FAILED.")
    attempts = answers.integer(1)
    nextAttemptAt = answers.time(fields.WHEN, of="next_attempt_at")


def _list_each(by_id: dict[str, Any]) -> list[Json]:
    return [{"instance_id": instance_id, **by_id[instance_id]} for instance_id in sorted(by_id)]


def _list_stuck(drain: DrainProgress) -> list[Json]:
    """List what is stuck, without what is tried again just now."""
    stuck, moving = drain["stuck"], drain["moving"]
    return _list_each({name: stuck[name] for name in stuck if name not in moving})


class DrainAnswer(Answer[DrainProgress]):
    """How far the instances of a node are moved elsewhere."""

    nodeId = answers.text(fields.NODE_ID, of="_id")
    status = answers.choice(DrainStatus, "running")
    waitingFor = answers.choice(
        WaitingFor,
        None,
        of="waiting_for",
        null=True,
        description="What it waits for before it goes on: that the node answers, that its "
        "operations end, or that what is deleted and kept there is restored or purged.",
    )
    atOnce = answers.integer(DEFAULT_AT_ONCE, of="at_once")
    total = answers.integer(
        20,
        of=lambda drain: drain["left"] + len(drain["moved"]),
        description="What is left, and what was moved.",
    )
    left = answers.integer(12, description="How many instances the node still has.")
    moved = answers.integer(8, of=lambda drain: len(drain["moved"]))
    movedBack = answers.integer(0, of="returned", description="Of a drain that is undone.")
    moving = answers.many(
        MovingAnswer,
        of=lambda drain: _list_each(drain["moving"]),
        description="Those on their way, each by an operation of its own.",
    )
    stuck = answers.many(
        StuckAnswer,
        of=lambda drain: _list_stuck(drain)[:MOST_SHOWN],
        description=f"Those that could not be moved, {MOST_SHOWN} at the most. They are tried "
        "again.",
    )
    stuckCount = answers.integer(1, of=lambda drain: len(_list_stuck(drain)))
    moveBack = answers.flag(False, of="move_back", description="Whether an undo moves back.")
    schedulableBefore = answers.flag(
        True,
        of="schedulable_before",
        description="Whether the node got instances before, and will when this is undone; "
        "after its end, what was set since.",
    )
    requestedBy = answers.text(
        "3f6c2b1a09d8e7f5", of="requested_by", null=True, description="The key's id."
    )
    startedAt = answers.time(fields.WHEN, of="started_at")
    updatedAt = answers.time(fields.WHEN, of="updated_at")
    endedAt = answers.time(None, of="ended_at", null=True)
