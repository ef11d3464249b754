"""Webhooks: where events are sent."""

from collections.abc import Iterable, Mapping
from typing import Any, cast

from pymongo.collection import Collection as MongoCollection

from service.model.documents import Disabled, Webhook
from service.store.collection import Collection, Indexes, Session, translated

INDEXES: Indexes = [
    {"keys": [("created_at", 1), ("_id", 1)]},
    {"keys": [("key_id", 1), ("created_at", 1), ("_id", 1)]},
    {"keys": [("family", 1)]},
    {"keys": [("enabled", 1)]},
]

COUNT = {"_id": "webhooks counted"}
"""The document of `meta` that whoever adds a webhook changes: so two never count at once."""


class Webhooks(Collection[Webhook]):
    """The webhooks of one database, or those that somebody may see."""

    what = "webhook"

    def __init__(
        self,
        collection: MongoCollection[dict[str, Any]],
        *,
        only: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(collection, only=only)
        self._whole = collection
        self._meta = collection.database["meta"]

    def of_owner(self, key_id: str, acts_for: str | None) -> "Webhooks":
        """Make the part that belongs to a key, and to the user for whom it acts."""
        return Webhooks(self._whole, only={"key_id": key_id, "acts_for": acts_for})

    @translated
    def count_for(self, family: str, *, session: Session) -> tuple[int, int]:
        """Count those of a family of keys, and all; nobody else adds one before the end."""
        self._meta.update_one(COUNT, {"$inc": {"made": 1}}, upsert=True, session=session)
        of_family = self._collection.count_documents({"family": family}, session=session)
        return of_family, self._collection.count_documents({}, session=session)

    @translated
    def list_enabled(self, webhook_ids: Iterable[str] | None = None) -> list[Webhook]:
        """Read those that are sent something, of these ids or all."""
        query: dict[str, Any] = {"enabled": True}
        if webhook_ids is not None:
            query["_id"] = {"$in": list(webhook_ids)}
        return cast(list[Webhook], list(self._collection.find(query)))

    @translated
    def disable(self, webhook_id: str, disabled: Disabled, *, url: str | None = None) -> bool:
        """Send nothing more there, if it is enabled, and still leads to `url`."""
        query = {"_id": webhook_id, "enabled": True, **({} if url is None else {"url": url})}
        changes = {"enabled": False, "disabled": disabled, "updated_at": disabled["at"]}
        return self._collection.update_one(query, {"$set": changes}).modified_count == 1

    @translated
    def replace_secret(self, webhook_id: str, field: str, sealed: str, *, before: str) -> bool:
        """Write a secret as it is encrypted anew. False when another one was set meanwhile."""
        replaced = self._observing.update_one(
            {"_id": webhook_id, field: before}, {"$set": {field: sealed}}
        )
        return replaced.matched_count == 1

    @translated
    def remove(self, webhook_id: str, *, session: Session) -> bool:
        """Forget a webhook. False when there was none."""
        return self._collection.delete_one({"_id": webhook_id}, session=session) == 1
