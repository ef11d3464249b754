"""What instances take of nodes, whoever may see these: host ports, and places."""

from collections.abc import Collection as Collected
from collections.abc import Iterable, Mapping
from typing import Any

from service.errors import PortTaken
from service.model.documents import Instance
from service.store.collection import Collection, Indexes, Session, translated

INDEXES: Indexes = [
    # One document holds several ports, and no two documents of a node hold the same. Partial,
    # because two documents of a node with no port at all would collide.
    {
        "keys": [("node_id", 1), ("ports", 1)],
        "unique": True,
        "partialFilterExpression": {"ports.0": {"$exists": True}},
    },
    # The same among those that are being transferred to a node. See `refuse_held_ports`.
    {
        "keys": [("arrival.node_id", 1), ("arrival.ports", 1)],
        "unique": True,
        "partialFilterExpression": {"arrival.ports.0": {"$exists": True}},
    },
]


def is_held(node_id: str, ports: Collected[int]) -> dict[str, Any]:
    """Make the query for instances on their way to the node for which one of the ports is held."""
    return {
        "arrival.node_id": node_id,
        "arrival.ports": {"$in": list(ports)},
        "arrival.ports.0": {"$exists": True},
    }


class Occupancy(Collection[Instance]):
    """The instances, of which the nodes and the host ports are a part."""

    what = "instance"

    @translated
    def list_taken_ports(self, node_id: str, *, session: Session | None = None) -> set[int]:
        """List the host ports of a node that instances hold, whoever may see these.

        Those that are being transferred to it hold some as well.
        """
        found = self._collection.find(
            {"node_id": node_id, "ports.0": {"$exists": True}}, ["ports"], session=session
        )
        arriving = self._collection.find(
            {"arrival.node_id": node_id, "arrival.ports.0": {"$exists": True}},
            ["arrival.ports"],
            session=session,
        )
        return {port for instance in found for port in instance["ports"]} | {
            port for instance in arriving for port in instance["arrival"]["ports"]
        }

    @translated
    def refuse_held_ports(
        self, node_id: str, ports: Iterable[int], *, session: Session | None
    ) -> None:
        """Raise PortTaken for a host port that is held for an instance on its way to the node.

        No index knows both kinds. But whoever takes a port on a node, of either kind, writes to the
        node in the same transaction: of two at the same time one is tried again, and sees this.
        """
        wanted = list(ports)
        if not wanted:
            return
        found = self._collection.find_one(
            is_held(node_id, wanted), ["arrival.ports"], session=session
        )
        if found is not None:
            raise PortTaken(node_id, min({*wanted} & {*found["arrival"]["ports"]}))

    @translated
    def list_holders(
        self, node_ids: list[str], ports: Iterable[int], *, session: Session | None = None
    ) -> dict[str, set[int]]:
        """List the host ports of instances that hold one of `ports`, by node, for these nodes.

        Whoever may see these, and those on their way to the node too.
        """
        wanted = list(ports)
        found: dict[str, set[int]] = {}
        for path in ("", "arrival."):
            held = {
                f"{path}node_id": {"$in": node_ids},
                f"{path}ports": {"$in": wanted},
                f"{path}ports.0": {"$exists": True},
            }
            fields = [f"{path}node_id", f"{path}ports"]
            for instance in self._collection.find(held, fields, session=session):
                holder = instance["arrival"] if path else instance
                before = found.get(holder["node_id"], set())
                found[holder["node_id"]] = before.union(holder["ports"])
        return found

    @translated
    def count_by_node(
        self, query: Mapping[str, str], *, session: Session | None = None
    ) -> dict[str, int]:
        """Count the instances that have a `user_id` or an `image_id`, by the ids of their nodes.

        Whoever may see these. An index tells it.
        """
        groups = self._collection.aggregate(
            [{"$match": dict(query)}, {"$group": {"_id": "$node_id", "count": {"$sum": 1}}}],
            session=session,
        )
        return {group["_id"]: group["count"] for group in groups}
