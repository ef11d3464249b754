"""Which nodes are probed, when and by which worker."""

from datetime import datetime
from typing import cast

from pymongo import ReturnDocument

from service.model.documents import Node
from service.model.lifecycle import NodeStatus
from service.store.collection import Collection, translated
from service.store.lease import LeaseField

PROBING = LeaseField("probing")
"""Held by the worker that probes the node."""


class Probes(Collection[Node]):
    """The nodes, of which the times and the leases of probes are a part."""

    what = "node"

    @translated
    def claim(self, token: str, *, interval_s: float, lease_s: float) -> Node | None:
        """Take one node that was not probed for `interval_s`. Nobody else gets it until then.

        Nor while it is being probed: until `end`, or `lease_s` after the last `renew`.
        """
        # Of an index. Who is to be probed at once has no time, and nothing sorts before all times.
        due = {"$lte": ["$probed_at", {"$subtract": ["$$NOW", int(interval_s * 1000)]}]}
        claimed = self._observing.find_one_and_update(
            {"status": {"$ne": NodeStatus.UNCONFIGURED}, "$expr": {"$and": [due, PROBING.is_free]}},
            [{"$set": {"probed_at": "$$NOW", **PROBING.grant(token, lease_s)}}],
            sort=[("probed_at", 1)],
            return_document=ReturnDocument.AFTER,
        )
        return cast("Node | None", claimed)

    @translated
    def renew(self, node_ids: list[str], token: str, *, lease_s: float) -> None:
        """Keep others from probing the nodes that are still being probed under this token."""
        self._observing.update_many(
            {"_id": {"$in": node_ids}, **PROBING.held_by(token)},
            [{"$set": PROBING.grant(token, lease_s)}],
        )

    @translated
    def end(self, node_id: str, token: str, *, seen_at: datetime | None) -> None:
        """Let the node be probed when it is due again; note when it answered, if it did."""
        seen = {} if seen_at is None else {"last_seen_at": seen_at}
        PROBING.release(self._observing, {"_id": node_id}, token, **seen)

    @translated
    def oldest_age_s(self) -> float:
        """Return the seconds since the oldest probe of the nodes that are probed; 0 without any."""
        # Who is to be probed at once has no time, but was seen or made at one.
        since = {"$ifNull": ["$probed_at", "$last_seen_at", "$created_at"]}
        ages = self._collection.aggregate(
            [
                {"$match": {"status": {"$ne": NodeStatus.UNCONFIGURED}}},
                {"$group": {"_id": None, "age": {"$max": {"$subtract": ["$$NOW", since]}}}},
            ]
        )
        return next((max(0.0, found["age"] / 1000) for found in ages), 0.0)
