"""Files of removed instances that nobody could delete through their nodes."""

from service.model.documents import Leftover
from service.store.collection import Collection, Indexes, Session, translated

INDEXES: Indexes = [{"keys": [("node_id", 1)]}]


class Leftovers(Collection[Leftover]):
    """What is left, one document for each instance that is gone."""

    what = "leftover"

    @translated
    def put(self, leftover: Leftover, *, session: Session) -> None:
        """Write down what is left of an instance, instead of what was known before."""
        self._collection.update_one(
            {"_id": leftover["_id"]}, {"$set": leftover}, upsert=True, session=session
        )

    @translated
    def remove(self, instance_id: str, *, session: Session) -> None:
        """Forget what was left of an instance: it is gone."""
        self._collection.delete_one({"_id": instance_id}, session=session)

    @translated
    def list_on(self, node_id: str) -> list[Leftover]:
        """Read what is left on a node, oldest first."""
        return self._read_all({"node_id": node_id})

    @translated
    def remove_on(self, node_id: str, *, session: Session) -> None:
        """Forget what is left on a node that goes."""
        self._collection.delete_many({"node_id": node_id}, session=session)
