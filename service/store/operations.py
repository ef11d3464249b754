"""What must be done on nodes, and who is doing it.

A worker claims an operation with a lease. Leases are measured by the database's own clock, and
every write to a claimed operation is conditional on the lease's token: a worker that comes back
late, when another has taken over, changes nothing.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, cast

import pymongo
from pymongo import ReturnDocument
from pymongo.collection import Collection as MongoCollection
from pymongo.errors import DuplicateKeyError, PyMongoError

from service.model.documents import LeftBehind, Operation, Step
from service.model.lifecycle import OPEN, OperationKind, OperationStatus
from service.store.collection import Collection, Indexes, Session, translated
from service.store.due import ANY_ROOM, CLAIM, RUNNING_FIELDS, Limits, Queue, Room
from service.store.transitions import TransitionLog

_IS_OPEN = {"$in": sorted(OPEN)}

INDEXES: Indexes = [
    # At most one running and one waiting operation for each instance.
    {
        "keys": [("instance_id", 1), ("status", 1)],
        "unique": True,
        "partialFilterExpression": {"status": _IS_OPEN},
    },
    {"keys": [("status", 1), ("created_at", 1)]},
    {"keys": [("status", 1), ("node_id", 1), ("created_at", 1)]},
    {"keys": [("instance_id", 1), ("created_at", 1)]},
    {"keys": [("node_id", 1), ("status", 1), ("updated_at", 1)]},
    {"keys": [("user_id", 1), ("created_at", 1)]},
    {"keys": [("created_at", 1)]},
    {"keys": [("expires_at", 1)], "expireAfterSeconds": 0},
]

_CANDIDATES = 8
"""How many waiting operations one claim looks at, when others claim at the same time."""

_TAKE_TIMEOUT_S = 1.0
"""How long one claim waits for a document that a transaction has."""

_CLOSED_STEPS = {
    "$map": {
        "input": "$steps",
        "as": "step",
        "in": {
            "$cond": [
                {"$eq": ["$$step.ended_at", None]},
                {
                    "$mergeObjects": [
                        "$$step",
                        {"ended_at": "$$NOW", "error": "The worker that did it went away."},
                    ]
                },
                "$$step",
            ]
        },
    }
}
"""An operation's steps, with an end for one that a worker began and never ended."""


