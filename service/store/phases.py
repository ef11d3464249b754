"""How far the programs of instances are: which are awaited, and what became of them.

A phase follows the power, in the very write that says what was seen of a container: whatever writes
`power` writes with `follow_power`. So whoever reads an instance reads a phase of this start, not of
the one before. A start is known by when the node says that it was, or as a change of the power
where it does not say. A program that is to be looked at is `starting` until `ready_by`, which is
another time at each start: what is found out about one start is never written down of another.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, cast

from service.model.documents import Instance, ReadyCheck
from service.model.lifecycle import NotReady, Phase, Power
from service.store.collection import Collection, Indexes, translated
from service.store.revised import Changes

Json = dict[str, Any]

_AWAITED: Json = {"ready_by": {"$type": "date"}}

INDEXES: Indexes = [
    # Of those that start, which are few.
    {"keys": [("ready_by", 1)], "partialFilterExpression": _AWAITED}
]

MOST = 10_000
"""How many programs are looked at in turn; more of them wait until some of these are ready."""

_NEEDED = ("node_id", "primary_port", "ready", "ready_by", "started_at")


class Phases(Collection[Instance]):
    """The instances whose programs are awaited."""

    what = "instance"

    @translated
    def list_starting(self) -> list[Instance]:
        """Read what is needed of those that are to be looked at."""
        found = self._collection.find(_AWAITED, [*_NEEDED]).sort("ready_by", 1).limit(MOST)
        return cast("list[Instance]", list(found))

    @translated
    def mark_ready(self, seen: Instance, *, now: datetime) -> bool:
        """Write down that the program is ready, which was started when it was `seen`.

        False, with nothing changed, when it ended meanwhile, or was started again.
        """
        marked = self._observing.update_one(
            {
                "_id": seen["_id"],
                "phase": Phase.STARTING,
                "ready_by": seen["ready_by"],
                "started_at": seen.get("started_at"),
            },
            {"$set": {"phase": Phase.READY, "ready_at": now, "ready_by": None}},
        )
        return marked.matched_count == 1

    @translated
    def give_up(self) -> int:
        """Look no longer at programs whose time is over, and say so. Return how many they were."""
        over = self._observing.update_many(
            {**_AWAITED, "$expr": {"$lte": ["$ready_by", "$$NOW"]}},
            {"$set": {"not_ready": NotReady.TIMEOUT, "ready_by": None}},
        )
        return over.modified_count


def follow_power(changes: Mapping[str, Any]) -> Changes:
    """Make the update with these changes of an instance, and of its phase if its power is seen."""
    if "power" not in changes:
        return {"$set": dict(changes)}
    runs = changes["power"] == Power.RUNNING
    phase = _follow_start(changes) if runs else _follow_end(changes)
    return [{"$set": phase}, {"$set": {name: {"$literal": v} for name, v in changes.items()}}]


def _follow_start(changes: Mapping[str, Any]) -> Json:
    """Begin anew where this is another start than the one that was known, or another image."""
    known, started_at = {"$ifNull": ["$started_at", None]}, changes.get("started_at")
    check = {"$ifNull": ["$ready", None]}
    after = {"$literal": changes["ready"]} if "ready" in changes else check
    is_new: list[Json] = [{"$ne": ["$power", Power.RUNNING]}, {"$ne": [after, check]}]
    if started_at is not None:
        is_new.append({"$and": [{"$ne": [known, None]}, {"$ne": [known, started_at]}]})
    timeout_s, unseen = _find_details(changes)
    is_awaited = {"$and": [{"$ne": [after, None]}, {"$ne": [unseen, True]}]}
    begun = {
        "phase": {"$cond": [is_awaited, Phase.STARTING, Phase.READY]},
        "ready_at": {"$cond": [is_awaited, None, "$$NOW"]},
        "ready_by": {
            "$cond": [is_awaited, {"$add": ["$$NOW", {"$multiply": [1000, timeout_s]}]}, None]
        },
        "not_ready": None,
    }
    before: Json = {name: {"$ifNull": [f"${name}", None]} for name in begun}
    # What ran before phases were kept.
    before["phase"] = {"$ifNull": ["$phase", Phase.READY]}
    return {
        name: {"$cond": [{"$or": is_new}, value, before[name]]} for name, value in begun.items()
    }


def _find_details(changes: Mapping[str, Any]) -> tuple[Any, Any]:
    """Find how long the program has, and whether nobody looks at it."""
    if "ready" not in changes:
        return "$ready.timeout_s", "$ready.unseen"
    check: ReadyCheck | None = changes["ready"]
    return (check["timeout_s"], check.get("unseen", False)) if check else (0, False)


def _follow_end(changes: Mapping[str, Any]) -> Json:
    """Note that a program that was awaited is not any more; what is known already stays."""
    why = NotReady.EXITED if changes.get("error") is not None else NotReady.STOPPED
    not_ready = {"$ifNull": ["$not_ready", None]}
    was_awaited = {"$eq": ["$phase", Phase.STARTING]}
    return {
        "phase": None,
        "ready_at": None,
        "ready_by": None,
        "not_ready": {
            "$cond": [was_awaited, {"$ifNull": ["$not_ready", why]}, not_ready],
        },
    }
