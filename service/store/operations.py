"""What must be done on nodes. How a worker has one, and what it writes then, is in claims.py."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, cast

from pymongo import ReturnDocument
from pymongo.collection import Collection as MongoCollection

from service.model.documents import Operation
from service.model.lifecycle import OPEN, OperationKind, OperationStatus
from service.store.collection import Collection, Indexes, Session, translated
from service.store.transitions import TransitionLog

_IS_OPEN = {"$in": sorted(OPEN)}
_BY_AGE = [("created_at", 1), ("_id", 1)]
"""What all lists are sorted by, in either direction."""

INDEXES: Indexes = [
    # At most one running and one waiting operation for each instance.
    {
        "keys": [("instance_id", 1), ("status", 1)],
        "unique": True,
        "partialFilterExpression": {"status": _IS_OPEN},
    },
    {"keys": [("status", 1), *_BY_AGE]},
    {"keys": [("status", 1), ("node_id", 1), ("created_at", 1)]},
    {"keys": [("status", 1), ("node_id", 1), ("next_attempt_at", 1)]},
    {"keys": [("instance_id", 1), *_BY_AGE]},
    {"keys": [("node_id", 1), *_BY_AGE]},
    {"keys": [("node_id", 1), ("status", 1), ("updated_at", 1)]},
    {"keys": [("user_id", 1), *_BY_AGE]},
    {"keys": _BY_AGE},
    {"keys": [("expires_at", 1)], "expireAfterSeconds": 0},
]


class Operations(Collection[Operation]):
    """The operations. Those that ended are forgotten after `keep_ended_s` seconds."""

    what = "operation"
    unlisted = ("bulk.items",)

    def __init__(
        self,
        collection: MongoCollection[dict[str, Any]],
        *,
        keep_ended_s: float,
        moves: TransitionLog,
        only: Mapping[str, Any] | None = None,
        key_id: str | None = None,
        acts_for: str | None = None,
    ) -> None:
        super().__init__(collection, only=only)
        self._own = {"kind": OperationKind.BULK, "requested_by": key_id}
        if acts_for is not None:
            self._own["acts_for"] = acts_for
        self._keep_ended_s = keep_ended_s
        self._moves = moves

    def add(self, document: Operation, *, session: Session | None = None) -> None:
        """Write a new operation. Raises Conflict when another of its instance waits already."""
        super().add(document, session=session)
        self._moves.add_operation(document, None, session=session)

    @translated
    def find(self, document_id: str, *, session: Session | None = None) -> Operation | None:
        """Read one operation by its id; also a bulk operation that the very key asked for.

        A key that acts for a user finds those that it asked for on behalf of this one.
        """
        query: dict[str, Any] = {"_id": document_id}
        if self._only:
            query["$or"] = [self._only, self._own]
        found = self._collection.find_one(query, session=session)
        return cast("Operation | None", found)

    @translated
    def list_newest(self, wanted: Mapping[str, str], *, limit: int) -> list[Operation]:
        """Read the newest `limit` operations with these values of `instance_id` and the like."""
        cursor = self._collection.find(self._within(wanted))
        cursor.sort([("created_at", -1), ("_id", -1)]).limit(limit)
        return cast(list[Operation], list(cursor))

    @translated
    def list_touched(self, node_id: str, since: datetime) -> set[str]:
        """List the ids of the node's instances that have an open operation, or had since then.

        `since` is a time by the database's clock.
        """
        query = {"$or": [{"status": _IS_OPEN}, {"updated_at": {"$gte": since}}]}
        return {
            *self._collection.distinct("instance_id", {"node_id": node_id, **query}),
            *self._collection.distinct("remains_of", {"node_id": node_id, **query}),
        }

    @translated
    def has_open_on(self, node_id: str, *, session: Session | None = None) -> bool:
        """Return whether an operation of the node has not ended."""
        query = {"status": _IS_OPEN, "node_id": node_id}
        return self._collection.find_one(query, ["_id"], session=session) is not None

    @translated
    def count_open(self, kind: OperationKind) -> dict[str, int]:
        """Count the operations of a kind that have not ended, by their status."""
        groups = self._collection.aggregate(
            [
                {"$match": {"status": _IS_OPEN, "kind": kind}},
                {"$group": {"_id": "$status", "count": {"$sum": 1}}},
            ]
        )
        return {group["_id"]: group["count"] for group in groups}

    @translated
    def find_open(
        self, instance_id: str, kind: OperationKind, *, session: Session | None = None
    ) -> Operation | None:
        """Read the instance's operation of this kind that has not ended, the waiting one first."""
        document = self._collection.find_one(
            {
                "instance_id": instance_id,
                "kind": kind,
                "status": _IS_OPEN,
            },
            sort=[("status", 1)],
            session=session,
        )
        return cast("Operation | None", document)

    @translated
    def list_open(
        self,
        instance_id: str,
        kinds: Iterable[OperationKind],
        *,
        session: Session | None = None,
    ) -> list[Operation]:
        """Read the instance's operations of these kinds that have not ended, the running first."""
        found = self._collection.find(
            {"instance_id": instance_id, "kind": {"$in": sorted(kinds)}, "status": _IS_OPEN},
            session=session,
        )
        return cast("list[Operation]", list(found.sort("status", -1)))

    @translated
    def find_waiting(self, instance_id: str, *, session: Session) -> Operation | None:
        """Read the instance's operation that waits to be carried out."""
        waiting = {"instance_id": instance_id, "status": OperationStatus.PENDING}
        found = self._collection.find_one(waiting, session=session)
        return cast("Operation | None", found)

    @translated
    def list_outcomes(self, operation_ids: Iterable[str]) -> dict[str, Operation]:
        """Read those of these operations that are there, but only how far they are."""
        found = self._collection.find(
            {"_id": {"$in": list(operation_ids)}}, {"status": 1, "error": 1}
        )
        return {each["_id"]: cast("Operation", each) for each in found}

    @translated
    def change_open(
        self, operation_id: str, changes: Mapping[str, object], *, session: Session
    ) -> None:
        """Write what an operation that has not ended is to do."""
        self._collection.update_one(
            {"_id": operation_id, "status": _IS_OPEN}, {"$set": dict(changes)}, session=session
        )

    @translated
    def count_to_image(self, image_id: str, *, session: Session) -> int:
        """Count the changes under way that give their instances this image."""
        return self._collection.count_documents(
            {"status": _IS_OPEN, "changes.image_id": image_id}, session=session
        )

    @translated
    def set_owner(self, instance_id: str, user_id: str, *, session: Session) -> None:
        """Write down whose the instance of these operations is now."""
        self._collection.update_many(
            {"instance_id": instance_id}, {"$set": {"user_id": user_id}}, session=session
        )

    @translated
    def list_removed_containers(self, instance_ids: Iterable[str]) -> dict[str, str | None]:
        """List which of these instances are forgotten and still to be removed from their nodes.

        Each with its container's id, None for one that was never known.
        """
        found = self._collection.find(
            {
                "instance_id": {"$in": sorted(instance_ids)},
                "kind": OperationKind.REMOVE,
                "status": _IS_OPEN,
                "container_id": {"$exists": True},
            },
            {"instance_id": 1, "container_id": 1},
        )
        return {document["instance_id"]: document["container_id"] for document in found}

    @translated
    def find_removal(self, instance_id: str, node_id: str, *, session: Session) -> Operation | None:
        """Read the open operation that removes what an instance left on a node that it left."""
        removal = {"status": _IS_OPEN, "node_id": node_id, "remains_of": instance_id}
        found = self._collection.find_one(removal, session=session)
        return cast("Operation | None", found)

    @translated
    def list_removals(
        self, instance_id: str, node_id: str, *, since: datetime, session: Session
    ) -> list[Operation]:
        """List those made since then that remove what the instance left there, the oldest first."""
        removals = {"node_id": node_id, "remains_of": instance_id, "created_at": {"$gte": since}}
        found = self._collection.find(removals, session=session)
        return cast("list[Operation]", list(found.sort(_BY_AGE)))

    @translated
    def find_latest(self, instance_id: str) -> Operation | None:
        """Read the newest operation of the instance."""
        document = self._collection.find_one(
            {"instance_id": instance_id}, sort=[("created_at", -1), ("_id", -1)]
        )
        return cast("Operation | None", document)

    @translated
    def find_last(
        self, instance_id: str, kind: OperationKind, *, session: Session
    ) -> Operation | None:
        """Read the newest operation of this kind of the instance."""
        document = self._collection.find_one(
            {"instance_id": instance_id, "kind": kind},
            sort=[("created_at", -1), ("_id", -1)],
            session=session,
        )
        return cast("Operation | None", document)

    @translated
    def supersede_waiting(
        self,
        instance_id: str,
        *,
        kinds: Iterable[OperationKind] = tuple(OperationKind),
        now: datetime,
        session: Session,
    ) -> None:
        """End the instance's waiting operation if it is one of `kinds`: newer things are wanted."""
        self.move(
            {
                "instance_id": instance_id,
                "status": OperationStatus.PENDING,
                "kind": {"$in": list(kinds)},
            },
            self.ending(OperationStatus.SUPERSEDED, now=now),
            session=session,
        )

    @translated
    def supersede_on(self, node_id: str, *, now: datetime, session: Session) -> None:
        """End all waiting operations of a node that goes.

        But for transfers, which have something to undo on another node.
        """
        waiting = {
            "node_id": node_id,
            "status": OperationStatus.PENDING,
            "kind": {"$ne": OperationKind.TRANSFER},
        }
        found = self._collection.find(waiting, {"_id": 1}, session=session)
        those = {"_id": {"$in": [operation["_id"] for operation in found]}}
        self._collection.update_many(
            {**waiting, **those}, self.ending(OperationStatus.SUPERSEDED, now=now), session=session
        )
        for ended in self._read_all(those, session=session):
            self._moves.add_operation(ended, OperationStatus.PENDING, session=session)

    @translated
    def cancel_waiting(self, operation_id: str, *, now: datetime, session: Session) -> bool:
        """End the operation before it begins. False when it is not waiting."""
        return self.move(
            {"_id": operation_id, "status": OperationStatus.PENDING},
            self.ending(OperationStatus.CANCELLED, now=now),
            session=session,
        )

    @translated
    def request_cancel(self, operation_id: str, *, session: Session) -> bool:
        """Have the worker that carries it out stop at its next checkpoint. False: it has ended.

        One that waits is due at once.
        """
        asked = self._collection.update_one(
            {"_id": operation_id, "status": _IS_OPEN},
            {"$set": {"cancel_requested": True, "next_attempt_at": None}},
            session=session,
        )
        return asked.matched_count == 1

    @translated
    def retry_now(self, operation_id: str) -> bool:
        """Let the operation be tried at once. False when it is not waiting."""
        return self._retry_now({"_id": operation_id}) == 1

    @translated
    def retry_now_on_node(self, node_id: str) -> None:
        """Let all waiting operations of a node that came back be tried at once."""
        self._retry_now({"node_id": node_id})

    def move(
        self,
        query: Mapping[str, Any],
        changes: list[Mapping[str, Any]],
        *,
        session: Session | None = None,
    ) -> bool:
        """Move one operation on from the status that the query names. False when there is none.

        For claims.py and this module: the others move it by what is wanted.
        """
        moved = self._collection.find_one_and_update(
            query, changes, return_document=ReturnDocument.AFTER, session=session
        )
        if moved is None:
            return False
        self._moves.add_operation(cast("Operation", moved), query["status"], session=session)
        return True

    def ending(
        self, status: OperationStatus, *, error: str | None = None, now: datetime
    ) -> list[Mapping[str, Any]]:
        """Make the changes that end an operation, for `move`."""
        ended = {
            "status": status.value,
            "error": {"$literal": error} if error else "$error",
            "lease": None,
            "ended_at": now,
            "updated_at": "$$NOW",
            "expires_at": {"$add": ["$$NOW", int(self._keep_ended_s * 1000)]},
        }
        return [{"$set": ended}]

    def _retry_now(self, query: Mapping[str, Any]) -> int:
        hurried = self._collection.update_many(
            {**query, "status": OperationStatus.PENDING}, {"$set": {"next_attempt_at": None}}
        )
        return hurried.matched_count
