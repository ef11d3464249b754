"""API keys, by digest."""

from collections.abc import Mapping
from datetime import datetime
from typing import cast

from pymongo import ReturnDocument

from service.documents import Key
from service.store.collection import Documents, Indexes, translated

INDEXES: Indexes = [
    {"keys": [("digest", 1)], "unique": True},
    {"keys": [("retiring.digest", 1)], "sparse": True},
]


class Keys(Documents[Key]):
    """The API keys."""

    what = "key"

    @translated
    def find_by_digest(self, digest: str) -> Key | None:
        """Read the key with this SHA-256 digest, or that had it before it was rotated."""
        return self._read({"$or": [{"digest": digest}, {"retiring.digest": digest}]})

    @translated
    def touch(self, key_id: str, *, now: datetime, unless_since: datetime) -> None:
        """Note that the key was used, unless that was noted lately."""
        self._collection.update_one(
            {
                "_id": key_id,
                "$or": [{"last_used_at": None}, {"last_used_at": {"$lte": unless_since}}],
            },
            {"$set": {"last_used_at": now}},
        )

    @translated
    def rotate(self, key: Key, changes: Mapping[str, object]) -> Key | None:
        """Give the key another value. None when it was rotated or revoked meanwhile."""
        rotated = self._collection.find_one_and_update(
            {"_id": key["_id"], "digest": key["digest"]},
            {"$set": dict(changes)},
            return_document=ReturnDocument.AFTER,
        )
        return cast("Key | None", rotated)

    @translated
    def remove(self, key_id: str) -> bool:
        """Revoke the key. False when there was none."""
        return self._collection.delete_one({"_id": key_id}).deleted_count == 1
