"""Tickets: a key as it is used once, for live answers where no header can be sent.

A browser's EventSource sends no headers, and a key in an address would be kept in many places. A
ticket is worthless after its first use, or half a minute.
"""

import secrets
from collections.abc import Callable
from datetime import datetime, timedelta

from service.errors import Unauthorized
from service.keys import digest
from service.model.documents import NewTicket, Ticket
from service.store import Store

LIFETIME = timedelta(seconds=30)


def _make_value() -> str:
    return secrets.token_urlsafe(32)


def create(
    store: Store,
    *,
    key_digest: str,
    acts_for: str | None,
    now: datetime,
    new_value: Callable[[], str] = _make_value,
) -> NewTicket:
    """Make a ticket for whom the key with this digest acts for; it is kept as a digest only."""
    value, expires_at = new_value(), now + LIFETIME
    store.tickets.add(
        Ticket(_id=digest(value), key_digest=key_digest, acts_for=acts_for, expires_at=expires_at)
    )
    return NewTicket(value, expires_at)


def redeem(store: Store, value: str, *, now: datetime) -> Ticket:
    """Use a ticket up. Raises Unauthorized for one that is unknown, used, or too old.

    What its key may is looked at by whoever goes on with it.
    """
    ticket = store.tickets.take(digest(value))
    if ticket is None or ticket["expires_at"] <= now:
        raise Unauthorized("The ticket is not valid: it may be used once, and soon.")
    return ticket
