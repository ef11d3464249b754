"""Which worker follows which node: a lease for each, beside the nodes.

Not in their documents, of which each renewal would make another revision: caches of all that names
the node would be made anew every few seconds.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from pymongo.collection import Collection as MongoCollection

from service.model.lifecycle import NodeStatus
from service.store.collection import Indexes, translated
from service.store.lease import LeaseField

INDEXES: Indexes = [{"keys": [("lease.token", 1)]}]

FOLLOWING = LeaseField("lease")


class Watches:
    """The leases, one document a node that was ever followed."""

    def __init__(
        self,
        collection: MongoCollection[dict[str, Any]],
        *,
        nodes: MongoCollection[dict[str, Any]],
    ) -> None:
        """Do nothing yet."""
        self._collection = collection
        self._nodes = nodes

    @translated
    def list_nodes(self) -> list[tuple[str, str, datetime]]:
        """List the nodes that can be called: id, driver, and when somebody last changed them."""
        found = self._nodes.find(
            {"status": {"$ne": NodeStatus.UNCONFIGURED}}, ["driver", "updated_at"]
        )
        return [(node["_id"], node["driver"], node["updated_at"]) for node in found]

    @translated
    def find_holders(self) -> dict[str, str]:
        """Return whose tokens the leases are under that have not run out, by node."""
        held = self._collection.find({"$expr": FOLLOWING.is_taken})
        return {watch["_id"]: watch["lease"]["token"] for watch in held}

    @translated
    def take(self, node_id: str, token: str, *, lease_s: float) -> bool:
        """Take the lease of a node. False while another has it."""
        fresh = {"$setOnInsert": {"lease": None}}
        self._collection.update_one({"_id": node_id}, fresh, upsert=True)
        return FOLLOWING.take(self._collection, {"_id": node_id}, token, lease_s)

    @translated
    def take_over(self, node_id: str, holder: str, token: str, *, lease_s: float) -> bool:
        """Take the lease of a node from its holder, who has too many. False: it is not theirs."""
        taken = self._collection.update_one(
            {"_id": node_id, **FOLLOWING.held_by(holder)},
            [{"$set": FOLLOWING.grant(token, lease_s)}],
        )
        return taken.matched_count == 1

    @translated
    def renew(self, token: str, *, lease_s: float) -> None:
        """Extend all leases of this token."""
        self._collection.update_many(
            FOLLOWING.held_by(token), [{"$set": FOLLOWING.grant(token, lease_s)}]
        )

    @translated
    def release(self, node_ids: Iterable[str], token: str) -> None:
        """Let others take these nodes at once, as far as they are held under this token."""
        self._collection.delete_many({"_id": {"$in": list(node_ids)}, **FOLLOWING.held_by(token)})
