"""What one worker of all does, and another takes over when that falls silent."""

from contextlib import suppress
from typing import Any

from pymongo.database import Database
from pymongo.errors import DuplicateKeyError

from service.store.collection import translated
from service.store.lease import LeaseField
from service.store.revised import RevisedCollection

LEASE = LeaseField("lease")


class Duty:
    """One of them: a document with a lease."""

    def __init__(self, database: Database[dict[str, Any]], name: str) -> None:
        self._collection = RevisedCollection(database["meta"])
        self._query = {"_id": name}

    @translated
    def take(self, token: str, *, lease_s: float) -> bool:
        """Take it, or keep it, for `lease_s`. False while another worker has it."""
        if LEASE.take(self._collection, self._query, token, lease_s):
            return True
        if self._collection.find_one(self._query) is None:  # nobody had it ever
            fresh = {"$setOnInsert": {"lease": None}}
            with suppress(DuplicateKeyError):  # another worker made it a moment ago
                self._collection.update_one(self._query, fresh, upsert=True)
            return LEASE.take(self._collection, self._query, token, lease_s)
        return False

    @translated
    def release(self, token: str) -> None:
        """Let another worker take it at once."""
        LEASE.release(self._collection, self._query, token)
