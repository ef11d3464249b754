"""What nodes promise instances, as it is counted and as it adds up."""

from typing import Any, NamedTuple, cast

from pymongo.database import Database

from service.model.documents import Allocated
from service.store.collection import Session, translated
from service.store.deleted import COLLECTION as DELETED
from service.store.revised import RevisedCollection

_MEASURES = ("instances", "memory_mib", "cpu_milli", "disk_mib")

_OWN = {
    "memory_mib": {"$ifNull": ["$reserved.memory_mib", "$memory_mib"]},
    "cpu_milli": {"$ifNull": ["$reserved.cpu_milli", "$cpu_milli"]},
    "disk_mib": {"$toLong": {"$round": {"$multiply": [{"$ifNull": ["$disk_gb", 0]}, 1024]}}},
}
"""What an instance holds of the node that it is on: `held_by`, as the database writes it."""

_ARRIVING = {measure: f"$arrival.{measure}" for measure in _OWN}
"""What it holds of the node that it is being transferred to."""

_HOLDS = (
    ("instances", "node_id", _OWN),
    ("instances", "arrival.node_id", _ARRIVING),
    (DELETED, "node_id", _OWN),
)
"""All that is promised: in which collection, of the node in which field, and how much."""


class Miscount(NamedTuple):
    """A node that counts something else than what is held of it."""

    node_id: str
    name: str
    counted: Allocated
    held: Allocated


class Promises:
    """What nodes promise instances: those that are on them, arrive there, or are kept there."""

    def __init__(self, database: Database[dict[str, Any]]) -> None:
        self._database = database
        self._observing = RevisedCollection(database["nodes"], observes=True)

    @translated
    def list_miscounted(self, *, session: Session) -> list[Miscount]:
        """List the nodes that count something else than what is held of them, by their names."""
        held = self._sum_up({"$ne": None}, session=session)
        nodes = self._observing.find({}, ["name", "allocated"], session=session).sort("name", 1)
        return [
            Miscount(node["_id"], node["name"], node["allocated"], found)
            for node in nodes
            if node["allocated"] != (found := held.get(node["_id"], _nothing()))
        ]

    @translated
    def recount(self, node_id: str, *, session: Session) -> None:
        """Count anew what is held of a node.

        Whoever takes or gives back some of it writes to the node too: neither passes the other.
        """
        held = self._sum_up(node_id, session=session).get(node_id, _nothing())
        self._observing.update_one({"_id": node_id}, {"$set": {"allocated": held}}, session=session)

    def _sum_up(self, of_node: Any, *, session: Session) -> dict[str, Allocated]:
        """Add up what is held, by node: of the nodes whose ids are like that."""
        sums: dict[str, Allocated] = {}
        for collection, place, size in _HOLDS:
            added = {measure: {"$sum": amount} for measure, amount in size.items()}
            found = self._database[collection].aggregate(
                [
                    {"$match": {place: of_node}},
                    {"$group": {"_id": f"${place}", "instances": {"$sum": 1}, **added}},
                ],
                session=session,
            )
            for more in found:
                before = cast("dict[str, int]", sums.get(more["_id"], _nothing()))
                total = {measure: before[measure] + more[measure] for measure in _MEASURES}
                sums[more["_id"]] = cast("Allocated", total)
        return sums


def _nothing() -> Allocated:
    return Allocated(memory_mib=0, cpu_milli=0, disk_mib=0, instances=0)
