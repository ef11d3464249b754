"""The operations that workers have claimed, each under a lease: lease.py.

Every write to one is conditional on the lease's token: a worker that comes back late, when another
has taken over, changes nothing.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, cast

import pymongo
from pymongo import ReturnDocument
from pymongo.collection import Collection as MongoCollection
from pymongo.errors import DuplicateKeyError, PyMongoError

from service.errors import Conflict
from service.model.documents import LeftBehind, Operation, Step
from service.model.lifecycle import OperationStatus
from service.store.collection import Session, translated
from service.store.due import ANY_ROOM, CLAIM, LOOK, NO_LIMITS, Limits, Look, Queue, Room
from service.store.operations import Operations
from service.store.revised import RevisedCollection
from service.store.transitions import TransitionLog

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


class Claims:
    """What workers have claimed of the operations."""

    def __init__(
        self,
        collection: MongoCollection[dict[str, Any]],
        *,
        operations: Operations,
        moves: TransitionLog,
    ) -> None:
        self._collection = RevisedCollection(collection)
        self._operations = operations
        self._moves = moves

    @translated
    def look(self) -> Look:
        """Look at what waits and what runs: one query, whatever the number of operations."""
        return Look(self._collection.aggregate(LOOK))

    @translated
    def take(
        self,
        token: str,
        *,
        look: Look | None = None,
        lease_s: float,
        node_limit: int = 1000,
        limits: Limits = NO_LIMITS,
        room: Room = ANY_ROOM,
    ) -> Operation | None:
        """Take an operation that is due, under a lease of `lease_s` seconds; see due.py for which.

        One whose worker let its lease run out comes first. An operation waits while another of its
        instance runs, while `node_limit` others of its lane run on its node, and while its node is
        offline. For the others see Limits and Room. `look` is what was found a moment ago.
        """
        queue = Queue(look or self.look(), node_limit=node_limit, limits=limits, room=room)
        for candidate in self._list_candidates(queue):
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
    def begin_step(
        self, operation_id: str, token: str, name: str, *, undoes: bool = False, now: datetime
    ) -> bool:
        """Write that a step begins. False when it is to be cancelled, or no longer ours.

        What `undoes` goes on: it is what a cancellation asks for.
        """
        step = Step(name=name, started_at=now, ended_at=None, error=None)
        wanted = _held(operation_id, token)
        if not undoes:
            wanted = {**wanted, "cancel_requested": False}
        begun = self._collection.update_one(
            wanted, {"$push": {"steps": step}, "$set": {"updated_at": now}}
        )
        return begun.matched_count == 1

    @translated
    def fence(self, operation_id: str, token: str, *, session: Session) -> bool:
        """Have the transaction end well only while the lease is ours. False when it is not."""
        ours = self._collection.update_one(
            _held(operation_id, token), [{"$set": {"updated_at": "$$NOW"}}], session=session
        )
        return ours.matched_count == 1

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
    def begin_replacement(self, operation_id: str, token: str, *, found: bool, run: bool) -> bool:
        """Write that a container is being replaced, and what it was found to be, unless that is.

        What somebody wishes meanwhile stays. False when the lease is no longer ours.
        """
        before, wish = "$replacement.begun", {"$ifNull": ["$replacement.run", run]}
        begun = {
            "begun": True,
            "found": {"$cond": [before, "$replacement.found", found]},
            "run": wish,
        }
        noted = self._collection.update_one(
            _held(operation_id, token),
            [{"$set": {f"replacement.{name}": value for name, value in begun.items()}}],
        )
        return noted.matched_count == 1

    @translated
    def begin_undo(
        self, operation_id: str, token: str, reason: str, *, node_id: str | None = None
    ) -> bool:
        """Write that what was there before is made again, on `node_id` where that is another.

        False when the lease is not ours.
        """
        changes = {"replacement.undo": reason, "attempts": 1}
        if node_id is not None:
            changes["node_id"] = node_id
        noted = self._collection.update_one(_held(operation_id, token), {"$set": changes})
        return noted.matched_count == 1

    @translated
    def go_on_at(self, operation_id: str, token: str, node_id: str) -> bool:
        """Write that the rest is to be done on another node. False when the lease is not ours."""
        noted = self._collection.update_one(
            _held(operation_id, token), {"$set": {"node_id": node_id}}
        )
        return noted.matched_count == 1

    @translated
    def set_copied(
        self, operation_id: str, token: str, *, copied: int, total: int | None, progress: str
    ) -> bool:
        """Write how many bytes are copied, of how many. False when the lease is not ours."""
        noted = self._collection.update_one(
            _held(operation_id, token),
            {
                "$set": {
                    "transfer.bytes_copied": copied,
                    "transfer.bytes_total": total,
                    "steps.$[open].progress": progress,
                }
            },
            array_filters=[{"open.ended_at": None}],
        )
        return noted.matched_count == 1

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
        return self._operations.move(
            _held(operation_id, token),
            self._operations.ending(status, error=error, now=now),
            session=session,
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
        session: Session | None = None,
    ) -> bool:
        """Put the operation back, to be tried again in `delay_s` seconds.

        It counts as an attempt only if it was `tried`. False when the lease is no longer ours.
        Raises Conflict, with nothing changed, when a newer operation of the instance waits already.
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
            return self._operations.move(
                _held(operation_id, token), [{"$set": pending}], session=session
            )
        except DuplicateKeyError as exc:
            if session is not None:
                raise  # it ends the transaction, which is tried again
            raise Conflict("A newer operation of the instance waits.") from exc

    def _list_candidates(self, queue: Queue) -> Iterator[dict[str, Any]]:
        running = {"status": OperationStatus.RUNNING}
        for operation_id in queue.list_orphans()[:_CANDIDATES]:
            yield {"_id": operation_id, **running, "$expr": CLAIM.is_free}
        for query, order in queue.make_queries():
            due = self._collection.find(query, {"_id": 1}, sort=[(order, 1)], limit=_CANDIDATES)
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
