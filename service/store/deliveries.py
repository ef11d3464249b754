"""What is delivered to webhooks: who sends which of it, and what became of it.

Deliveries of one webhook about one document keep their order: only the first of them that waits is
claimed. While it is sent, or waits for another attempt, those after it are passed over, and nothing
else is.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, cast

from pymongo import ReturnDocument
from pymongo.collection import Collection as MongoCollection

from service.model.documents import Attempt, Delivery
from service.model.webhooks import DeliveryStatus
from service.store.collection import Collection, Indexes, translated
from service.store.lease import LeaseField

INDEXES: Indexes = [
    {"keys": [("status", 1), ("webhook_id", 1), ("event_id", 1)]},
    {
        "keys": [("webhook_id", 1), ("resource", 1)],
        "name": "begun",
        "partialFilterExpression": {"status": DeliveryStatus.WAITING.value, "begun": True},
    },
    {"keys": [("webhook_id", 1), ("created_at", 1), ("_id", 1)]},
    {"keys": [("webhook_id", 1), ("status", 1), ("created_at", 1), ("_id", 1)]},
    {"keys": [("expires_at", 1)], "expireAfterSeconds": 0},
]

CLAIM = LeaseField("lease")
"""Held by the worker that sends it."""

MOST_FAILING = 100
"""How many resources of one webhook may wait for another attempt before nothing new is begun."""

MOST_ATTEMPTS = 20
"""How many attempts of one delivery are kept."""

_LOOK = 50
_WAITING: dict[str, Any] = {"status": DeliveryStatus.WAITING}


class Deliveries(Collection[Delivery]):
    """The deliveries of all webhooks, or of one."""

    what = "delivery"

    def __init__(
        self,
        collection: MongoCollection[dict[str, Any]],
        *,
        only: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(collection, only=only)
        self._whole = collection

    def of_webhook(self, webhook_id: str) -> "Deliveries":
        """Make the part that is one webhook's."""
        return Deliveries(self._whole, only={"webhook_id": webhook_id})

    @translated
    def list_waiting_webhooks(self) -> list[str]:
        """List the ids of the webhooks for which something waits, due or not."""
        return cast(list[str], self._collection.distinct("webhook_id", _WAITING))

    @translated
    def claim(
        self, webhook_id: str, token: str, *, lease_s: float, most: int, now: datetime
    ) -> list[Delivery]:
        """Take what is due for a webhook, `most` at the most, each with the lease of `token`."""
        first = {"_id": {"$in": self._list_first(webhook_id, now)[:most]}}
        is_due = {**_WAITING, "next_attempt_at": {"$lte": now}, "$expr": CLAIM.is_free}
        # One write for all: each takes as long as the database's members need to agree on it.
        taken = self._collection.update_many(
            {**first, **is_due}, [{"$set": {**CLAIM.grant(token, lease_s), "begun": True}}]
        )
        if taken.matched_count == 0:
            return []
        found = self._collection.find({**first, **_WAITING, **CLAIM.held_by(token)})
        return cast(list[Delivery], list(found.sort("event_id", 1)))

    def _list_first(self, webhook_id: str, now: datetime) -> list[str]:
        """List what is first of its resource and due, oldest first."""
        query: dict[str, Any] = {**_WAITING, "webhook_id": webhook_id}
        is_held = {
            **query,
            "begun": True,
            "$or": [{"next_attempt_at": {"$gt": now}}, {"$expr": CLAIM.is_taken}],
        }
        # MongoDB's `distinct` knows no $$NOW.
        groups = self._collection.aggregate([{"$match": is_held}, {"$group": {"_id": "$resource"}}])
        held = [group["_id"] for group in groups]
        query["resource"] = {"$nin": held}
        if len(held) >= MOST_FAILING:
            query["begun"] = True
        found = self._collection.find(query, {"resource": 1}).sort("event_id", 1).limit(_LOOK)
        first: dict[str, str] = {}
        for each in found:
            first.setdefault(each["resource"], each["_id"])
        return list(first.values())

    @translated
    def finish(
        self,
        delivery_id: str,
        token: str,
        status: DeliveryStatus,
        *,
        attempt: Attempt | None,
        failures: int,
        next_attempt_at: datetime,
        now: datetime,
    ) -> bool:
        """Write down what became of it; one that still waits is to be tried again then.

        False, with nothing written, when the lease is another's.
        """
        changes: dict[str, Any] = {
            "status": status,
            "failures": failures,
            "next_attempt_at": next_attempt_at,
            "lease": None,
            "ended_at": None if status == DeliveryStatus.WAITING else now,
        }
        pushed = {"$each": [] if attempt is None else [attempt], "$slice": -MOST_ATTEMPTS}
        written = self._collection.update_one(
            {"_id": delivery_id, **_WAITING, **CLAIM.held_by(token)},
            {"$set": changes, "$push": {"attempts": pushed}},
        )
        return written.matched_count == 1

    @translated
    def release(self, delivery_id: str, token: str) -> None:
        """Let another worker send it at once."""
        CLAIM.release(self._collection, {"_id": delivery_id}, token)

    @translated
    def retry_now(self, delivery_id: str, *, now: datetime) -> Delivery | None:
        """Have it sent once more, now, whatever became of it. None when it is gone.

        One that is being sent is left to that.
        """
        changed = self._collection.find_one_and_update(
            {"_id": delivery_id, "$expr": {"$not": [CLAIM.is_taken]}},
            {
                "$set": {
                    **_WAITING,
                    "begun": True,
                    "failures": 0,
                    "next_attempt_at": now,
                    "ended_at": None,
                }
            },
            return_document=ReturnDocument.AFTER,
        )
        return self.find(delivery_id) if changed is None else cast(Delivery, changed)

    @translated
    def retry_begun(self, webhook_id: str, *, now: datetime) -> None:
        """Have all that failed before and waits for another attempt be sent now."""
        query = {**_WAITING, "webhook_id": webhook_id, "begun": True}
        self._collection.update_many(query, {"$set": {"failures": 0, "next_attempt_at": now}})

    @translated
    def remove_of(self, webhook_id: str) -> None:
        """Forget all of a webhook that is gone."""
        self._collection.delete_many({"webhook_id": webhook_id})

    @translated
    def oldest_waiting_s(self, webhook_ids: Iterable[str], *, now: datetime) -> float:
        """Return for how many seconds the oldest one of these webhooks has waited; 0: none does."""
        query = {**_WAITING, "webhook_id": {"$in": list(webhook_ids)}}
        oldest = self._collection.find_one(query, {"event_id": 1}, sort=[("event_id", 1)])
        if oldest is None:
            return 0.0
        return max(0.0, now.timestamp() - int(oldest["event_id"]) / 1000)
