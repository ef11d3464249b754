"""Which node's instances are sampled next, by whom, and what each of them used last.

A collection of its own: what is sampled changes no node, so it raises no node's revision, and is no
event. A node's document here comes when it is Online, and goes when it is not.
"""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any, cast

from pymongo import ReturnDocument
from pymongo.collection import Collection as MongoCollection
from pymongo.errors import DuplicateKeyError

from service.model.documents import Sampling, new_sampling
from service.model.lifecycle import NodeStatus
from service.store.collection import Collection, Indexes, translated
from service.store.lease import LeaseField

INDEXES: Indexes = [{"keys": [("due_at", 1)]}]

SAMPLING = LeaseField("lease")
"""Held by the worker that samples the node."""


class Samplings(Collection[Sampling]):
    """How each node is sampled."""

    what = "sampling"

    def __init__(
        self,
        collection: MongoCollection[dict[str, Any]],
        *,
        nodes: MongoCollection[dict[str, Any]],
    ) -> None:
        super().__init__(collection)
        self._nodes = nodes

    @translated
    def sync(self, *, now: datetime) -> None:
        """Have the nodes sampled that are Online, and no others."""
        wanted = set(self._nodes.distinct("_id", {"status": NodeStatus.ONLINE}))
        known = set(self._collection.distinct("_id"))
        for node_id in wanted - known:
            fresh = cast("dict[str, Any]", new_sampling(node_id, now=now))
            with suppress(DuplicateKeyError):  # another worker made it a moment ago
                self._collection.update_one({"_id": node_id}, {"$setOnInsert": fresh}, upsert=True)
        if gone := sorted(known - wanted):
            self._collection.delete_many({"_id": {"$in": gone}})

    @translated
    def claim(self, token: str, *, lease_s: float, slow_too: bool = True) -> Sampling | None:
        """Take the node that is due for the longest time; nobody else gets it until `finish`.

        Or until the lease runs out. A slow one only with `slow_too`.
        """
        began = {
            "interval_ms": {"$subtract": ["$$NOW", "$began_at"]},  # null without one before
            "began_at": "$$NOW",
        }
        claimed = self._collection.find_one_and_update(
            {
                "$expr": {"$and": [{"$lte": ["$due_at", "$$NOW"]}, SAMPLING.is_free]},
                **({} if slow_too else {"slow": False}),
            },
            [{"$set": {**began, **SAMPLING.grant(token, lease_s)}}],
            sort=[("due_at", 1)],
            return_document=ReturnDocument.AFTER,
        )
        return cast("Sampling | None", claimed)

    @translated
    def renew(self, node_id: str, token: str, *, lease_s: float) -> bool:
        """Keep the node for `lease_s` from now. False: it is no longer ours."""
        return SAMPLING.renew(self._collection, {"_id": node_id}, token, lease_s)

    @translated
    def finish(self, node_id: str, token: str, found: Mapping[str, object]) -> bool:
        """Write down what a round found, and release the node. False: it was no longer ours."""
        finished = self._collection.update_one(
            {"_id": node_id, **SAMPLING.held_by(token)}, {"$set": {**found, "lease": None}}
        )
        return finished.matched_count == 1

    @translated
    def list_last(self, node_ids: Iterable[str], instance_ids: Iterable[str]) -> list[Sampling]:
        """Read how these nodes are sampled, with what these of their instances used last."""
        fields: Mapping[str, Any] = {
            **dict.fromkeys(("interval_ms", "rounds", "began_at", "skipped"), 1),
            **{f"last.{instance_id}": 1 for instance_id in instance_ids},
        }
        found = self._collection.find({"_id": {"$in": sorted(set(node_ids))}}, fields)
        return cast("list[Sampling]", list(found))

    @translated
    def list_usage(self) -> list[Sampling]:
        """Read how all nodes are sampled, with what each of their instances used last."""
        fields = dict.fromkeys(("last", "interval_ms", "rounds", "skipped"), 1)
        return cast("list[Sampling]", list(self._collection.find({}, fields)))
