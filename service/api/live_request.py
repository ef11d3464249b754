"""How a live answer is asked for: with a header that browsers send, and a ticket if not a key."""

from flask import Request

EVENT_STREAM = "text/event-stream"

TICKET = "ticket"
"""The parameter of the query with a ticket."""


def prefers_live(request: Request) -> bool:
    """Return whether a client prefers server-sent events to JSON."""
    best = request.accept_mimetypes.best_match(["application/json", EVENT_STREAM])
    return best == EVENT_STREAM
