"""Moves the instances of nodes that are drained, a few at a time: one of all workers does.

All that is known is in the documents, and what is begun is written with its operation, in one
transaction (store/drains.py). So a worker that dies at any moment, or works on after it lost the
duty, leaves nothing behind: the next one finds what is on its way, and goes on.
"""

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Protocol

from service import audit
from service.errors import (
    CapacityExceeded,
    Maintenance,
    NodeFailure,
    NoFreePorts,
    NotFound,
    NotSupported,
    PortTaken,
    ServiceError,
    StoreUnavailable,
    list_details,
)
from service.model.documents import Drain, Instance, Moving, Operation, Stuck
from service.model.drains import (
    ENDS,
    MOST_STUCK,
    DrainStatus,
    WaitingFor,
    judge,
    list_to_return,
    retry_delay_s,
)
from service.model.lifecycle import ENDED, InstanceState, NodeStatus
from service.model.origin import Origin
from service.store import Store
from service.store.cause import caused_by
from service.store.collection import Session
from service.worker.interruptions import DrainChanged
from service.worker.loops import attempt

log = logging.getLogger(__name__)

LEASE_S = 10.0
"""How long the worker that drains may be silent before another one does."""

PAUSE_S = 1.0
"""How long it waits before it looks again what has arrived."""

TURN_TRIES = 10
"""How many instances of one drain are tried in one turn."""

TARGETS = 5
"""How many nodes are tried for one instance, the best first, where the first ones refuse."""

_ELSEWHERE = (CapacityExceeded, Maintenance, NoFreePorts, NodeFailure, NotSupported, PortTaken)
"""What one node refuses, and another may not."""

_SETTLED = frozenset({InstanceState.READY, InstanceState.FAILED})


class Begin(Protocol):
    """Has an instance moved to a node, by an operation, in one transaction. Raises ServiceError."""

    def __call__(
        self, store: Store, reference: str, *, node_id: str, origin: Origin
    ) -> tuple[Instance, Operation]:
        """Take on the transfer."""


class Rank(Protocol):
    """Lists the nodes where an instance fits, best first. Raises ServiceError where it does not."""

    def __call__(self, store: Store, instance: Instance, /) -> list[str]:
        """List the ids of the nodes, one at least."""


