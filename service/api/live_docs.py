"""What the OpenAPI document says of live answers."""

from typing import Any

from service.api.live_request import EVENT_STREAM, TICKET
from service.contract.answers import Json

_MARK = "x-live"

TICKET_SCHEME = {
    "type": "apiKey",
    "in": "query",
    "name": TICKET,
    "description": "For browsers, whose EventSource sends no headers: see `createEventTicket`.",
}

_LAST_EVENT_ID: Json = {
    "name": "Last-Event-ID",
    "in": "header",
    "description": "Of server-sent events: go on after the one with this id. It wins over `after`.",
    "schema": {"type": "string"},
}


def show(example: bytes, *, has_ids: bool = False) -> dict[str, Any]:
    """Document that an endpoint also answers server-sent events like this, for `Blueprint.doc`."""
    return {_MARK: {"example": example.decode(), "has_ids": has_ids}}


def describe(document: Json) -> None:
    """Add the answers to the document, and how they are asked for."""
    for path in document["paths"].values():
        for operation in path.values():
            live = operation.pop(_MARK, None) if isinstance(operation, dict) else None
            if live is None:
                continue
            content = {"schema": {"type": "string"}, "example": live["example"]}
            operation["responses"]["200"]["content"][EVENT_STREAM] = content
            operation["security"].append({TICKET: []})
            if live["has_ids"]:
                operation.setdefault("parameters", []).append(_LAST_EVENT_ID)
