"""What a user has left of the quota, as the database counts it."""

from typing import Any, cast

from pymongo.database import Database

from service.errors import QuotaExceeded, UserSuspended
from service.model.documents import Amounts, User, new_amounts
from service.model.quotas import MEASURES, find_exceeded, used_of
from service.store.collection import Session, translated
from service.store.deleted import COLLECTION as DELETED
from service.store.revised import RevisedCollection

_SUMS: dict[str, Any] = {
    "instances": {"$sum": 1},
    "memory_mib": {"$sum": {"$ifNull": ["$reserved.memory_mib", "$memory_mib"]}},
    "cpu_milli": {"$sum": {"$ifNull": ["$reserved.cpu_milli", "$cpu_milli"]}},
    "disk_mb": {"$sum": {"$toLong": {"$round": {"$multiply": ["$disk_gb", 1000]}}}},
    "ports": {"$sum": {"$size": {"$ifNull": ["$ports", []]}}},
}
"""How what is promised is added up of instances: `amounts_of`, for all of a user's."""


def leaves_room(more: Amounts) -> dict[str, Any]:
    """Write the query for whether a user gets so much more; less is always allowed.

    Who is suspended gets no more instances.
    """
    room = [
        {
            "$or": [
                {"$eq": [{"$ifNull": [f"$quota.{name}", None]}, None]},
                {"$lte": [{"$add": [{"$ifNull": [f"$used.{name}", 0]}, amount]}, f"$quota.{name}"]},
            ]
        }
        for name, amount in _list(more)
        if amount > 0
    ]
    runs = {"suspended": {"$ne": True}} if more["instances"] > 0 else {}
    return {**runs, **({"$expr": {"$and": room}} if room else {})}


def count(amounts: Amounts) -> dict[str, int]:
    """Make the `$inc` of what is promised."""
    return {f"used.{name}": amount for name, amount in _list(amounts)}


def find_refusal(user: User, more: Amounts) -> QuotaExceeded | UserSuspended | None:
    """Return why a user who was read does not get so much more; None: `leaves_room` finds them."""
    is_refused = more["instances"] > 0 and user.get("suspended")
    return refusal(user, more) if is_refused or find_exceeded(user, more) else None


def refusal(user: User, more: Amounts) -> QuotaExceeded | UserSuspended:
    """Make the error for a user who does not get so much more, with the numbers."""
    if more["instances"] > 0 and user.get("suspended"):
        return UserSuspended(user["_id"])
    return QuotaExceeded("The user's quota does not allow as much.", **find_exceeded(user, more))


def sum_up(
    database: Database[dict[str, Any]],
    user_id: str | None = None,
    *,
    session: Session | None = None,
) -> dict[str, Amounts]:
    """Add up what instances were promised, by their users: of all, or of one of them.

    Those that are deleted and kept hold all but their ports.
    """
    of_one: list[dict[str, Any]] = [{"$match": {"user_id": user_id}}] if user_id else []
    sums: dict[str, Amounts] = {}
    for collection in ("instances", DELETED):
        found = database[collection].aggregate(
            [*of_one, {"$group": {"_id": "$user_id", **_SUMS}}], session=session
        )
        for more in found:
            owner = more.pop("_id")
            so_far = _list(sums.get(owner, new_amounts()))
            sums[owner] = cast("Amounts", {name: amount + more[name] for name, amount in so_far})
    return sums


class Quotas:
    """What users' instances are promised, as it is counted and as it adds up."""

    def __init__(self, database: Database[dict[str, Any]]) -> None:
        self._database = database
        self._observing = RevisedCollection(database["users"], observes=True)

    @translated
    def list_miscounted(self, *, session: Session) -> list[str]:
        """List the ids of users whose instances add up to something else than what is counted."""
        sums = sum_up(self._database, session=session)
        counted = self._observing.find({}, ["used"], session=session)
        return [
            user["_id"]
            for user in counted
            if used_of(cast("User", user)) != sums.get(user["_id"], new_amounts())
        ]

    @translated
    def recount(self, user_id: str, *, session: Session) -> None:
        """Count anew what a user's instances are promised."""
        used = sum_up(self._database, user_id, session=session).get(user_id, new_amounts())
        self._observing.update_one({"_id": user_id}, {"$set": {"used": used}}, session=session)


def _list(amounts: Amounts) -> list[tuple[str, int]]:
    return [(name, amounts[name]) for name in MEASURES]  # type: ignore[literal-required]
