"""The document of a node's drain."""

import secrets
from datetime import datetime
from typing import NotRequired, TypedDict

from service.model.documents.node import Node
from service.model.drains import DrainStatus, WaitingFor
from service.model.origin import Origin


class Moving(TypedDict):
    """An instance that is on its way, by an operation of its own."""

    operation_id: str
    node_id: str  # where it goes
    since: datetime


class Stuck(TypedDict):
    """Why an instance could not be moved, and when that is tried again."""

    code: str  # of the error
    reason: str  # a sentence
    attempts: int
    next_attempt_at: datetime


class Drain(TypedDict):
    """How far the instances of a node are moved elsewhere. A node has one: the latest."""

    _id: str  # the node's
    drain_id: str  # another one for each drain of the node
    status: DrainStatus
    at_once: int  # how many instances may be on their way
    schedulable_before: bool  # what the node is when the drain is undone, or was set since
    move_back: bool  # of one that is undone: what was moved returns
    waiting_for: WaitingFor | None
    moving: dict[str, Moving]  # by the instance's id, like the next two
    moved: dict[str, str]  # to which node; what has returned is none of them any more
    stuck: dict[str, Stuck]
    returned: int  # how many were moved back
    requested_by: str | None  # key id
    request_id: str | None
    acts_for: str | None
    revision: NotRequired[int]
    started_at: datetime
    updated_at: datetime
    ended_at: datetime | None


class DrainProgress(Drain):
    """A drain, with its node and how many instances this still has."""

    node: Node
    left: int


def new_drain(node_id: str, *, at_once: int, schedulable_before: bool, origin: Origin) -> Drain:
    """Make the document of a drain that begins."""
    return Drain(
        _id=node_id,
        drain_id=secrets.token_hex(8),
        status=DrainStatus.RUNNING,
        at_once=at_once,
        schedulable_before=schedulable_before,
        move_back=False,
        waiting_for=None,
        moving={},
        moved={},
        stuck={},
        returned=0,
        requested_by=origin.requested_by,
        request_id=origin.request_id,
        acts_for=origin.acts_for,
        revision=1,
        started_at=origin.now,
        updated_at=origin.now,
        ended_at=None,
    )