class Operations(Collection[Operation]):
    """The operations. Those that ended are forgotten after `keep_ended_s` seconds."""

    what = "operation"

    def __init__(
        self,
        collection: MongoCollection[dict[str, Any]],
        *,
        keep_ended_s: float,
        moves: TransitionLog,
        only: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(collection, only=only)
        self._keep_ended_s = keep_ended_s
        self._moves = moves

    def add(self, document: Operation, *, session: Session | None = None) -> None:
        """Write a new operation. Raises Conflict when another of its instance waits already."""
        super().add(document, session=session)
        self._moves.add_operation(document, None, session=session)

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
        touched = self._collection.distinct(
            "instance_id",
            {"node_id": node_id, "$or": [{"status": _IS_OPEN}, {"updated_at": {"$gte": since}}]},
        )
        return set(touched)

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
    def find_latest(self, instance_id: str) -> Operation | None:
        """Read the newest operation of the instance."""
        document = self._collection.find_one(
            {"instance_id": instance_id}, sort=[("created_at", -1), ("_id", -1)]
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
        self._move(
            {
                "instance_id": instance_id,
                "status": OperationStatus.PENDING,
                "kind": {"$in": list(kinds)},
            },
            self._ending(OperationStatus.SUPERSEDED, now=now),
            session=session,
        )

    @translated
    def supersede_on(self, node_id: str, *, now: datetime, session: Session) -> None:
        """End all waiting operations of a node that goes."""
        waiting = {"node_id": node_id, "status": OperationStatus.PENDING}
        found = self._collection.find(waiting, {"_id": 1}, session=session)
        those = {"_id": {"$in": [operation["_id"] for operation in found]}}
        self._collection.update_many(
            {**waiting, **those}, self._ending(OperationStatus.SUPERSEDED, now=now), session=session
        )
        for ended in self._read_all(those, session=session):
            self._moves.add_operation(ended, OperationStatus.PENDING, session=session)

    @translated
    def cancel_waiting(self, operation_id: str, *, now: datetime, session: Session) -> bool:
        """End the operation before it begins. False when it is not waiting."""
        return self._move(
            {"_id": operation_id, "status": OperationStatus.PENDING},
            self._ending(OperationStatus.CANCELLED, now=now),
            session=session,
        )

    @translated
    def request_cancel(self, operation_id: str, *, session: Session) -> bool:
        """Have the worker that carries it out stop at its next checkpoint. False if none does."""
        asked = self._collection.update_one(
            {"_id": operation_id, "status": OperationStatus.RUNNING},
            {"$set": {"cancel_requested": True}},
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

    @translated
    def claim(
        self,
        token: str,
        *,
        lease_s: float,
        node_limit: int = 1000,
        without_nodes: Iterable[str] = (),
        on_trial: Iterable[str] = (),
        deploying: Mapping[str, str] | None = None,
        room: Room = ANY_ROOM,
    ) -> Operation | None:
        """Take an operation that is due, under a lease of `lease_s` seconds; see due.py for which.

        One whose worker let its lease run out comes first. An operation waits while another of its
        instance runs, while `node_limit` others of its lane run on its node, and while its node is
        one of `without_nodes`. For the others see Limits and Room.
        """
        limits = Limits(offline=without_nodes, on_trial=on_trial, deploying=deploying)
        for candidate in self._list_candidates(node_limit, limits, room):
            try:
                taken = self._take(candidate, token, lease_s)
            except DuplicateKeyError:
                continue  # Another operation of the instance began to run a moment ago.
            except PyMongoError as exc:
                if not exc.timeout:
                    raise
                continue  # A transaction has it, perhaps of a process that died in the middle.
            if taken is not None:
                return taken
        return None

    @translated
    def renew(self, operation_id: str, token: str, *, lease_s: float) -> bool:
        """Extend the lease by `lease_s` from now. False when it is no longer ours."""
        running = {"_id": operation_id, "status": OperationStatus.RUNNING}
        return CLAIM.renew(self._collection, running, token, lease_s)

    @translated
    def begin_step(self, operation_id: str, token: str, name: str, *, now: datetime) -> bool:
        """Write that a step begins. False when the lease is no longer ours."""
        step = Step(name=name, started_at=now, ended_at=None, error=None)
        begun = self._collection.update_one(
            _held(operation_id, token), {"$push": {"steps": step}, "$set": {"updated_at": now}}
        )
        return begun.matched_count == 1

    @translated
    def set_progress(self, operation_id: str, token: str, progress: str) -> bool:
        """Write how far the step is that was begun last. False when the lease is not ours."""
        noted = self._collection.update_one(
            _held(operation_id, token),
            {"$set": {"steps.$[open].progress": progress}},
            array_filters=[{"open.ended_at": None}],
        )
        return noted.matched_count == 1

    @translated
    def end_step(
        self, operation_id: str, token: str, *, error: str | None = None, now: datetime
    ) -> None:
        """Write how the step ended that was begun last."""
        self._collection.update_one(
            {**_held(operation_id, token), "steps.ended_at": None},
            {"$set": {"steps.$[open].ended_at": now, "steps.$[open].error": error}},
            array_filters=[{"open.ended_at": None}],
        )

    @translated
    def set_leftovers(
        self, operation_id: str, token: str, leftovers: LeftBehind, *, session: Session
    ) -> None:
        """Write down what a removal could not delete, if the lease is still ours."""
        self._collection.update_one(
            _held(operation_id, token), {"$set": {"leftovers": leftovers}}, session=session
        )

    @translated
    def finish(
        self,
        operation_id: str,
        token: str,
        status: OperationStatus,
        *,
        error: str | None = None,
        now: datetime,
        session: Session | None = None,
    ) -> bool:
        """End the operation. False when the lease is no longer ours."""
        return self._move(
            _held(operation_id, token), self._ending(status, error=error, now=now), session=session
        )

    @translated
    def postpone(
        self,
        operation_id: str,
        token: str,
        *,
        delay_s: float,
        error: str | None = None,
        tried: bool = True,
        now: datetime,
    ) -> bool:
        """Put the operation back, to be tried again in `delay_s` seconds.

        It counts as an attempt only if it was `tried`.

        When a newer operation of the instance waits already, this one ends superseded by it. False
        when the lease is no longer ours.
        """
        later = {"$add": ["$$NOW", int(delay_s * 1000)]}
        pending = {
            "status": OperationStatus.PENDING.value,
            "error": {"$literal": error},
            "next_attempt_at": later,
            "lease": None,
            "attempts": {"$subtract": ["$attempts", 0 if tried else 1]},
            "updated_at": "$$NOW",
        }
        try:
            return self._move(_held(operation_id, token), [{"$set": pending}])
        except DuplicateKeyError:
            return self.finish(
                operation_id, token, OperationStatus.SUPERSEDED, error=error, now=now
            )

    def _move(
        self,
        query: Mapping[str, Any],
        changes: list[Mapping[str, Any]],
        *,
        session: Session | None = None,
    ) -> bool:
        """Move one operation on from the status that the query names. False when there is none."""
        moved = self._collection.find_one_and_update(
            query, changes, return_document=ReturnDocument.AFTER, session=session
        )
        if moved is None:
            return False
        self._moves.add_operation(cast("Operation", moved), query["status"], session=session)
        return True

    def _ending(
        self, status: OperationStatus, *, error: str | None = None, now: datetime
    ) -> list[Mapping[str, Any]]:
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

    def _list_candidates(
        self, node_limit: int, limits: Limits, room: Room
    ) -> Iterator[dict[str, Any]]:
        running = {"status": OperationStatus.RUNNING}
        queue = Queue(
            self._collection.find(running, RUNNING_FIELDS),
            self._collection.distinct("node_id", {"status": OperationStatus.PENDING}),
            node_limit=node_limit,
            limits=limits,
            room=room,
        )
        for operation_id in queue.list_orphans()[:_CANDIDATES]:
            yield {"_id": operation_id, **running, "$expr": CLAIM.is_free}
        for query in queue.make_queries():
            due = self._collection.find(
                query, {"_id": 1}, sort=[("created_at", 1)], limit=_CANDIDATES
            )
            for operation in due:
                yield {"_id": operation["_id"], "status": OperationStatus.PENDING}

    def _take(self, candidate: Mapping[str, Any], token: str, lease_s: float) -> Operation | None:
        changes = {
            "status": OperationStatus.RUNNING.value,
            **CLAIM.grant(token, lease_s),
            "claimed_at": "$$NOW",
            "attempts": {"$add": ["$attempts", 1]},
            "steps": _CLOSED_STEPS,
            "updated_at": "$$NOW",
        }
        with pymongo.timeout(_TAKE_TIMEOUT_S):
            taken = self._collection.find_one_and_update(
                candidate, [{"$set": changes}], return_document=ReturnDocument.AFTER
            )
        operation = cast("Operation | None", taken)
        if operation is not None:
            self._moves.add_operation(operation, candidate["status"])
        return operation


def _held(operation_id: str, token: str) -> dict[str, object]:
    return {"_id": operation_id, "status": OperationStatus.RUNNING, **CLAIM.held_by(token)}
