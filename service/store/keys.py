"""API keys, by digest."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, cast

from pymongo import ReturnDocument
from pymongo.collection import Collection as MongoCollection

from service.errors import Unauthorized
from service.model.documents import Key
from service.store.collection import Collection, Indexes, Session, translated
from service.store.read_cache import ReadCache

INDEXES: Indexes = [
    {"keys": [("digest", 1)], "unique": True},
    {"keys": [("retiring.digest", 1)], "sparse": True},
    {"keys": [("spent", 1)], "sparse": True},
    {"keys": [("family", 1)], "sparse": True},
    {"keys": [("created_by", 1)]},
    {"keys": [("created_at", 1), ("_id", 1)]},
    {"keys": [("user_id", 1), ("created_at", 1), ("_id", 1)]},
    {"keys": [("instance_ids", 1)]},
    {"keys": [("node_ids", 1)]},
]


class Keys(Collection[Key]):
    """The API keys."""

    what = "key"

    def __init__(
        self, collection: MongoCollection[dict[str, Any]], *, cache: ReadCache[Key]
    ) -> None:
        super().__init__(collection)
        self._cache = cache

    def find_known(self, digest: str) -> Key | None:
        """Read like `find_by_digest`, or as it was a moment ago: see `ReadCache`."""
        return self._cache.find(digest, self.find_by_digest)

    def outlast_caches(self) -> None:
        """Return when every process knows of the changes of keys that were made until now.

        Whoever rotated or revoked keys answers only after it; in a transaction, after its end.
        """
        self._cache.outlast()

    @translated
    def find_by_digest(self, digest: str) -> Key | None:
        """Read the key with this SHA-256 digest, or that had it before it was rotated."""
        return self._read({"$or": [{"digest": digest}, {"retiring.digest": digest}]})

    @translated
    def map_by_digests(self, digests: Iterable[str]) -> dict[str, Key]:
        """Read the keys with these digests, or that had them before they were rotated."""
        wanted = set(digests)
        either = [{name: {"$in": sorted(wanted)}} for name in ("digest", "retiring.digest")]
        found: dict[str, Key] = {}
        for key in cast("list[Key]", list(self._collection.find({"$or": either}))):
            old = key["retiring"]
            own = {key["digest"], *([old["digest"]] if old else [])}
            found |= dict.fromkeys(own & wanted, key)
        return found

    @translated
    def find_spent(self, digest: str) -> Key | None:
        """Read the key that had this digest before it was rotated."""
        return self._read({"$or": [{"retiring.digest": digest}, {"spent": digest}]})

    @translated
    def list_limited(
        self,
        *,
        user_id: str | None,
        instance_ids: Iterable[str] | None,
        node_ids: Iterable[str] | None,
    ) -> list[Key]:
        """Read the keys that are limited to this user, some of these instances and of these nodes.

        Oldest first; None does not choose.
        """
        wanted = {
            "user_id": user_id,
            "instance_ids": None if instance_ids is None else {"$in": sorted(instance_ids)},
            "node_ids": None if node_ids is None else {"$in": sorted(node_ids)},
        }
        return self._read_all({name: value for name, value in wanted.items() if value is not None})

    @translated
    def count_delegation(self, family: str, *, session: Session) -> int:
        """Note that a key of the family makes one; count those that were made before, and are left.

        The write keeps two of them from counting at once. Raises Unauthorized when all were
        revoked meanwhile.
        """
        noted = self._observing.find_one_and_update(
            {"$or": [{"_id": family}, {"family": family}]},
            {"$inc": {"delegations": 1}},
            sort=[("created_at", 1), ("_id", 1)],
            session=session,
        )
        if noted is None:
            raise Unauthorized("This API key was revoked meanwhile.")
        # Earlier versions knew no families, but who made a key.
        made: dict[str, Any] = {"$or": [{"family": family}, {"created_by": family}]}
        return self._collection.count_documents(made, session=session)

    @translated
    def remove_of_user(self, user_id: str, *, session: Session) -> int:
        """Revoke the keys that are limited to the user; return how many those were."""
        return self._collection.delete_many({"user_id": user_id}, session=session)

    @translated
    def touch(self, key_id: str, *, now: datetime, unless_since: datetime) -> None:
        """Note that the key was used, unless that was noted lately."""
        self._observing.update_one(
            {
                "_id": key_id,
                "$or": [{"last_used_at": None}, {"last_used_at": {"$lte": unless_since}}],
            },
            {"$set": {"last_used_at": now}},
        )

    @translated
    def rotate(self, key: Key, changes: Mapping[str, object], *, session: Session) -> Key | None:
        """Give the key another value. None when it was rotated or revoked meanwhile."""
        rotated = self._collection.find_one_and_update(
            {"_id": key["_id"], "digest": key["digest"]},
            {"$set": dict(changes)},
            return_document=ReturnDocument.AFTER,
            session=session,
        )
        return cast("Key | None", rotated)

    @translated
    def remove(self, key_id: str, *, session: Session | None = None) -> bool:
        """Revoke the key. False when there was none."""
        return self._collection.delete_one({"_id": key_id}, session=session) == 1
