"""Operations on the wire."""

from datetime import datetime
from operator import methodcaller

from service.contract import answers, fields
from service.contract.answers import Answer
from service.contract.bulk import BulkAnswer
from service.contract.transfers import TransferAnswer
from service.model.documents import LeftBehind, Operation, Step, removed_id
from service.model.lifecycle import OPEN, OperationKind, OperationStatus

_SILENT = "The Docker Engine does not answer."


class StepAnswer(Answer[Step]):
    """One thing that an operation did."""

    name = answers.text("pull")
    startedAt = answers.time(fields.WHEN, of="started_at")
    endedAt = answers.time(fields.WHEN, of="ended_at", null=True)
    error = answers.text(_SILENT, null=True)
    progress = answers.text(
        "2 of 5 layers, 34.1 of 120.0 MB",
        of=methodcaller("get", "progress"),
        null=True,
        description="How far a pull or a copy is, or was: layers, megabytes.",
    )


class LeftoversAnswer(Answer[LeftBehind]):
    """What of a removed instance's volume its node could not delete."""

    path = answers.text(
        "/opt/skyportd/volumes/ik3l4m5nopq6r",
        description="Where the volume is on the node's disk.",
    )
    names = answers.texts(
        ["world"], description="What is left in it, as far as it can be named; 20 at the most."
    )
    reason = answers.text(
        "EPERM: operation not permitted, unlink "
        "'/opt/skyportd/volumes/ik3l4m5nopq6r/world/level.dat'"
    )


def _find_next_attempt(operation: Operation) -> datetime | None:
    return operation["next_attempt_at"] if operation["status"] in OPEN else None


class OperationAnswer(Answer[Operation]):
    """Something that must be done on a node, and how far it is. Its lease is the workers' own."""

    id = answers.text(fields.OPERATION_ID, of="_id")
    kind = answers.choice(OperationKind, "deploy")
    instanceId = answers.text(
        fields.INSTANCE_ID,
        of=lambda operation: None if "bulk" in operation else removed_id(operation),
        null=True,
        description="null: it is a bulk operation.",
    )
    nodeId = answers.text(
        fields.NODE_ID,
        of=lambda operation: operation["node_id"] or None,
        null=True,
        description="null: it is a bulk operation.",
    )
    status = answers.choice(OperationStatus, "pending")
    steps = answers.many(StepAnswer, audited=False)
    attempts = answers.integer(1)
    nextAttemptAt = answers.time(
        fields.WHEN,
        of=_find_next_attempt,
        null=True,
        description="Of a pending one; null: at once.",
    )
    cancelRequested = answers.flag(False, of="cancel_requested")
    error = answers.text(_SILENT, null=True, description="Why it failed or waits.")
    leftovers = answers.nested(
        LeftoversAnswer,
        None,
        of=methodcaller("get", "leftovers"),
        null=True,
        description="Of a removal that could not delete every file; null: nothing.",
    )
    bulk = answers.nested(
        BulkAnswer,
        None,
        of=methodcaller("get", "bulk"),
        null=True,
        audited=False,
        description="Of a bulk operation: its items, and what became of them.",
    )
    transfer = answers.nested(
        TransferAnswer,
        None,
        of=methodcaller("get", "transfer"),
        null=True,
        description="Of a transfer to another node.",
    )
    requestedBy = answers.text(
        "3f6c2b1a09d8e7f5", of="requested_by", null=True, description="The key's id."
    )
    requestId = answers.text(fields.REQUEST_ID, of="request_id", null=True)
    createdAt = answers.time(fields.WHEN, of="created_at")
    updatedAt = answers.time(fields.WHEN, of="updated_at", audited=False)
    endedAt = answers.time(None, of=methodcaller("get", "ended_at"), null=True)
