"""The machines that run instances, and what they have promised."""

import builtins
from collections.abc import Mapping
from typing import cast

from pymongo import ReturnDocument

from service.documents import Node
from service.errors import CapacityExceeded, NodeNotEmpty, NotFound
from service.lifecycle import NodeStatus
from service.store.collection import Documents, Indexes, Session, translated

INDEXES: Indexes = [{"keys": [("probed_at", 1)]}]


class Nodes(Documents[Node]):
    """The nodes."""

    what = "node"

    @translated
    def find_by_name(self, name: str) -> Node | None:
        """Read the oldest node of this name."""
        nodes = self._read_all({"name": name})
        return nodes[0] if nodes else None

    @translated
    def list_by_ids(self, node_ids: set[str]) -> "builtins.list[Node]":
        """Read the nodes of these ids that exist."""
        return self._read_all({"_id": {"$in": sorted(node_ids)}})

    @translated
    def reserve(self, node_id: str, *, memory_mib: int, cpu_milli: int, session: Session) -> None:
        """Promise one more instance of this size.

        Raises CapacityExceeded when the node's memory does not suffice, NotFound when the node is
        gone. It is the last write of its transaction: first, fifty deploys that race for a node
        would need three times the attempts.
        """
        room = {
            "$or": [
                {"$eq": ["$capacity.memory_mib", None]},
                {
                    "$lte": [
                        {"$add": ["$allocated.memory_mib", memory_mib]},
                        "$capacity.memory_mib",
                    ]
                },
            ]
        }
        changed = self._collection.update_one(
            {"_id": node_id, "$expr": room},
            {"$inc": _amounts(1, memory_mib, cpu_milli)},
            session=session,
        )
        if changed.matched_count == 0:
            node = self._read({"_id": node_id}, session=session)
            if node is None:
                raise NotFound(self.what, node_id, field="nodeId")
            raise CapacityExceeded(
                "The node has not enough memory left.",
                requestedMib=memory_mib,
                allocatedMib=node["allocated"]["memory_mib"],
                capacityMib=node["capacity"]["memory_mib"],
            )

    @translated
    def release(self, node_id: str, *, memory_mib: int, cpu_milli: int, session: Session) -> None:
        """Take back what `reserve` promised."""
        self._collection.update_one(
            {"_id": node_id}, {"$inc": _amounts(-1, memory_mib, cpu_milli)}, session=session
        )

    @translated
    def claim_probe(self, *, interval_s: float) -> Node | None:
        """Take one node that was not probed for `interval_s`. Nobody else gets it until then."""
        due = {
            "$or": [
                {"$eq": ["$probed_at", None]},
                {
                    "$lte": [
                        "$probed_at",
                        {"$subtract": ["$$NOW", int(interval_s * 1000)]},
                    ]
                },
            ]
        }
        claimed = self._collection.find_one_and_update(
            {"status": {"$ne": NodeStatus.UNCONFIGURED}, "$expr": due},
            [{"$set": {"probed_at": "$$NOW"}}],
            sort=[("probed_at", 1)],
            return_document=ReturnDocument.AFTER,
        )
        return cast("Node | None", claimed)

    @translated
    def note_probe(self, node_id: str, changes: Mapping[str, object]) -> Node:
        """Write what a probe found. Raises NotFound when the node is gone."""
        node = self._collection.find_one_and_update(
            {"_id": node_id}, {"$set": dict(changes)}, return_document=ReturnDocument.AFTER
        )
        if node is None:
            raise NotFound(self.what, node_id)
        return cast("Node", node)

    @translated
    def remove(self, node_id: str) -> None:
        """Forget the node. Raises NodeNotEmpty while instances live on it, NotFound for no node."""
        gone = self._collection.delete_one({"_id": node_id, "allocated.instances": 0})
        if gone.deleted_count == 0:
            node = self._read({"_id": node_id})
            if node is None:
                raise NotFound(self.what, node_id, field="nodeId")
            count = node["allocated"]["instances"]
            raise NodeNotEmpty(
                "Instances still live on this node.", nodeId=[f"Instances on it: {count}."]
            )


def _amounts(instances: int, memory_mib: int, cpu_milli: int) -> dict[str, int]:
    return {
        "allocated.instances": instances,
        "allocated.memory_mib": instances * memory_mib,
        "allocated.cpu_milli": instances * cpu_milli,
    }
