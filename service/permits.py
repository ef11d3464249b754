"""What goes on for as long as a key may do what it could when it was used."""

from dataclasses import dataclass
from datetime import datetime

from service import keys, rights
from service.errors import Forbidden
from service.model.access import Access
from service.store import Store


@dataclass(frozen=True, slots=True)
class Permit:
    """A key as it was used. Those that are alike are checked as one."""

    digest: str
    """Of the value that was sent."""

    address: str
    acts_for: str | None
    scope: str | None
    """What it must be allowed to do, if anything."""

    access: Access
    """What it could do then, narrowed to the user for whom it acted."""


def check(store: Store, permit: Permit, *, now: datetime) -> None:
    """Check that the key could be used for the same now, and for no less and no more.

    Raises Unauthorized, Forbidden, NotFound for a user who is gone, and StoreUnavailable.
    """
    key = keys.recognize(store, permit.digest, address=permit.address, now=now)
    if permit.acts_for is not None:
        key, _ = rights.act_for(store, key, permit.acts_for)
    if permit.scope is not None:
        rights.require(key, permit.scope, acts_for=permit.acts_for)
    if keys.access_of(key) != permit.access:
        raise Forbidden("What this API key may do was changed.")
