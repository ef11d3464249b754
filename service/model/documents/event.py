"""The documents that events are made of."""

from datetime import datetime
from typing import Any, NotRequired, TypedDict


class Cause(TypedDict):
    """Who changed a document last; of what a worker finds out by itself nobody did."""

    key_id: str | None  # None: the command line
    request_id: str | None


class Event(TypedDict):
    """Something that happened to a document."""

    _id: int  # in the order of commits, and about the milliseconds since 1970
    type: str  # one of model.events.TYPES
    at: datetime  # of the commit, by the database's clock
    kind: str  # of the document, like "instance"; "log" of what concerns all of them
    resource_id: str | None
    instance_id: str | None  # what the document belongs to, like the next two
    user_id: str | None
    node_id: str | None
    cause: Cause | None
    last: NotRequired[dict[str, Any]]  # the document as it was, without secrets, when it is gone
    expires_at: datetime  # when it is forgotten


class Removal(TypedDict):
    """A document that was deleted, until that is an event. Written together with the deletion."""

    collection: str
    document: dict[str, Any]  # as it was, without secrets
    cause: Cause | None
