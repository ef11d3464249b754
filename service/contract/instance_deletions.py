"""Deletions of instances on the wire, and how they are undone."""

import re
from typing import Any

import marshmallow as ma

from service.contract import answers, fields
from service.contract.answers import Answer
from service.contract.base import Request, StrictRequest, waiting
from service.contract.instances import reference
from service.model.documents import Operation
from service.model.lifecycle import InstanceState, OperationKind, OperationStatus
from service.model.orders import Deletion, DeletionWish, Removal, Restoration

MAX_KEEP_S = 30 * 86400
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_TIME = re.compile(r"(\d{1,7})([smhd])", re.ASCII)


def _parse_time(text: str) -> float:
    match = _TIME.fullmatch(text)
    seconds = int(match[1]) * _UNITS[match[2]] if match else 0
    if (match is None and text != "0") or seconds > MAX_KEEP_S:
        raise ValueError("Must be a time like 24h, with s, m, h or d, of 30d at the most; or 0.")
    return seconds


def keeping() -> fields.Parsed:
    """Make a field for how long a deletion can be undone; loads seconds."""
    return fields.Parsed(
        _parse_time,
        types=("string",),
        data_key="keep",
        load_default=None,
        metadata={
            "description": "For how long it is kept, stopped and hidden, so that it can be "
            "restored: like `24h`, with `s`, `m`, `h` or `d`, `30d` at the most. 0: not at all. "
            "If absent, as the installation has it: not at all, unless it says otherwise.",
            "example": "24h",
        },
    )


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


class DeletionQuery(Request[DeletionWish]):
    """For how long a deletion can be undone, and how long the answer may take."""

    keep_s = keeping()
    wait = waiting()


class RemovalQuery(Request[Removal]):
    """How an instance goes."""

    keep_s = keeping()
    wait = waiting()
    force = ma.fields.Boolean(
        load_default=False, metadata={"description": "Forget it at once, and clean up later."}
    )


class Restore(StrictRequest[Restoration]):
    """Which ports a restored instance gets: those that it had, if none are named."""

    ports = fields.port_map(
        metadata={
            "description": "All of them, as in a deploy, in place of those that it had. With "
            "`auto` a container port gets the host port that it had, or a free one.",
            "sample": "8080:auto",
        },
    )
    primary = fields.primary(
        metadata={
            "description": "One of the host ports, or one of the pairs. Without it the primary "
            "port is that of the same container port as before, or the first."
        },
    )


def _is_gone(operation: Operation) -> bool:
    # What is left of a forgotten instance is removed when its node answers, and what is kept is
    # hidden, whether it has stopped or not.
    forgotten = operation["kind"] in (OperationKind.REMOVE, OperationKind.KEEP)
    return forgotten or operation["status"] == OperationStatus.SUCCEEDED


def _explain_deletion(operation: Operation) -> str:
    if operation["kind"] == OperationKind.REMOVE:
        return "The instance is forgotten. What is left on the node goes when it answers."
    if operation["kind"] == OperationKind.KEEP:
        return "The instance is deleted, and kept for a while: it can be restored."
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
