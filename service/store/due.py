"""Which operations a worker may take next, and in which order.

Operations on nodes that are idle come first, then those on nodes that are busy, then those on nodes
that keep an operation waiting; in each of these the oldest. So no node gets a second thread before
each other has its first, and one that hangs is in nobody's way.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from service.model.lifecycle import Lane, OperationKind, OperationStatus, lane_of
from service.store.lease import LeaseField

CLAIM = LeaseField("lease")
"""Held by the worker that carries the operation out."""

SLOW_S = 1.0
"""How long an operation runs before its node counts as one that keeps us waiting."""

_ALL = frozenset(Lane)
_KINDS: Mapping[Lane, object] = {
    Lane.DEPLOY: OperationKind.DEPLOY,
    Lane.SHORT: {"$ne": OperationKind.DEPLOY},
}

RUNNING_FIELDS = {
    "node_id": 1,
    "instance_id": 1,
    "kind": 1,
    "is_slow": {"$lt": ["$claimed_at", {"$subtract": ["$$NOW", int(SLOW_S * 1000)]}]},
    "is_orphan": CLAIM.is_free,
}
"""What is to be read of each running operation."""


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


NO_LIMITS = Limits()


class Queue:
    """The running operations, and what may join them."""

    def __init__(
        self,
        running: Iterable[Mapping[str, Any]],
        waiting_nodes: Iterable[str],
        *,
        node_limit: int,
        limits: Limits,
        room: Room,
    ) -> None:
        """Take `running` operations with RUNNING_FIELDS, and the nodes that others wait for.

        In each lane a node gets `node_limit` operations at a time, or one while it is on trial or
        there is no room for further ones.
        """
        self._running = list(running)
        self._room = room
        self._deploying = limits.deploying or {}
        trial = set(limits.on_trial)
        busy = {operation["node_id"] for operation in self._running}
        slow = trial.union(each["node_id"] for each in self._running if each["is_slow"])
        there = set(waiting_nodes).difference(limits.offline)
        self._tiers = (
            (there - busy - slow, room.prompt),
            ((there & busy) - slow, room.prompt),
            (there & slow, room.slow),
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

    def make_queries(self) -> Iterator[dict[str, Any]]:
        """Make the queries for operations that are due, those first that come first."""
        for nodes, lanes in self._tiers:
            clauses = [
                self._make_clause(lane, nodes - self._full[lane])
                for lane in sorted(lanes)
                if nodes - self._full[lane]
            ]
            if clauses:
                ours = [each["instance_id"] for each in self._running if each["node_id"] in nodes]
                yield {
                    "status": OperationStatus.PENDING,
                    "node_id": {"$in": sorted(nodes)},
                    "instance_id": {"$nin": sorted(ours)},
                    "$or": clauses,
                    # One that was never tried has no time yet, and nothing sorts before all times.
                    "$expr": {"$lte": ["$next_attempt_at", "$$NOW"]},
                }

    def _make_clause(self, lane: Lane, nodes: set[str]) -> dict[str, Any]:
        clause: dict[str, Any] = {"kind": _KINDS[lane], "node_id": {"$in": sorted(nodes)}}
        held = sorted(self._deploying.keys() & nodes)
        if lane == Lane.DEPLOY and held:
            free = {"node_id": {"$nin": held}}
            clause["$or"] = [free, {"_id": {"$in": sorted(self._deploying.values())}}]
        return clause
