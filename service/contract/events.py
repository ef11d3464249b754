"""Events on the wire."""

import re
from typing import Any, TypedDict

import marshmallow as ma

from service.contract import answers, fields
from service.contract.answers import Answer
from service.contract.base import MAX_WAIT_S, Request
from service.errors import InvalidInput
from service.model.documents import Event
from service.model.events import TYPES
from service.model.orders import EventSearch
from service.model.suggestions import suggest

MOST = 1000
"""How many events one answer has at the most."""

_EVENT_ID = "1767182400000"


_FORM = r"[0-9]{1,18}$"


def read_event_id(text: str | None) -> int | None:
    """Read the header `Last-Event-ID`; None of one that is absent or empty. Raises InvalidInput."""
    if not text:
        return None
    if not re.match(_FORM, text, re.ASCII):
        raise InvalidInput(
            "The header Last-Event-ID is not valid.",
            **{"Last-Event-ID": ["Must be an event's id."]},
        )
    return int(text)


class EventsQuery(Request[EventSearch]):
    """Which events are meant."""

    after = ma.fields.String(
        load_default=None,
        validate=ma.validate.Regexp(_FORM, error="Must be an event's id."),
        metadata={"description": "Events after this one; the newest ones without it."},
    )
    types = ma.fields.String(
        load_default=None,
        metadata={"description": "Of these types, with commas between them."},
    )
    instance_id = fields.text(
        data_key="instance", required=False, longest=128, description="Of this instance."
    )
    user_id = fields.text(
        data_key="user", required=False, longest=128, description="Of this user, and what is his."
    )
    node_id = fields.text(
        data_key="node", required=False, longest=64, description="Of this node, and what is on it."
    )
    limit = fields.count(
        longest=MOST, load_default=100, metadata={"description": "How many at the most."}
    )
    wait = fields.seconds(
        longest=MAX_WAIT_S,
        load_default=0.0,
        metadata={"description": "Seconds to wait for an event while there is none."},
    )

    @ma.validates("types")
    def know_types(self, value: str | None, **kwargs: Any) -> None:
        """Refuse types that there are not."""
        unknown = [name for name in _split(value) or () if name not in TYPES]
        if unknown:
            raise ma.ValidationError(
                [f"There is no type {name!r}.{suggest(name, TYPES)}" for name in unknown]
            )

    @ma.post_load
    def collect(self, loaded: dict[str, Any], **kwargs: Any) -> EventSearch:
        """Take together what is given of the fields that must have a value."""
        given = {name: loaded.get(name) for name in ("instance_id", "user_id", "node_id")}
        after = loaded["after"]
        return EventSearch(
            after=None if after is None else int(after),
            types=_split(loaded["types"]),
            wanted={name: value for name, value in given.items() if value is not None},
            limit=loaded["limit"],
            wait=loaded["wait"],
        )


class ToldEvent(TypedDict):
    """An event, and what it is about as a client sees it."""

    event: Event
    resource: dict[str, Any] | None


class EventPage(TypedDict):
    """Events, oldest first, and the id to go on after."""

    events: list[ToldEvent]
    last_id: int


def _cause(told: ToldEvent, name: str) -> str | None:
    cause = told["event"]["cause"]
    return None if cause is None else cause[name]  # type: ignore[literal-required]


class EventAnswer(Answer[ToldEvent]):
    """Something that happened."""

    id = answers.text(
        _EVENT_ID,
        of=lambda told: str(told["event"]["_id"]),
        description="Events have ids in the order of what happened.",
    )
    type = answers.text("instance.ready", of=lambda told: told["event"]["type"])
    time = answers.time(fields.WHEN, of=lambda told: told["event"]["at"])
    resourceId = answers.text(
        fields.INSTANCE_ID,
        of=lambda told: told["event"]["resource_id"],
        null=True,
        description="The id of what it happened to.",
    )
    instanceId = answers.text(
        fields.INSTANCE_ID, of=lambda told: told["event"]["instance_id"], null=True
    )
    userId = answers.text(fields.USER_ID, of=lambda told: told["event"]["user_id"], null=True)
    nodeId = answers.text(fields.NODE_ID, of=lambda told: told["event"]["node_id"], null=True)
    causedBy = answers.text(
        fields.KEY_ID,
        of=lambda told: _cause(told, "key_id"),
        null=True,
        description="The id of the API key; null: none, such as of what a probe found.",
    )
    requestId = answers.text(
        fields.REQUEST_ID, of=lambda told: _cause(told, "request_id"), null=True
    )
    resource = answers.mapping(
        {"Id": fields.INSTANCE_ID},
        null=True,
        description="What it happened to, as a GET of it answers now, or as it was last.",
    )


class EventsAnswer(Answer[EventPage]):
    """Events, oldest first."""

    events = answers.many(EventAnswer)
    next = answers.text(
        _EVENT_ID,
        of=lambda page: str(page["last_id"]),
        description="`after` of the next request.",
    )


def _split(value: str | None) -> list[str] | None:
    if value is None:
        return None
    return [name.strip() for name in value.split(",") if name.strip()]