class Draining:
    """The drains that one worker attends to: all, while it has the duty."""

    def __init__(
        self,
        store: Store,
        token: str,
        *,
        begin: Begin,
        rank: Rank,
        lease_s: float = LEASE_S,
        now: Callable[[], datetime],
    ) -> None:
        """Do nothing yet. `token` is the worker's own."""
        self._store = store
        self._token = token
        self._begin = begin
        self._rank = rank
        self._lease_s = lease_s
        self._now = now

    def turn(self) -> bool:
        """Take a turn at each drain, if it is ours to. True when something was begun or ended."""
        drains = self._store.drains.list_active()
        if not drains or not self._store.drain_duty.take(self._token, lease_s=self._lease_s):
            return False
        # One that fails does not keep the others from their turns.
        turns = [attempt(partial(self.take_turn, drain)) for drain in drains]
        return any(turns)

    def release(self) -> None:
        """Let another worker do it at once."""
        self._store.drain_duty.release(self._token)

    def take_turn(self, drain: Drain) -> bool:
        """Write down what has arrived, begin some more, and say where the drain is by now.

        Raises StoreUnavailable.
        """
        with caused_by(drain["requested_by"], drain["request_id"]):
            settled = self._settle(drain)
            fresh = self._find(drain)
            if fresh is None:
                return settled
            begun = fresh["status"] != DrainStatus.PAUSED and self._begin_some(fresh)
            return self._judge(drain) or begun or settled

    def _find(self, drain: Drain, *, session: Session | None = None) -> Drain | None:
        """Read the drain as it is now; None when it, or its node, is gone."""
        fresh = self._store.drains.find(drain["_id"], session=session)
        return fresh if fresh and fresh["drain_id"] == drain["drain_id"] else None

    def _settle(self, drain: Drain) -> bool:
        """Write down the ends of what was on its way."""
        moving = drain["moving"]
        if not moving:
            return False
        ids = [each["operation_id"] for each in moving.values()]
        outcomes = self._store.operations.list_outcomes(ids)
        there = self._store.instances.list_by_ids(moving)
        where = {each["_id"]: each["node_id"] for each in there}
        ended = False
        for instance_id, each in moving.items():
            operation = outcomes.get(each["operation_id"])
            if operation is not None and operation["status"] not in ENDED:
                continue
            ended, node_id = True, where.get(instance_id)
            # Where the instance is says more than how the operation ended.
            arrived = node_id == each["node_id"]
            stuck = None
            if not arrived and node_id is not None and operation is not None:
                reason = operation["error"] or f"The operation ended {operation['status']}."
                stuck = self._make_stuck(drain, instance_id, NodeFailure.code, reason)
            self._store.drains.end_move(
                drain,
                instance_id,
                arrived_on=node_id if arrived else None,
                stuck=stuck,
                now=self._now(),
            )
        return ended

    def _begin_some(self, drain: Drain) -> bool:
        """Begin to move instances, as many as may be on their way. False when none was begun."""
        node = self._store.nodes.find(drain["_id"])
        room = drain["at_once"] - len(drain["moving"])
        if node is None or room <= 0:
            return False
        if node["status"] != NodeStatus.ONLINE:
            self._wait(drain, WaitingFor.NODE)
            return False
        choose = self._return_some if drain["status"] == DrainStatus.UNDOING else self._move_some
        try:
            return choose(drain, room)
        except DrainChanged:
            return True  # by a pause or the like: the next turn reads it anew

    def _move_some(self, drain: Drain, room: int) -> bool:
        """Move instances away, those that were never tried first."""
        there = self._store.instances.list_observed(drain["_id"])
        stuck, now = drain["stuck"], self._now()
        if gone := stuck.keys() - {each["_id"] for each in there}:
            self._store.drains.forget(drain, "stuck", gone, now=now)
        settled = [each["_id"] for each in there if each["state"] in _SETTLED]
        fresh = [name for name in settled if name not in stuck and name not in drain["moving"]]
        again = [name for name in settled if _is_due(stuck.get(name), now)]
        again.sort(key=lambda name: stuck[name]["next_attempt_at"])
        ready = [*fresh[: max(0, MOST_STUCK - len(stuck))], *again]
        begun = 0
        for instance_id in ready[:TURN_TRIES]:
            instance = self._store.instances.find(instance_id) if begun < room else None
            if instance is not None:
                begun += self._try(drain, instance, self._rank)
        if not ready and not drain["moving"]:
            waits = len(settled) < len(there) or self._store.operations.has_open_on(drain["_id"])
            self._wait(drain, WaitingFor.OPERATIONS if waits else None)
        return begun > 0

    def _return_some(self, drain: Drain, room: int) -> bool:
        """Move instances back that still are where they were moved to."""
        now = self._now()
        ready = [
            name
            for name in list_to_return(drain)
            if name not in drain["moving"]
            and (name not in drain["stuck"] or _is_due(drain["stuck"][name], now))
        ]
        begun = 0
        for instance_id in ready[:TURN_TRIES]:
            if begun >= room:
                break
            instance = self._store.instances.find(instance_id)
            if instance is None or instance["node_id"] != drain["moved"][instance_id]:
                self._store.drains.forget(drain, "moved", [instance_id], now=now)
            else:
                begun += self._try(drain, instance, lambda *_: [drain["_id"]])
        self._wait(drain, None)
        return begun > 0

    def _try(self, drain: Drain, instance: Instance, rank: Rank) -> bool:
        """Begin to move an instance to the best node that takes it, or write down why none does.

        Raises DrainChanged, StoreUnavailable.
        """
        try:
            self._begin_best(drain, instance, rank(self._store, instance))
        except StoreUnavailable:
            raise
        except NotFound:
            return False  # it, or the node, was deleted a moment ago
        except ServiceError as exc:
            reason = "; ".join([exc.message, *list_details(exc.details)])
            stuck = self._make_stuck(drain, instance["_id"], exc.code, reason)
            self._store.drains.add_stuck(drain, instance["_id"], stuck, now=self._now())
            return False
        return True

    def _begin_best(self, drain: Drain, instance: Instance, node_ids: list[str]) -> None:
        """Begin to move it to the first node that takes it. Raises what the last one says."""
        *others, last = node_ids[:TARGETS]
        for node_id in others:
            try:
                return self._begin_one(drain, instance, node_id)
            except _ELSEWHERE:
                continue
        return self._begin_one(drain, instance, last)

    def _begin_one(self, drain: Drain, instance: Instance, node_id: str) -> None:
        now, store = self._now(), self._store
        origin = Origin(now, drain["requested_by"], drain["request_id"], acts_for=drain["acts_for"])

        def mark(result: tuple[Instance, Operation], session: Session) -> None:
            moving = Moving(operation_id=result[1]["_id"], node_id=node_id, since=now)
            if not store.drains.begin_move(
                drain, instance["_id"], moving, now=now, session=session
            ):
                raise DrainChanged
            if drain["status"] != DrainStatus.UNDOING:
                store.nodes.show_drain(drain["_id"], DrainStatus.RUNNING, session=session)
            audit.record(
                store,
                action="drain.move",
                target_kind="instance",
                target_id=instance["_id"],
                origin=origin,
                status=202,
                code=None,
                after={"from": instance["node_id"], "to": node_id, "operationId": result[1]["_id"]},
                session=session,
            )

        marked = store.with_each_transaction(mark)
        self._begin(marked, instance["_id"], node_id=node_id, origin=origin)

    def _make_stuck(self, drain: Drain, instance_id: str, code: str, reason: str) -> Stuck:
        before = drain["stuck"].get(instance_id)
        attempts = 1 + (before["attempts"] if before else 0)
        due_at = self._now() + timedelta(seconds=retry_delay_s(attempts))
        return Stuck(code=code, reason=reason, attempts=attempts, next_attempt_at=due_at)

    def _wait(self, drain: Drain, what: WaitingFor | None) -> None:
        """Write down what is waited for, if that is news."""
        if drain["waiting_for"] != what:
            store, changes = self._store, {"waiting_for": what}
            store.transaction(
                lambda session: store.drains.move(
                    drain, drain["status"], changes, now=self._now(), session=session
                )
            )

    def _judge(self, drain: Drain) -> bool:
        """Bring the drain into the status that follows from what there is. True when it moved."""

        def look(session: Session | None) -> tuple[Drain | None, DrainStatus]:
            found = self._find(drain, session=session)
            there = self._store.instances.list_ids_on(drain["_id"], session=session)
            is_clean = not self._store.operations.has_open_on(drain["_id"], session=session)
            return found, judge(found or drain, there, is_clean=is_clean)

        def write(session: Session) -> bool:
            found, status = look(session)
            if found is None or found["status"] == status:
                return False
            ended = {"ended_at": self._now(), "waiting_for": None} if status in ENDS else {}
            self._store.drains.move(found, status, ended, now=self._now(), session=session)
            self._store.nodes.show_drain(drain["_id"], status, session=session)
            return True

        found, status = look(None)
        return found is not None and found["status"] != status and self._store.transaction(write)


def _is_due(stuck: Stuck | None, now: datetime) -> bool:
    return stuck is not None and stuck["next_attempt_at"] <= now
