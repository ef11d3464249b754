"""The machines that run instances, and what they have promised."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, cast

from pymongo import ReturnDocument
from pymongo.collection import Collection as MongoCollection
from pymongo.errors import DuplicateKeyError

from service.errors import Conflict, NodeExists, NodeNotEmpty, NotFound
from service.model.documents import Node
from service.model.drains import DrainStatus
from service.model.lifecycle import NodeStatus
from service.model.node_warnings import TRIAL_AFTER, is_on_trial
from service.store.capacity import amounts, exceeded, has_room, refusal, takes_one
from service.store.collection import (
    EXTERNAL_ID_INDEX,
    LABELS_INDEX,
    Collection,
    Indexes,
    Session,
    duplicate_key,
    translated,
)
from service.store.due import Limits
from service.store.lease import LeaseField
from service.store.node_names import called, choose
from service.store.read_cache import ReadCache
from service.store.versions import LISTED

INDEXES: Indexes = [
    {"keys": LISTED},
    {"keys": [("updated_at", 1), ("_id", 1)]},
    {"keys": [("name", 1), ("_id", 1)]},
    {"keys": [("probed_at", 1)]},
    {"keys": [("status", 1)]},
    # No two nodes of one engine, but for those that are known to be. It never fails to be made:
    # documents from before it have neither field.
    {
        "keys": [("report.engine_id", 1)],
        "unique": True,
        "partialFilterExpression": {
            "report.engine_id": {"$type": "string"},
            "same_engine_as": {"$type": "null"},
        },
    },
    {"keys": [("unanswered", 1)], "sparse": True},
    {"keys": [("deploying.until", 1)], "sparse": True},
    EXTERNAL_ID_INDEX,
    LABELS_INDEX,
]

DEPLOYING = LeaseField("deploying", token="operation_id")  # noqa: S106
"""Held by the one deployment of a node that bears no two at once."""

_NOT_FOR_PLACEMENT = dict.fromkeys(
    ("secret", "pending_secret", "tls", "configure_key", "created_at", "updated_at", "probed_at",
     "last_seen_at", "probing", "deploying", "revision", "observations", "changed_by"), 0
)  # fmt: skip
"""What a look at a thousand nodes leaves out: secrets, and what takes a third of its time."""

_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


class Nodes(Collection[Node]):
    """The nodes."""

    what = "node"

    def __init__(
        self,
        collection: MongoCollection[dict[str, Any]],
        *,
        cache: ReadCache[Node],
        only: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(collection, only=only)
        self._cache = cache

    @translated
    def find_by_reference(self, reference: str, *, field: str = "id") -> Node | None:
        """Read a node by its id, or else by its name.

        Raises AmbiguousName, which names `field`, for the name of several.
        """
        found = self._read_all(called(reference))
        return choose(found, reference, field=field) if found else None

    @translated
    def list_called(self, reference: str) -> list[str]:
        """List the id of the node of this id, or else those of all of this name."""
        ids = [node["_id"] for node in self._read_all(called(reference))]
        return [reference] if reference in ids else ids

    def get_by_reference(self, reference: str, *, field: str = "id") -> Node:
        """Read a node like `find_by_reference`. Raises NotFound, which names `field`, too."""
        node = self.find_by_reference(reference, field=field)
        if node is None:
            raise NotFound(self.what, reference, field=field)
        return node

    def outlast_caches(self) -> None:
        """Return when every process knows of the changes of nodes that were made until now."""
        self._cache.outlast()

    def find_known(self, node_ids: set[str]) -> dict[str, Node]:
        """Find the nodes of these ids that exist, by id, as they are or were a moment ago.

        What a request changes of its address, its name and its status is seen by the next: whoever
        changes the former outlasts the caches, and a node that was not enrolled is read each time.
        """
        return self._cache.find_each(
            node_ids,
            lambda ids: {node["_id"]: node for node in self.list_by_ids(ids)},
            keeps=lambda node: node["status"] != NodeStatus.UNCONFIGURED,
        )

    @translated
    def list_for_placement(self, *, session: Session | None = None) -> list[Node]:
        """Read the nodes that may be seen, in no order, without their secrets and their times."""
        cursor = self._collection.find(self._within({}), _NOT_FOR_PLACEMENT, session=session)
        return cast("list[Node]", list(cursor))

    @translated
    def find_same_engine(self, engine_id: str | None, *, except_id: str) -> Node | None:
        """Find the oldest other node of this engine, may it be seen or not. No id is no engine."""
        if engine_id is None:
            return None
        found = self._collection.find_one(
            {"report.engine_id": engine_id, "_id": {"$ne": except_id}}, sort=[("created_at", 1)]
        )
        return cast("Node | None", found)

    @translated
    def reserve(
        self,
        node_id: str,
        *,
        memory_mib: int,
        cpu_milli: int,
        disk_mib: int = 0,
        even_if_full: bool = False,
        session: Session,
    ) -> Node:
        """Promise one more instance of this size; return the node as it is then.

        Raises CapacityExceeded when what the node may give does not suffice, Maintenance when it
        gets no more, NotFound when it is gone. It comes early in its transaction: then those that
        race for a node, of which all but one begin anew, have done little in vain.
        """
        size = {"memory_mib": memory_mib, "cpu_milli": cpu_milli, "disk_mib": disk_mib}
        bound = {} if even_if_full else takes_one(**size)
        changed = self._observing.find_one_and_update(
            {"_id": node_id, **bound},
            {"$inc": amounts(1, **size)},
            return_document=ReturnDocument.AFTER,
            session=session,
        )
        if changed is None:
            node = self._read({"_id": node_id}, session=session)
            if node is None:
                raise NotFound(self.what, node_id, field="nodeId")
            raise refusal(node, **size)
        return cast("Node", changed)

    @translated
    def show_drain(self, node_id: str, status: DrainStatus, *, session: Session) -> None:
        """Write where the drain of a node is by now, if that is news."""
        self._observing.update_one(
            {"_id": node_id, "drain": {"$ne": status}},
            {"$set": {"drain": status}},
            session=session,
        )

    @translated
    def touch_all(self, *, session: Session) -> None:
        """Have the deletion of an image conflict with every deploy, each of which has a node."""
        self._observing.update_many({}, {"$inc": {"image_deletions": 1}}, session=session)

    @translated
    def release(
        self,
        node_id: str,
        *,
        memory_mib: int,
        cpu_milli: int,
        disk_mib: int = 0,
        session: Session,
    ) -> None:
        """Take back what `reserve` promised."""
        less = amounts(-1, memory_mib, cpu_milli, disk_mib)
        self._observing.update_one({"_id": node_id}, {"$inc": less}, session=session)

    @translated
    def resize(self, node_id: str, *, memory_mib: int, cpu_milli: int, session: Session) -> None:
        """Promise an instance so much more, or less. Raises CapacityExceeded, as `reserve` does.

        What becomes less is always given back. It is the last write of its transaction.
        """
        more = {"memory_mib": memory_mib, "cpu_milli": cpu_milli}
        room = [has_room(what, amount) for what, amount in more.items() if amount > 0]
        changed = self._observing.update_one(
            {"_id": node_id, **({"$expr": {"$and": room}} if room else {})},
            {"$inc": {f"allocated.{what}": amount for what, amount in more.items()}},
            session=session,
        )
        if changed.matched_count == 0 and room:
            raise exceeded(self.get(node_id, field="nodeId", session=session), **more)

    @translated
    def list_offline(self) -> list[str]:
        """List the ids of the nodes that are known to be down."""
        return self._collection.distinct("_id", {"status": NodeStatus.OFFLINE})

    @translated
    def find_limits(self) -> Limits:
        """Return which nodes are down, on trial, or busy with the one deployment that they bear."""
        limited = {
            "$or": [
                {"status": NodeStatus.OFFLINE},
                {"unanswered": {"$gte": TRIAL_AFTER}},
                {"deploying.until": {"$gt": _LONG_AGO}},
            ]
        }
        fields = {"status": 1, "unanswered": 1, "deploying": 1, "is_deploying": DEPLOYING.is_taken}
        return Limits.of_nodes(list(self._collection.find(limited, fields)))

    @translated
    def count_unanswered(self, node_id: str) -> None:
        """Count an operation that got no answer; have the node probed at once if it is Online."""
        probed_at = {"$cond": [{"$eq": ["$status", NodeStatus.ONLINE]}, None, "$probed_at"]}
        count = {"$add": [{"$ifNull": ["$unanswered", 0]}, 1]}
        self._observing.update_one(
            {"_id": node_id}, [{"$set": {"unanswered": count, "probed_at": probed_at}}]
        )

    @translated
    def reset_unanswered(self, node_id: str) -> bool:
        """Note that an operation came to an end. True when the node was on trial until now."""
        before = self._observing.find_one_and_update(
            {"_id": node_id, "unanswered": {"$gt": 0}}, {"$set": {"unanswered": 0}}
        )
        return before is not None and is_on_trial(before)

    @translated
    def lock_deploy(
        self, node_id: str, *, operation_id: str, instance_id: str, hold_s: float
    ) -> bool:
        """Let this deployment be the node's only one for `hold_s` seconds. False while it is not.

        Whoever has it extends it by asking again.
        """
        return DEPLOYING.take(
            self._observing, {"_id": node_id}, operation_id, hold_s, instance_id=instance_id
        )

    @translated
    def unlock_deploy(self, node_id: str, *, operation_id: str) -> None:
        """Let the next deployment begin."""
        DEPLOYING.release(self._observing, {"_id": node_id}, operation_id)

    @translated
    def list_deploying(self) -> list[Node]:
        """Read the nodes on which only one deployment, which is under way, may run."""
        return self._read_all({"$expr": DEPLOYING.is_taken})

    @translated
    def take_configure_key(
        self, digest: str, *, changes: Mapping[str, object], now: datetime
    ) -> Node | None:
        """Make a configure key worthless and change its node. None for a key that is no good."""
        node = self._collection.find_one_and_update(
            {"configure_key.digest": digest, "configure_key.expires_at": {"$gt": now}},
            {"$set": {**changes, "configure_key": None, "updated_at": now}},
            return_document=ReturnDocument.AFTER,
        )
        return cast("Node | None", node)

    @translated
    def update(
        self,
        node_id: str,
        changes: Mapping[str, object],
        *,
        only_if: Mapping[str, object] | None = None,
    ) -> Node:
        """Write what a probe found, unless the node is not as `only_if` says; return it then.

        Raises NotFound when the node is gone, NodeExists when another has its engine already and
        `changes` do not say so.
        """
        try:
            node = self._observing.find_one_and_update(
                {**(only_if or {}), "_id": node_id},
                {"$set": dict(changes)},
                return_document=ReturnDocument.AFTER,
            )
        except DuplicateKeyError as exc:
            raise self._conflict(exc) from exc
        return cast("Node", node) if node is not None else self.get(node_id)

    @translated
    def replace_secret(
        self, node_id: str, secret: Mapping[str, str], *, only_if: Mapping[str, str]
    ) -> bool:
        """Write an encrypted field anew. False when it is not as `only_if` says any more."""
        replaced = self._observing.update_one({**only_if, "_id": node_id}, {"$set": dict(secret)})
        return replaced.matched_count == 1

    @translated
    def remove(self, node_id: str, *, only_if_empty: bool = True, session: Session) -> None:
        """Forget the node. Raises NodeNotEmpty while instances live on it, NotFound for no node."""
        empty = {"allocated.instances": 0} if only_if_empty else {}
        gone = self._collection.delete_one({"_id": node_id, **empty}, session=session)
        if gone == 0:
            node = self._read({"_id": node_id}, session=session)
            if node is None:
                raise NotFound(self.what, node_id, field="nodeId")
            count = node["allocated"]["instances"]
            raise NodeNotEmpty(
                "Instances still live on this node.", nodeId=[f"Instances on it: {count}."]
            )

    def _conflict(self, exc: DuplicateKeyError) -> Conflict:
        engine_id = duplicate_key(exc).get("report.engine_id")
        if engine_id is None:
            return super()._conflict(exc)
        other = self._collection.find_one({"report.engine_id": engine_id})
        if other is None:
            return super()._conflict(exc)
        return NodeExists(other["name"], other["_id"])
