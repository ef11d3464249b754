"""Failed authentications, counted by all processes together."""

from datetime import datetime
from typing import Any

import pymongo
from pymongo import ReturnDocument
from pymongo.write_concern import WriteConcern

from service.store.collection import Collection, Indexes, translated

INDEXES: Indexes = [{"keys": [("expires_at", 1)], "expireAfterSeconds": 0}]

_TIMEOUT_S = 1.0
"""A failed request waits no longer than this for its count."""


class FailedAttempts(Collection[dict[str, Any]]):
    """One count for each subject and window of time."""

    what = "count"

    @translated
    def increment(self, subject: str, *, window: str, ends_at: datetime) -> int:
        """Count one more failure; return how many there are in this window, which ends then."""
        collection = self._collection.with_options(write_concern=WriteConcern(w=1))
        with pymongo.timeout(_TIMEOUT_S):
            counted = collection.find_one_and_update(
                {"_id": f"{subject}@{window}"},
                {"$inc": {"count": 1}, "$setOnInsert": {"expires_at": ends_at}},
                upsert=True,
                return_document=ReturnDocument.AFTER,
            )
        return int(counted["count"]) if counted else 0
