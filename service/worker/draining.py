"""Moves the instances of nodes that are drained, a few at a time: one of all workers does.

All that is known is in the documents, and what is begun is written with its operation, in one
transaction (store/drains.py). So a worker that dies at any moment, or works on after it lost the
duty, leaves nothing behind: the next one finds what is on its way, and goes on.
"""

from collections.abc import Callable
from datetime import datetime
from functools import partial

from service.errors import NodeFailure
from service.model.documents import Drain
from service.model.drains import ENDS, DrainStatus, WaitingFor, judge
from service.model.lifecycle import ENDED, NodeStatus
from service.store import Store
from service.store.cause import caused_by
from service.store.collection import Session
from service.worker.drain_moves import Begin, Mover, Rank
from service.worker.interruptions import DrainChanged
from service.worker.loops import attempt

LEASE_S = 10.0
"""How long the worker that drains may be silent before another one does."""

PAUSE_S = 1.0
"""How long it waits before it looks again what has arrived."""


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
        self._mover = Mover(store, begin=begin, rank=rank, now=now)
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
                stuck = self._mover.make_stuck(drain, instance_id, NodeFailure.code, reason)
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
        if node is None:
            return False
        is_down = node["status"] != NodeStatus.ONLINE
        if is_down or room <= 0:
            self._wait(drain, WaitingFor.NODE if is_down else None)
            return False
        undoes = drain["status"] == DrainStatus.UNDOING
        begin = self._mover.return_some if undoes else self._mover.move_some
        try:
            begun = begin(drain, room)
        except DrainChanged:
            return True  # by a pause or the like: the next turn reads it anew
        idle = not begun and not drain["moving"] and drain["status"] == DrainStatus.RUNNING
        self._wait(drain, self._find_awaited(drain["_id"]) if idle else None)
        return begun > 0

    def _find_awaited(self, node_id: str) -> WaitingFor | None:
        if self._store.operations.has_open_on(node_id):
            return WaitingFor.OPERATIONS
        return WaitingFor.KEPT if self._store.deleted.list_ids_on(node_id) else None

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
            node = self._store.nodes.find(drain["_id"], session=session)
            is_clean = (
                node is not None
                # Also those count that are on their way to it, or deleted and kept.
                and node["allocated"]["instances"] == 0
                and not self._store.operations.has_open_on(drain["_id"], session=session)
            )
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
