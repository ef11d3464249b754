"""Who changed what, and who was not let."""

import builtins
from collections.abc import Mapping
from typing import Any, cast

from pymongo.collection import Collection

from service.documents import AuditEntry
from service.store.collection import Documents, Indexes, translated

INDEXES: Indexes = [
    {"keys": [("key_id", 1), ("_id", -1)]},
    {"keys": [("action", 1), ("_id", -1)]},
    {"keys": [("target_id", 1), ("_id", -1)]},
    {"keys": [("expires_at", 1)], "expireAfterSeconds": 0},
]


class Audit(Documents[AuditEntry]):
    """The entries. Their ids grow with the time."""

    what = "entry"

    def __init__(self, collection: Collection[dict[str, Any]], *, keep_s: float) -> None:
        super().__init__(collection)
        self.keep_s = keep_s
        """How long entries are kept that no request made."""

    @translated
    def finish(self, entry_id: str, changes: Mapping[str, object]) -> None:
        """Write down how it ended."""
        self._collection.update_one({"_id": entry_id}, {"$set": dict(changes)})

    @translated
    def list_newest(
        self,
        wanted: Mapping[str, str],
        *,
        since: str | None,
        before: str | None,
        limit: int,
    ) -> "builtins.list[AuditEntry]":
        """Read the newest `limit` entries with these values, and ids from `since` to `before`."""
        bounds: dict[str, Any] = {}
        if since is not None:
            bounds["$gte"] = since
        if before is not None:
            bounds["$lt"] = before
        cursor = self._collection.find({**wanted, **({"_id": bounds} if bounds else {})})
        cursor.sort("_id", -1).limit(limit)
        return cast("builtins.list[AuditEntry]", builtins.list(cursor))
