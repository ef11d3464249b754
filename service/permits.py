"""What goes on for as long as a key may do what it could when it was used."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from service import keys, rights
from service.errors import Forbidden, ServiceError, StoreFailure, StoreUnavailable
from service.model.access import Access
from service.model.documents import Key, User
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


def find_ended(
    store: Store, permits: Iterable[Permit], *, now: datetime
) -> dict[Permit, ServiceError]:
    """Find the permits whose keys could not be used for the same now, or for less or more.

    With the reason: Unauthorized, Forbidden, or NotFound for a user who is gone. The database is
    asked twice, however many there are. Raises StoreUnavailable, StoreFailure.
    """
    permits = list(permits)
    found = store.keys.map_by_digests(permit.digest for permit in permits)
    acts_for = {permit.acts_for for permit in permits if permit.acts_for is not None}
    users = {user["_id"]: user for user in store.users.list_by_ids(acts_for)} if acts_for else {}
    ended: dict[Permit, ServiceError] = {}
    for permit in permits:
        try:
            key = keys.use(
                store, found.get(permit.digest), permit.digest, now=now, address=permit.address
            )
            _check(permit, key, users)
        except (StoreUnavailable, StoreFailure):
            raise
        except ServiceError as exc:
            ended[permit] = exc
    return ended


def _check(permit: Permit, key: Key, users: Mapping[str, User]) -> None:
    if permit.acts_for is not None:
        key, _ = rights.narrow(key, permit.acts_for, find=users.get)
    if permit.scope is not None:
        rights.require(key, permit.scope, acts_for=permit.acts_for)
    if keys.access_of(key) != permit.access:
        raise Forbidden("What this API key may do was changed.")
