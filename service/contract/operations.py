"""Operations on the wire."""

import marshmallow as ma

from service.contract import fields
from service.contract.base import Answer, Request
from service.model.lifecycle import OperationKind, OperationStatus


class OperationsQuery(Request):
    """Which operations. Those of all when nothing is said."""

    instance_id = fields.text(
        data_key="instanceId", required=False, longest=128, description="Of this instance."
    )
    node_id = fields.text(
        data_key="nodeId", required=False, longest=64, description="On this node."
    )
    status = ma.fields.String(
        validate=ma.validate.OneOf([status.value for status in OperationStatus]),
        metadata={"description": "That are so."},
    )
    limit = fields.count(
        longest=1000, load_default=100, metadata={"description": "The newest so many."}
    )


class StepAnswer(Answer):
    """One thing that an operation did."""

    name = ma.fields.String(required=True)
    startedAt = ma.fields.DateTime(required=True)
    endedAt = ma.fields.DateTime(required=True, allow_none=True)
    error = ma.fields.String(required=True, allow_none=True)
    progress = ma.fields.String(
        required=True,
        allow_none=True,
        metadata={"description": "How far a pull is, or was: layers and megabytes."},
    )


class LeftoversAnswer(Answer):
    """What of a removed instance's volume its node could not delete."""

    path = ma.fields.String(
        required=True, metadata={"description": "Where the volume is on the node's disk."}
    )
    names = ma.fields.List(
        ma.fields.String(),
        required=True,
        metadata={"description": "What is left in it, as far as it can be named; 20 at the most."},
    )
    reason = ma.fields.String(required=True)


class OperationAnswer(Answer):
    """Something that must be done on a node, and how far it is."""

    id = ma.fields.String(required=True)
    kind = ma.fields.String(
        required=True, validate=ma.validate.OneOf([kind.value for kind in OperationKind])
    )
    instanceId = ma.fields.String(required=True)
    nodeId = ma.fields.String(required=True)
    status = ma.fields.String(
        required=True, validate=ma.validate.OneOf([status.value for status in OperationStatus])
    )
    steps = ma.fields.List(ma.fields.Nested(StepAnswer), required=True)
    attempts = ma.fields.Integer(required=True)
    nextAttemptAt = ma.fields.DateTime(
        required=True, allow_none=True, metadata={"description": "Of a pending one; null: at once."}
    )
    cancelRequested = ma.fields.Boolean(required=True)
    error = ma.fields.String(
        required=True, allow_none=True, metadata={"description": "Why it failed or waits."}
    )
    leftovers = ma.fields.Nested(
        LeftoversAnswer,
        required=True,
        allow_none=True,
        metadata={"description": "Of a removal that could not delete every file; null: nothing."},
    )
    requestedBy = ma.fields.String(
        required=True, allow_none=True, metadata={"description": "The key's id."}
    )
    requestId = ma.fields.String(required=True, allow_none=True)
    createdAt = ma.fields.DateTime(required=True)
    updatedAt = ma.fields.DateTime(required=True)
    endedAt = ma.fields.DateTime(required=True, allow_none=True)
