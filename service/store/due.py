"""Which operations a worker may take next, and in which order.

Operations on nodes that are idle come first, then those on nodes that are busy, then those on nodes
that keep an operation waiting; in each of these the oldest. So no node gets a second thread before
each other has its first, and one that hangs is in nobody's way. Bulk operations come last.
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from service.model.documents import NO_NODE
from service.model.lifecycle import PULLING, Lane, NodeStatus, OperationStatus, lane_of
from service.model.node_warnings import is_on_trial
from service.store.lease import LeaseField

CLAIM = LeaseField("lease")
"""Held by the worker that carries the operation out."""

SLOW_S = 1.0
"""How long an operation runs before its node counts as one that keeps us waiting."""

_ALL = frozenset(Lane)
_KINDS: Mapping[Lane, object] = {
    Lane.DEPLOY: {"$in": sorted(PULLING)},
    Lane.SHORT: {"$nin": sorted(PULLING)},
}

_RUNNING = {
    "node_id": 1,
    "instance_id": 1,
    "kind": 1,
    "is_slow": {"$lt": ["$claimed_at", {"$subtract": ["$$NOW", int(SLOW_S * 1000)]}]},
    "is_orphan": CLAIM.is_free,
    "slow_in_ms": {"$subtract": [{"$add": ["$claimed_at", int(SLOW_S * 1000)]}, "$$NOW"]},
    "free_in_ms": {"$subtract": ["$lease.until", "$$NOW"]},
}
"""What is to be read of each running operation."""

LOOK: list[dict[str, Any]] = [
    {"$match": {"status": OperationStatus.PENDING}},
    # In the order of an index, of which the first entry of each node is read, and no other. One
    # that was never tried has no time yet, and nothing sorts before all times.
    {"$sort": {"node_id": 1, "next_attempt_at": 1}},
    {"$group": {"_id": "$node_id", "next_attempt_at": {"$first": "$next_attempt_at"}}},
    {
        "$project": {
            "due_in_ms": {"$subtract": [{"$ifNull": ["$next_attempt_at", "$$NOW"]}, "$$NOW"]}
        }
    },
    {
        "$unionWith": {
            "coll": "operations",
            "pipeline": [
                {"$match": {"status": OperationStatus.RUNNING}},
                {"$project": _RUNNING},
            ],
        }
    },
]
"""A pipeline on the operations: the nodes that operations wait for, and what runs."""


class Look:
    """What waits and what runs, as one look at the operations found it."""

    def __init__(self, found: Iterable[Mapping[str, Any]]) -> None:
        """Take the documents of LOOK."""
        self.running: list[Mapping[str, Any]] = []
        self._due_in_ms: dict[str, float] = {}
        for each in found:
            if "due_in_ms" in each:
                self._due_in_ms[each["_id"]] = each["due_in_ms"]
            else:
                self.running.append(each)

    @property
    def waiting_nodes(self) -> Sequence[str]:
        """The nodes for which an operation is due."""
        return [node_id for node_id, due_in_ms in self._due_in_ms.items() if due_in_ms <= 0]

    @property
    def is_due(self) -> bool:
        """Whether there may be something to claim."""
        return bool(self.waiting_nodes) or any(each["is_orphan"] for each in self.running)

    @property
    def next_s(self) -> float:
        """In how many seconds another look may find more, although nothing is written till then."""
        times = [*self._due_in_ms.values(), *(each["free_in_ms"] or 0 for each in self.running)]
        if self.waiting_nodes:
            times += [each["slow_in_ms"] or 0 for each in self.running]
        return min((ms / 1000 for ms in times if ms > 0), default=math.inf)


@dataclass(frozen=True, slots=True)
class Room:
    """In which lanes a worker has a thread to spare."""

    prompt: frozenset[Lane] = _ALL
    slow: frozenset[Lane] = _ALL
    """The same for nodes that keep an operation waiting, or are on trial."""
    further: frozenset[Lane] = _ALL
    """In which lanes a node may have more than one operation at a time."""


ANY_ROOM = Room()


@dataclass(frozen=True, slots=True)
class Limits:
    """What nodes bear now."""

    offline: Iterable[str] = ()
    on_trial: Iterable[str] = ()
    """Nodes that left several operations without an answer: they get one at a time in each lane."""
    deploying: Mapping[str, str] | None = None
    """Nodes that bear one deployment at a time, each with the operation that it is busy with."""

    @classmethod
    def of_nodes(cls, found: Sequence[Mapping[str, Any]]) -> "Limits":
        """Sum up nodes, each with `is_deploying`: whether its one deployment is under way."""
        return cls(
            offline=[node["_id"] for node in found if node["status"] == NodeStatus.OFFLINE],
            on_trial=[node["_id"] for node in found if is_on_trial(node)],
            deploying={
                node["_id"]: node["deploying"]["operation_id"]
                for node in found
                if node["is_deploying"]
            },
        )


NO_LIMITS = Limits()


class Queue:
    """The running operations, and what may join them."""

    def __init__(
        self,
        look: Look,
        *,
        node_limit: int,
        limits: Limits,
        room: Room,
    ) -> None:
        """Take what a look has just found.

        In each lane a node gets `node_limit` operations at a time, or one while it is on trial or
        there is no room for further ones.
        """
        self._running = look.running
        self._room = room
        self._deploying = limits.deploying or {}
        # Bulk operations come last, and one at a time has its turn, which is short.
        trial = {NO_NODE, *limits.on_trial}
        busy = {operation["node_id"] for operation in self._running}
        slow = trial.union(each["node_id"] for each in self._running if each["is_slow"])
        there = set(look.waiting_nodes).difference(limits.offline)
        self._tiers = (
            (there - busy - slow, room.prompt, "created_at"),
            ((there & busy) - slow, room.prompt, "created_at"),
            ((there & slow) - {NO_NODE}, room.slow, "created_at"),
            # The one whose turn was the longest ago, so that none waits for all of another.
            (there & {NO_NODE}, room.slow, "next_attempt_at"),
        )
        counts = {lane: Counter[str]() for lane in Lane}
        for each in self._running:
            counts[lane_of(each["kind"])][each["node_id"]] += 1
        self._full = {
            lane: {
                node_id
                for node_id, count in counts[lane].items()
                if count >= (node_limit if lane in room.further and node_id not in trial else 1)
            }
            for lane in Lane
        }

    def list_orphans(self) -> list[str]:
        """List the running operations, by id, whose workers let their leases run out."""
        return [
            each["_id"]
            for each in self._running
            if each["is_orphan"] and lane_of(each["kind"]) in self._room.slow
        ]

    def make_queries(self) -> Iterator[tuple[dict[str, Any], str]]:
        """Make the queries for operations that are due, those first that come first.

        Each with the field by which its operations come.
        """
        for nodes, lanes, order in self._tiers:
            clauses = [
                self._make_clause(lane, nodes - self._full[lane])
                for lane in sorted(lanes)
                if nodes - self._full[lane]
            ]
            if clauses:
                ours = [each["instance_id"] for each in self._running if each["node_id"] in nodes]
                query = {
                    "status": OperationStatus.PENDING,
                    "node_id": {"$in": sorted(nodes)},
                    "instance_id": {"$nin": sorted(ours)},
                    "$or": clauses,
                    "$expr": {"$lte": ["$next_attempt_at", "$$NOW"]},
                }
                yield query, order

    def _make_clause(self, lane: Lane, nodes: set[str]) -> dict[str, Any]:
        clause: dict[str, Any] = {"kind": _KINDS[lane], "node_id": {"$in": sorted(nodes)}}
        held = sorted(self._deploying.keys() & nodes)
        if lane == Lane.DEPLOY and held:
            free = {"node_id": {"$nin": held}}
            clause["$or"] = [free, {"_id": {"$in": sorted(self._deploying.values())}}]
        return clause
