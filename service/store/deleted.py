"""Instances that are deleted and kept, apart from all others.

They are in a collection of their own. So whatever lists, counts or looks up instances does not see
them, their ports and their external ids are anybody's, and only what names this collection deals
with them. An instance is in one of the two, and goes from one to the other in a transaction.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import cast

from service.model.documents import DeletedInstance
from service.model.lifecycle import InstanceState, Power
from service.store.collection import Indexes, Session, translated
from service.store.instances import Instances
from service.store.versions import LISTED

COLLECTION = "deleted_instances"

_BOUND = {"power": {"$ne": Power.STOPPED}}
"""What may still listen on its ports."""

INDEXES: Indexes = [
    {"keys": [*LISTED, ("node_id", 1)]},
    {"keys": [("user_id", 1), *LISTED, ("node_id", 1)]},
    {"keys": [("node_id", 1), *LISTED]},
    {"keys": [("image_id", 1), *LISTED]},
    {"keys": [("state", 1), *LISTED]},
    {"keys": [("state", 1), ("purge_at", 1)]},
    {"keys": [("updated_at", 1), ("_id", 1)]},
    {"keys": [("name", 1), ("_id", 1)]},
    {"keys": [("node_id", 1), ("state", 1), ("power", 1), ("suspended", 1), ("_id", 1)]},
    {"keys": [("node_id", 1), ("power", 1), ("port_map.host", 1)]},
    {"keys": [("container_id", 1)]},
]

PURGED_AT_ONCE = 100


class DeletedInstances(Instances):
    """The instances that are DELETED, or DELETING since they are purged."""

    @translated
    def list_due(self, now: datetime) -> list[DeletedInstance]:
        """Read the first of those whose time is over and that are not being purged."""
        due = {"state": InstanceState.DELETED, "purge_at": {"$lte": now}}
        found = self._collection.find(due).sort("purge_at", 1).limit(PURGED_AT_ONCE)
        return cast("list[DeletedInstance]", list(found))

    @translated
    def list_bound_ports(self, node_id: str, *, session: Session | None = None) -> set[int]:
        """List the host ports of a node that may still be listened on."""
        query = {"node_id": node_id, **_BOUND}
        found = self._collection.find(query, ["port_map"], session=session)
        return {pair["host"] for instance in found for pair in instance["port_map"]}

    @translated
    def list_containers(self, instance_ids: Iterable[str]) -> dict[str, str | None]:
        """List like that of other instances; None for one whose container may be any."""
        found = self._collection.find(
            {"_id": {"$in": sorted(instance_ids)}}, {"kept": 1, "container_id": 1}
        )
        return {
            document["_id"]: document["container_id"] if document["kept"]["intact"] else None
            for document in found
        }
