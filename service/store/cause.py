"""Who causes what is written, for the events of it: known to the thread that writes.

Documents have it as a text that no two writes have alike. So each change that has a cause tells it
whole, though the one before had the same, and one that does not tell it has none.
"""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from service.model.documents import Cause

_CAUSE: ContextVar[Cause | None] = ContextVar("cause", default=None)


def read_cause() -> Cause | None:
    """Return who causes what is written now; None: nobody, such as a worker that finds it out."""
    return _CAUSE.get()


def set_cause(cause: Cause | None) -> None:
    """Say who causes what this thread writes from now on."""
    _CAUSE.set(cause)


@contextmanager
def caused_by(key_id: str | None, request_id: str | None) -> Iterator[None]:
    """Say who causes what is written inside."""
    token = _CAUSE.set(Cause(key_id=key_id, request_id=request_id))
    try:
        yield
    finally:
        _CAUSE.reset(token)


def print_cause() -> str | None:
    """Write the cause of this write, as documents have it."""
    cause = read_cause()
    if cause is None:
        return None
    return f"{cause['key_id'] or ''} {cause['request_id'] or ''} {secrets.token_hex(4)}"


def parse_cause(text: str | None) -> Cause | None:
    """Read what `print_cause` wrote."""
    if text is None:
        return None
    key_id, request_id, _ = text.split(" ")
    return Cause(key_id=key_id or None, request_id=request_id or None)
