"""Deletions of instances on the wire."""

from typing import Any

import marshmallow as ma

from service.contract import answers, fields
from service.contract.answers import Answer
from service.contract.base import Request, waiting
from service.contract.instances import reference
from service.model.documents import Operation
from service.model.lifecycle import InstanceState, OperationKind, OperationStatus
from service.model.orders import Deletion, Removal


class Delete(Request[Deletion]):
    """Which instance goes."""

    id = reference()
    force = ma.fields.Boolean(
        load_default=False,
        allow_none=True,
        metadata={
            "description": "Forget it at once, for a node that may never return. What is left on "
            "the node is removed if that ever answers again."
        },
    )

    @ma.post_load
    def fill_in(self, loaded: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Take null for no."""
        return {**loaded, "force": bool(loaded["force"])}


class RemovalQuery(Request[Removal]):
    """How an instance goes."""

    wait = waiting()
    force = ma.fields.Boolean(
        load_default=False, metadata={"description": "Forget it at once, and clean up later."}
    )


def _is_gone(operation: Operation) -> bool:
    # What is left of a forgotten instance is removed when its node answers.
    forgotten = operation["kind"] == OperationKind.REMOVE
    return forgotten or operation["status"] == OperationStatus.SUCCEEDED


def _explain_deletion(operation: Operation) -> str:
    if operation["kind"] == OperationKind.REMOVE:
        return "The instance is forgotten. What is left on the node goes when it answers."
    return "The instance is deleted." if _is_gone(operation) else "The instance is being deleted."


class DeletedAnswer(Answer[Operation]):
    """The instance is gone, or (`state` DELETING) goes as soon as its node answers."""

    message = answers.text("The instance is deleted.", of=_explain_deletion)
    Id = answers.text(fields.INSTANCE_ID, of="instance_id")
    state = answers.text(
        "DELETED",
        of=lambda operation: "DELETED" if _is_gone(operation) else InstanceState.DELETING,
        validate=ma.validate.OneOf(["DELETED", "DELETING"]),
    )
    operationId = answers.text(fields.OPERATION_ID, of="_id")
