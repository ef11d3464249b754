"""How nodes are drained: one document a node, which says what is on its way.

An instance is begun to be moved in the transaction that writes its operation, and the document
here is written with it, or nothing is: `begin_move`. So no two workers begin the same, never more
than `at_once` are on their way, and nothing is begun once a pause is answered. Every other write of
a worker is conditional on what it read as well.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple, cast

from service.model.documents import Drain, Moving, Stuck
from service.model.drains import ACTIVE, DRAIN_MOVES, DRAINS, DrainStatus
from service.store.collection import Collection, Indexes, Session, translated

INDEXES: Indexes = [{"keys": [("status", 1)]}]

_HAS_ROOM: dict[str, Any] = {"$lt": [{"$size": {"$objectToArray": "$moving"}}, "$at_once"]}


class DrainSums(NamedTuple):
    """What drains of one status come to."""

    drains: int
    left: int  # instances that their nodes hold, also those that are kept after their deletion
    stuck: int


class Drains(Collection[Drain]):
    """The drains: of each node that was ever drained the latest."""

    what = "drain"

    @translated
    def list_active(self) -> list[Drain]:
        """Read those that a worker attends to."""
        return cast(list[Drain], list(self._collection.find({"status": {"$in": sorted(ACTIVE)}})))

    @translated
    def sum_up(self) -> dict[DrainStatus, DrainSums]:
        """Add up those that a worker attends to, by their status."""
        sums = {
            "drains": {"$sum": 1},
            "left": {"$sum": {"$sum": "$node.allocated.instances"}},
            "stuck": {"$sum": {"$size": {"$objectToArray": "$stuck"}}},
        }
        node = {"from": "nodes", "localField": "_id", "foreignField": "_id", "as": "node"}
        found = self._collection.aggregate(
            [
                {"$match": {"status": {"$in": sorted(ACTIVE)}}},
                {"$lookup": node},
                {"$group": {"_id": "$status", **sums}},
            ]
        )
        return {DrainStatus(each.pop("_id")): DrainSums(**each) for each in found}

    @translated
    def put(self, drain: Drain, *, session: Session) -> None:
        """Write a new drain in the place of the node's last one."""
        self._collection.delete_one({"_id": drain["_id"]}, session=session)
        self._collection.insert_one(cast("dict[str, Any]", drain), session=session)

    @translated
    def move(
        self,
        drain: Drain,
        status: DrainStatus,
        changes: Mapping[str, object],
        *,
        now: datetime,
        session: Session,
    ) -> bool:
        """Bring a drain into `status`, or leave it there, with `changes`.

        False, with nothing changed, when it has another status by now than when it was read. Raises
        ValueError for a status that it may not move to.
        """
        if status not in {drain["status"], *DRAIN_MOVES[drain["status"]]}:
            raise ValueError(f"A drain does not move from {drain['status']} to {status}.")
        moved = self._collection.update_one(
            {**_name(drain), "status": drain["status"]},
            {"$set": {**changes, "status": status, "updated_at": now}},
            session=session,
        )
        return moved.matched_count == 1

    @translated
    def begin_move(
        self, drain: Drain, instance_id: str, moving: Moving, *, now: datetime, session: Session
    ) -> bool:
        """Write down that an instance is on its way.

        False, with nothing written, when it is already, when as many are as may be, and when the
        drain is paused, undone or over by now; when it is being undone, unless that was known.
        """
        undoes = drain["status"] == DrainStatus.UNDOING
        status = DrainStatus.UNDOING if undoes else {"$in": sorted(DRAINS)}
        begun = self._collection.update_one(
            {
                **_name(drain),
                "status": status,
                f"moving.{instance_id}": {"$exists": False},
                "$expr": _HAS_ROOM,
            },
            {
                "$set": {
                    f"moving.{instance_id}": moving,
                    "waiting_for": None,
                    "updated_at": now,
                    **({} if undoes else {"status": DrainStatus.RUNNING}),
                },
            },
            session=session,
        )
        return begun.matched_count == 1

    @translated
    def end_move(
        self,
        drain: Drain,
        instance_id: str,
        *,
        arrived_on: str | None,
        stuck: Stuck | None,
        now: datetime,
    ) -> None:
        """Write down where an instance is that was on its way: on the node `arrived_on`.

        None: it did not move, or is gone. What was `stuck` is so no longer where that is None. It
        does nothing when somebody else wrote it down.
        """
        name, moving = _name(drain), drain["moving"][instance_id]
        set_: dict[str, Any] = {"updated_at": now}
        unset = {f"moving.{instance_id}": ""}
        raised = {}
        if arrived_on == drain["_id"]:
            unset[f"moved.{instance_id}"] = ""
            raised = {"$inc": {"returned": 1}}
        elif arrived_on is not None:
            set_[f"moved.{instance_id}"] = arrived_on
        if stuck is None:
            unset[f"stuck.{instance_id}"] = ""
        else:
            set_[f"stuck.{instance_id}"] = stuck
        self._collection.update_one(
            {**name, f"moving.{instance_id}.operation_id": moving["operation_id"]},
            {"$set": set_, "$unset": unset, **raised},
        )

    @translated
    def add_stuck(self, drain: Drain, instance_id: str, stuck: Stuck, *, now: datetime) -> None:
        """Write down why an instance cannot be moved, unless it is on its way."""
        self._collection.update_one(
            {
                **_name(drain),
                "status": {"$in": sorted(ACTIVE)},
                f"moving.{instance_id}": {"$exists": False},
            },
            {"$set": {f"stuck.{instance_id}": stuck, "updated_at": now}},
        )

    @translated
    def forget(
        self, drain: Drain, field: str, instance_ids: Iterable[str], *, now: datetime
    ) -> None:
        """Take instances out of those that are `stuck`, or `moved`."""
        self._collection.update_one(
            _name(drain),
            {
                "$set": {"updated_at": now},
                "$unset": {f"{field}.{instance_id}": "" for instance_id in sorted(instance_ids)},
            },
        )

    @translated
    def remove(self, node_id: str, *, session: Session) -> None:
        """Forget the drain of a node that goes."""
        self._collection.delete_one({"_id": node_id}, session=session)


def _name(drain: Drain) -> dict[str, Any]:
    """Write the query for this very drain."""
    return {"_id": drain["_id"], "drain_id": drain["drain_id"]}
