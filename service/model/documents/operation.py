"""The document of an operation."""

import secrets
from datetime import datetime
from typing import NotRequired, TypedDict

from service.model.documents.instance import Settings
from service.model.documents.leftover import LeftBehind
from service.model.documents.user import QuotaChanges
from service.model.lifecycle import BulkKind, OperationKind, OperationStatus
from service.model.origin import Origin

NO_NODE = ""
"""The `node_id` of what is on no node: bulk operations."""


class Lease(TypedDict):
    """Who carries out an operation or probes a node, until when unless it is renewed."""

    token: str
    until: datetime


class Step(TypedDict):
    """One thing that an operation did."""

    name: str
    started_at: datetime
    ended_at: datetime | None
    error: str | None
    progress: NotRequired[str]  # in plain words, of what takes long


class Replacement(TypedDict):
    """How far a container is that is replaced."""

    begun: bool  # what was there may be gone
    found: bool  # there was a container when it was begun
    run: bool | None  # whether it is to run afterwards; None: as the one that is there
    undo: str | None  # why what was there before is made again
    keep_volume: bool


class Transfer(TypedDict):
    """From where an instance is transferred to where, and how far its files are."""

    source_id: str
    target_id: str
    bytes_copied: int
    bytes_total: int | None  # None: the node does not say how many there are


class SealedUser(TypedDict):
    """A user to add, as somebody asked for one."""

    username: str
    email: str
    password: str  # encrypted
    admin: bool
    quota: NotRequired[QuotaChanges | None]
    external_id: str | None
    labels: dict[str, str | None] | None


class BulkItem(TypedDict):
    """One item of a bulk operation, and what became of it."""

    id: str  # the instance's, or the one that the user gets
    node_id: NotRequired[str]  # the instance's
    user: NotRequired[SealedUser]  # until it is added, or is not to be
    keep_s: NotRequired[float]  # of a deletion; absent: 0
    status: OperationStatus  # pending: not begun; running: the operation of its own is open
    operation_id: str | None
    code: str | None  # of the error
    error: str | None


class Bulk(TypedDict):
    """What a bulk operation does, and how far it is."""

    kind: BulkKind
    total: int
    ended: int
    failed: int
    changed_at: datetime  # when an item was begun or ended the last time
    items: NotRequired[list[BulkItem]]  # absent where it was read for a list


class Operation(TypedDict):
    """Something that must be done on a node, and how far it is."""

    _id: str
    kind: OperationKind
    instance_id: str  # of a bulk operation its own `_id`
    node_id: str  # or NO_NODE
    user_id: str | None  # the instance's owner; None: it was no instance
    status: OperationStatus
    steps: list[Step]
    attempts: int
    next_attempt_at: datetime | None  # None: at once
    lease: Lease | None
    claimed_at: NotRequired[datetime]  # when a worker took it the last time, by the server's clock
    cancel_requested: bool  # while it runs
    error: str | None
    requested_by: str | None  # key id
    request_id: str | None
    container_id: NotRequired[str | None]  # which is to be removed, when no instance knows it
    revision: NotRequired[int]  # raised by each write; absent: 0, of earlier versions
    observations: NotRequired[int]  # how many of these writes were observations; absent: 0
    changed_by: NotRequired[str | None]  # who wrote it last: store/cause.py
    created_at: datetime
    updated_at: datetime
    changes: NotRequired[Settings]  # which the container that replaces another one has
    replacement: NotRequired[Replacement]
    transfer: NotRequired[Transfer]
    remains_of: NotRequired[str]  # id of the instance that left the node, of a removal of its rest
    leftovers: NotRequired[LeftBehind]  # of a removal that could not delete every file
    bulk: NotRequired[Bulk]
    acts_for: NotRequired[str]  # id of the user for whom the key of a bulk operation acts
    ended_at: NotRequired[datetime]
    expires_at: NotRequired[datetime]  # when it is forgotten


def new_operation(
    kind: OperationKind,
    instance_id: str,
    node_id: str,
    *,
    user_id: str | None = None,
    origin: Origin,
) -> Operation:
    """Make the document of an operation that is to be done at once.

    `user_id` is the instance's owner; None: it is no instance any more.
    """
    return Operation(
        _id=secrets.token_hex(10),
        kind=kind,
        instance_id=instance_id,
        node_id=node_id,
        user_id=user_id,
        status=OperationStatus.PENDING,
        steps=[],
        attempts=0,
        next_attempt_at=None,
        lease=None,
        cancel_requested=False,
        error=None,
        requested_by=origin.requested_by,
        request_id=origin.request_id,
        revision=1,
        created_at=origin.now,
        updated_at=origin.now,
    )


def new_removal(instance_id: str, node_id: str, *, origin: Origin) -> Operation:
    """Make the document of an operation that removes what an instance left on a node.

    It is no operation of the instance, which may live elsewhere and has its own.
    """
    operation = new_operation(OperationKind.REMOVE, "", node_id, origin=origin)
    operation["instance_id"] = operation["_id"]
    operation["remains_of"] = instance_id
    return operation


def new_transfer(source_id: str, target_id: str) -> Transfer:
    """Make the beginning of a transfer between two nodes."""
    return Transfer(source_id=source_id, target_id=target_id, bytes_copied=0, bytes_total=None)


def removed_id(removal: Operation) -> str:
    """Return the id of the instance of which a removal removes all that is on the node."""
    return removal.get("remains_of", removal["instance_id"])


def new_bulk_item(
    item_id: str,
    *,
    node_id: str | None = None,
    user: SealedUser | None = None,
    keep_s: float | None = None,
) -> BulkItem:
    """Make an item of a bulk operation: an instance on its node, or a user."""
    item = BulkItem(
        id=item_id, status=OperationStatus.PENDING, operation_id=None, code=None, error=None
    )
    if node_id is not None:
        item["node_id"] = node_id
    if user is not None:
        item["user"] = user
    if keep_s is not None:
        item["keep_s"] = keep_s
    return item


def new_bulk_operation(kind: BulkKind, items: list[BulkItem], *, origin: Origin) -> Operation:
    """Make the document of an operation that does the same to many items."""
    operation = new_operation(OperationKind.BULK, "", NO_NODE, origin=origin)
    operation["instance_id"] = operation["_id"]
    operation["bulk"] = Bulk(
        kind=kind, total=len(items), ended=0, failed=0, changed_at=origin.now, items=items
    )
    if origin.acts_for is not None:
        operation["acts_for"] = origin.acts_for
    return operation
