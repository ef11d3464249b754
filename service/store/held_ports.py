"""Host ports of nodes that something else there was found to have."""

from datetime import datetime
from typing import Any

from service.model.documents import Node
from service.model.held_ports import FORGOTTEN_AFTER, MOST
from service.store.collection import Collection, translated


class HeldPorts(Collection[Node]):
    """The nodes, of which these ports are a part."""

    what = "node"

    @translated
    def record(self, node_id: str, port: int, *, now: datetime) -> None:
        """Write down that the port is held now. The newest MOST of a node are known."""
        held = [{"port": port, "seen_at": now}]
        known = {"$concatArrays": [held, _filter({"$ne": ["$$each.port", port]}, now=now)]}
        self._observing.update_one(
            {"_id": node_id}, [{"$set": {"held_ports": {"$slice": [known, MOST]}}}]
        )

    @translated
    def forget_old(self, node_id: str, *, now: datetime) -> None:
        """Forget those of the node that were not found for long."""
        self._observing.update_one(
            {"_id": node_id, "held_ports.seen_at": {"$lte": now - FORGOTTEN_AFTER}},
            [{"$set": {"held_ports": _filter(True, now=now)}}],
        )


def _filter(condition: object, *, now: datetime) -> dict[str, Any]:
    is_known = {"$gt": ["$$each.seen_at", now - FORGOTTEN_AFTER]}
    return {
        "$filter": {
            "input": {"$ifNull": ["$held_ports", []]},
            "as": "each",
            "cond": {"$and": [is_known, condition]},
        }
    }
