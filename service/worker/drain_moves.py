"""Begins to move instances of drained nodes, and back: to the best node that takes each."""

from collections.abc import Callable, Collection
from datetime import datetime, timedelta
from functools import partial
from typing import Protocol

from service import audit
from service.errors import (
    NotFound,
    ServiceError,
    StoreUnavailable,
)
from service.model.documents import Drain, Instance, Moving, Operation, Stuck
from service.model.drains import MOST_STUCK, DrainStatus, list_to_return, retry_delay_s
from service.model.error_lines import list_facts
from service.model.lifecycle import InstanceState
from service.model.origin import Origin
from service.model.placement import Ranking
from service.store import Store
from service.store.collection import Session
from service.transfer_targets import begin_on_best
from service.worker.interruptions import DrainChanged

TURN_TRIES = 10
"""How many instances of one drain are tried in one turn."""

MOST_NAMED = 5
"""Of how many nodes it is written down why they do not take an instance."""

_SETTLED = frozenset({InstanceState.READY, InstanceState.FAILED})


class Begin(Protocol):
    """Has an instance moved to a node, by an operation, in one transaction. Raises ServiceError."""

    def __call__(
        self, store: Store, reference: str, *, node_id: str, origin: Origin
    ) -> tuple[Instance, Operation]:
        """Take on the transfer."""


class Rank(Protocol):
    """Ranks the other nodes for an instance. Raises NotFound when its own is gone."""

    def __call__(self, store: Store, instance: Instance, /) -> Ranking:
        """Return which nodes fit, best first, and why others do not."""


class Mover:
    """Begins transfers for drains, and writes down why one cannot begin."""

    def __init__(
        self, store: Store, *, begin: Begin, rank: Rank, now: Callable[[], datetime]
    ) -> None:
        """Do nothing yet."""
        self._store = store
        self._begin = begin
        self._rank = rank
        self._now = now

    def move_some(self, drain: Drain, room: int) -> int:
        """Begin to move instances away, those that were never tried first; return how many.

        Those that are being installed or deleted are passed over. Raises DrainChanged.
        """
        there = self._store.instances.list_observed(drain["_id"])
        stuck, now = drain["stuck"], self._now()
        if gone := stuck.keys() - {each["_id"] for each in there}:
            self._store.drains.forget(drain, "stuck", gone, now=now)
        settled = [each["_id"] for each in there if each["state"] in _SETTLED]
        fresh = [name for name in settled if name not in stuck and name not in drain["moving"]]
        again = [name for name in settled if _is_due(stuck.get(name), now)]
        again.sort(key=lambda name: stuck[name]["next_attempt_at"])
        ready = [*fresh[: max(0, MOST_STUCK - len(stuck))], *again]
        return self._try_some(drain, ready, room, self._begin_best)

    def return_some(self, drain: Drain, room: int) -> int:
        """Begin to move instances back that still are where they were moved to; return how many.

        Raises DrainChanged.
        """
        now, moved = self._now(), drain["moved"]
        ready = [
            name
            for name in list_to_return(drain)
            if name not in drain["moving"]
            and (name not in drain["stuck"] or _is_due(drain["stuck"][name], now))
        ]
        found = {each["_id"]: each["node_id"] for each in self._store.instances.list_by_ids(ready)}
        if elsewhere := [name for name in ready if found.get(name) != moved[name]]:
            self._store.drains.forget(drain, "moved", elsewhere, now=now)
        still = [name for name in ready if name not in elsewhere]
        begin = partial(self._begin_one, node_id=drain["_id"])
        return self._try_some(drain, still, room, begin)

    def make_stuck(self, drain: Drain, instance_id: str, code: str, reason: str) -> Stuck:
        """Make what is known of an instance that could not be moved, once more."""
        before = drain["stuck"].get(instance_id)
        attempts = 1 + (before["attempts"] if before else 0)
        due_at = self._now() + timedelta(seconds=retry_delay_s(attempts))
        return Stuck(code=code, reason=reason, attempts=attempts, next_attempt_at=due_at)

    def _try_some(
        self,
        drain: Drain,
        instance_ids: Collection[str],
        room: int,
        begin: Callable[[Drain, Instance], None],
    ) -> int:
        begun = 0
        for instance_id in list(instance_ids)[:TURN_TRIES]:
            if begun < room:
                begun += self._try(drain, instance_id, begin)
        return begun

    def _try(
        self, drain: Drain, instance_id: str, begin: Callable[[Drain, Instance], None]
    ) -> bool:
        """Begin to move an instance, or write down why that cannot be.

        Raises DrainChanged, StoreUnavailable.
        """
        try:
            begin(drain, self._store.instances.get(instance_id))
        except StoreUnavailable:
            raise
        except NotFound:
            return False  # it, or the node, was deleted a moment ago
        except ServiceError as exc:
            facts = list_facts(exc.code, exc.details, most_nodes=MOST_NAMED)
            reason = " ".join([exc.message, "; ".join(facts)]).rstrip()
            stuck = self.make_stuck(drain, instance_id, exc.code, reason)
            self._store.drains.add_stuck(drain, instance_id, stuck, now=self._now())
            return False
        return True

    def _begin_best(self, drain: Drain, instance: Instance) -> None:
        """Begin to move it to the best node that takes it. Raises NoNodeFits."""
        ranking = self._rank(self._store, instance)
        begin_on = partial(self._begin_one, drain, instance)
        begin_on_best(ranking, begin_on)

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


def _is_due(stuck: Stuck | None, now: datetime) -> bool:
    return stuck is not None and stuck["next_attempt_at"] <= now
