"""What must be done on nodes, and who is doing it.

A worker claims an operation with a lease. Leases are measured by the database's own clock, and
every write to a claimed operation is conditional on the lease's token: a worker that comes back
late, when another has taken over, changes nothing.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, cast

from pymongo import ReturnDocument
from pymongo.errors import DuplicateKeyError

from service.documents import Operation, Step
from service.lifecycle import OperationKind, OperationStatus
from service.store.collection import Documents, Indexes, Session, translated

INDEXES: Indexes = [
    # At most one running and one waiting operation for each instance.
    {
        "keys": [("instance_id", 1), ("status", 1)],
        "unique": True,
        "partialFilterExpression": {
            "status": {"$in": [OperationStatus.PENDING, OperationStatus.RUNNING]}
        },
    },
    {"keys": [("status", 1), ("created_at", 1)]},
    {"keys": [("instance_id", 1), ("created_at", 1)]},
]

_CANDIDATES = 8
"""How many waiting operations one claim looks at, when others claim at the same time."""


class Operations(Documents[Operation]):
    """The operations."""

    what = "operation"

    @translated
    def find_open(
        self, instance_id: str, kind: OperationKind, *, session: Session | None = None
    ) -> Operation | None:
        """Read the instance's operation of this kind that has not ended, the waiting one first."""
        document = self._collection.find_one(
            {
                "instance_id": instance_id,
                "kind": kind,
                "status": {"$in": [OperationStatus.PENDING, OperationStatus.RUNNING]},
            },
            sort=[("status", 1)],
            session=session,
        )
        return cast("Operation | None", document)

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
        self._collection.update_one(
            {
                "instance_id": instance_id,
                "status": OperationStatus.PENDING,
                "kind": {"$in": list(kinds)},
            },
            {
                "$set": {
                    "status": OperationStatus.SUPERSEDED,
                    "updated_at": now,
                    "ended_at": now,
                }
            },
            session=session,
        )

    @translated
    def claim(self, token: str, *, lease_s: float) -> Operation | None:
        """Take the oldest operation that is due, under a lease of `lease_s` seconds.

        One whose worker let its lease run out comes first. An operation waits while another of its
        instance runs.
        """
        orphan = self._take(
            {
                "status": OperationStatus.RUNNING,
                "$expr": {"$lt": ["$lease.until", "$$NOW"]},
            },
            token,
            lease_s,
        )
        if orphan is not None:
            return orphan
        for candidate in self._collection.aggregate(_DUE):
            try:
                taken = self._take(
                    {"_id": candidate["_id"], "status": OperationStatus.PENDING}, token, lease_s
                )
            except DuplicateKeyError:
                continue  # Another operation of the instance began to run a moment ago.
            if taken is not None:
                return taken
        return None

    @translated
    def renew(self, operation_id: str, token: str, *, lease_s: float) -> bool:
        """Extend the lease by `lease_s` from now. False when it is no longer ours."""
        renewed = self._collection.update_one(
            _held(operation_id, token), [{"$set": {"lease": _lease(token, lease_s)}}]
        )
        return renewed.matched_count == 1

    @translated
    def begin_step(self, operation_id: str, token: str, name: str, *, now: datetime) -> bool:
        """Write that a step begins. False when the lease is no longer ours."""
        step = Step(name=name, started_at=now, ended_at=None, error=None)
        begun = self._collection.update_one(
            _held(operation_id, token), {"$push": {"steps": step}, "$set": {"updated_at": now}}
        )
        return begun.matched_count == 1

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
        return self._leave(
            operation_id,
            token,
            {"status": status, "error": error, "updated_at": now, "ended_at": now},
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
        now: datetime,
    ) -> bool:
        """Put the operation back, to be tried again in `delay_s` seconds.

        When a newer operation of the instance waits already, this one ends superseded by it. False
        when the lease is no longer ours.
        """
        later = {"$add": ["$$NOW", int(delay_s * 1000)]}
        pending = {
            "status": OperationStatus.PENDING.value,
            "error": {"$literal": error},
            "next_attempt_at": later,
            "lease": None,
            "updated_at": "$$NOW",
        }
        try:
            changed = self._collection.update_one(_held(operation_id, token), [{"$set": pending}])
        except DuplicateKeyError:
            return self.finish(
                operation_id, token, OperationStatus.SUPERSEDED, error=error, now=now
            )
        return changed.matched_count == 1

    def _leave(
        self,
        operation_id: str,
        token: str,
        changes: Mapping[str, object],
        *,
        session: Session | None,
    ) -> bool:
        left = self._collection.update_one(
            _held(operation_id, token), {"$set": {**changes, "lease": None}}, session=session
        )
        return left.matched_count == 1

    def _take(self, query: dict[str, Any], token: str, lease_s: float) -> Operation | None:
        taken = self._collection.find_one_and_update(
            query,
            [
                {
                    "$set": {
                        "status": OperationStatus.RUNNING.value,
                        "lease": _lease(token, lease_s),
                        "attempts": {"$add": ["$attempts", 1]},
                        "updated_at": "$$NOW",
                    }
                }
            ],
            sort=[("created_at", 1)],
            return_document=ReturnDocument.AFTER,
        )
        return cast("Operation | None", taken)


def _held(operation_id: str, token: str) -> dict[str, object]:
    return {"_id": operation_id, "status": OperationStatus.RUNNING, "lease.token": token}


def _lease(token: str, lease_s: float) -> dict[str, object]:
    return {"token": token, "until": {"$add": ["$$NOW", int(lease_s * 1000)]}}


_DUE: Sequence[Mapping[str, object]] = [
    {
        "$match": {
            "status": OperationStatus.PENDING,
            # An operation that was never tried has no time yet, and nothing sorts before all times.
            "$expr": {"$lte": ["$next_attempt_at", "$$NOW"]},
        }
    },
    {"$sort": {"created_at": 1}},
    {
        "$lookup": {
            "from": "operations",
            "localField": "instance_id",
            "foreignField": "instance_id",
            "pipeline": [
                {"$match": {"status": OperationStatus.RUNNING}},
                {"$project": {"_id": 1}},
            ],
            "as": "running",
        }
    },
    {"$match": {"running": []}},
    {"$limit": _CANDIDATES},
    {"$project": {"_id": 1}},
]
