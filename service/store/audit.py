"""Who changed what, and who was rejected."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, cast

from pymongo.collection import Collection as MongoCollection

from service.model.documents import AuditEntry
from service.store.collection import Collection, Indexes, translated

INDEXES: Indexes = [
    {"keys": [("key_id", 1), ("_id", -1)]},
    {
        "keys": [("acts_for", 1), ("_id", -1)],
        "partialFilterExpression": {"acts_for": {"$exists": True}},
    },
    {"keys": [("action", 1), ("_id", -1)]},
    {"keys": [("target_id", 1), ("_id", -1)]},
    {"keys": [("rejection", 1)], "unique": True, "sparse": True},
    {"keys": [("expires_at", 1)], "expireAfterSeconds": 0},
]

REJECTION_WINDOW_S = 3600
"""How long rejected requests of one kind are counted in one entry."""


def first_id(at: datetime) -> str:
    """Make the smallest id that an entry of this time can have."""
    return f"{int(at.timestamp() * 1000):012x}"


class Audit(Collection[AuditEntry]):
    """The entries. Their ids grow with the time."""

    what = "entry"

    def __init__(self, collection: MongoCollection[dict[str, Any]], *, keep_s: float) -> None:
        super().__init__(collection)
        self.keep_s = keep_s
        """How long entries are kept that no request made."""

    @translated
    def finish(self, entry_id: str, changes: Mapping[str, object]) -> None:
        """Write down how it ended."""
        self._collection.update_one({"_id": entry_id}, {"$set": dict(changes)})

    @translated
    def count_rejection(
        self, rejection: str, *, first: AuditEntry, latest: Mapping[str, object]
    ) -> None:
        """Count one more in the entry of this `rejection`, which is as in `first` if it is new."""
        new = {name: value for name, value in first.items() if name not in latest}
        change = {"$setOnInsert": new, "$set": dict(latest), "$inc": {"count": 1}}
        self._collection.update_one({"rejection": rejection}, change, upsert=True)

    @translated
    def remove(self, entry_id: str) -> None:
        """Forget an entry that was begun."""
        self._collection.delete_one({"_id": entry_id})

    @translated
    def list_newest(
        self,
        wanted: Mapping[str, str],
        *,
        since: datetime | None,
        until: datetime | None = None,
        before: str | None,
        limit: int,
    ) -> list[AuditEntry]:
        """Read the newest `limit` entries with these values, of `since` and later, before `until`.

        Those of rejected requests are of all times from their first to their last. `before` is an
        id: entries below it, whatever `until` says.
        """
        query: dict[str, Any] = dict(wanted)
        bounds: dict[str, Any] = {}
        if since is not None:
            bounds["$gte"] = first_id(since - timedelta(seconds=REJECTION_WINDOW_S))
            query["$or"] = [{"_id": {"$gte": first_id(since)}}, {"last_at": {"$gte": since}}]
        if before is not None or until is not None:
            bounds["$lt"] = before or first_id(cast("datetime", until))
        cursor = self._collection.find({**query, **({"_id": bounds} if bounds else {})})
        cursor.sort("_id", -1).limit(limit)
        return cast(list[AuditEntry], list(cursor))
