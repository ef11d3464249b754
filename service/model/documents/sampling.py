"""The document of how a node's instances are sampled, with what each of them used last."""

from datetime import datetime
from typing import Any, TypedDict

from service.model.documents.operation import Lease


class Usage(TypedDict, total=False):
    """What an instance used at its last sample. What its node does not say is absent."""

    at: datetime  # by the worker's clock
    measured_at: datetime  # by the node's
    cpu_ms: int  # processor time since it was started
    cpu_milli: int  # thousandths of a core since the sample before, like the two rates
    memory_bytes: int
    memory_limit_bytes: int
    received_bytes: int  # since it was started, like the next
    sent_bytes: int
    received_rate: int  # bytes a second
    sent_rate: int
    disk_bytes: int  # of its volume, which is added up every ten minutes
    started_at: datetime


class Sampling(TypedDict):
    """How the instances of a node are sampled. There is one for each node that is Online."""

    _id: str  # the node's
    due_at: datetime  # when the next round may begin
    began_at: datetime | None  # the last round; by the database's clock, like the one before
    interval_ms: int | None  # between the beginnings of the last two rounds
    rounds: int  # how many it takes until each instance had its turn
    lease: Lease | None
    slow: bool  # the last round left something out, or took long
    failures: int  # rounds in a row that were ended by the node
    skipped: str | None  # why the last round left something out
    disk_at: datetime | None  # when the volumes were added up
    last: dict[str, Any]  # a Usage by each instance's id


def new_sampling(node_id: str, *, now: datetime) -> Sampling:
    """Make the document of a node that is to be sampled at once."""
    return Sampling(
        _id=node_id,
        due_at=now,
        began_at=None,
        interval_ms=None,
        rounds=1,
        lease=None,
        slow=False,
        failures=0,
        skipped=None,
        disk_at=None,
        last={},
    )
