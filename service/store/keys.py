"""API keys, by digest."""

from datetime import datetime

from service.documents import Key
from service.store.collection import Documents, Indexes, translated

INDEXES: Indexes = [{"keys": [("digest", 1)], "unique": True}]


class Keys(Documents[Key]):
    """The API keys."""

    what = "key"

    @translated
    def find_by_digest(self, digest: str) -> Key | None:
        """Read the key with this SHA-256 digest."""
        return self._read({"digest": digest})

    @translated
    def touch(self, key_id: str, *, now: datetime) -> None:
        """Note that the key was used."""
        self._collection.update_one({"_id": key_id}, {"$set": {"last_used_at": now}})

    @translated
    def remove(self, key_id: str) -> bool:
        """Revoke the key. False when there was none."""
        return self._collection.delete_one({"_id": key_id}).deleted_count == 1
