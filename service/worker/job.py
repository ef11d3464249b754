"""One operation that a worker has claimed: its lease, its steps and its end."""

import random
import secrets
import time
from collections.abc import Callable
from datetime import datetime

from service import operations, replacements
from service.drivers.boundary import Interruption
from service.errors import Conflict, ServiceError
from service.model.documents import NO_NODE, Instance, Operation
from service.model.lifecycle import GOES_WITH, REPLACING, OperationStatus, is_done_in
from service.store import Store
from service.store.collection import Session
from service.store.due import ANY_ROOM, Look, Room
from service.worker.interruptions import (
    LeaseLost,
    NodeBusy,
    OperationCancelled,
    OperationSuperseded,
)

CHECKPOINT_EVERY_S = 1.0
"""How often a step under way asks the database whether it is still wanted."""

UNEXPECTED = "Unexpected error; see Skyquay's log."

MAX_DELAY_S = 60.0


def backoff_s(attempts: int, *, chance: Callable[[], float] = random.random) -> float:
    """Return how long to wait before the next attempt: 1, 2, 4 ... seconds, a minute at the most.

    With random jitter of up to 50 %, so that those who failed together do not return together.
    """
    longest: float = min(MAX_DELAY_S, 2.0 ** min(attempts - 1, 10))
    return longest * (1 - chance() / 2)


def claim(
    store: Store,
    look: Look,
    *,
    room: Room = ANY_ROOM,
    node_operations: int,
    lease_s: float,
    now: Callable[[], datetime],
) -> "Job | None":
    """Take an operation that is due and that its node bears now, where there is `room` for it.

    `look` is what was found a moment ago. At most `node_operations` of a lane run on a node. None
    when nothing is due.
    """
    if not look.is_due:
        return None
    limits = store.nodes.find_limits()
    asked_at = time.monotonic()
    operation = store.claims.take(
        secrets.token_hex(8),
        look=look,
        lease_s=lease_s,
        node_limit=node_operations,
        limits=limits,
        room=room,
    )
    if operation is None:
        return None
    on_trial = operation["node_id"] in (NO_NODE, *limits.on_trial)
    return Job(
        store, operation, lease_s=lease_s, now=now, claimed_at=asked_at, node_on_trial=on_trial
    )


class Job:
    """One claimed operation, while this worker holds its lease."""

    def __init__(
        self,
        store: Store,
        operation: Operation,
        *,
        lease_s: float,
        now: Callable[[], datetime],
        claimed_at: float | None = None,
        node_on_trial: bool = False,
    ) -> None:
        """Hold the lease from `claimed_at` on, the `time.monotonic()` of before the claim."""
        self.store = store
        self.operation = operation
        self.now = now
        self._lease_s = lease_s
        self.claimed_at = time.monotonic() if claimed_at is None else claimed_at
        self.node_on_trial = node_on_trial
        self._renewed_at = self.claimed_at
        self._checked_at = 0.0
        self._lost = False
        self._has_node = False
        self._progress: str | None = None

    @property
    def token(self) -> str:
        """The lease's token, without which nothing of the operation can be written."""
        lease = self.operation["lease"]
        assert lease is not None, "a job's operation was claimed"  # noqa: S101
        return lease["token"]

    @property
    def undoing(self) -> str | None:
        """Why what was there before is made again; None where the operation goes on."""
        replacement = self.operation.get("replacement")
        return replacement["undo"] if replacement is not None else None

    def renew(self) -> None:
        """Extend the lease. Called by another thread while a driver is busy.

        One that was seen to be lost stays lost: nobody works on it here, and others wait for it.
        """
        asked_at = time.monotonic()
        if self._lost:
            return
        if self.store.claims.renew(self.operation["_id"], self.token, lease_s=self._lease_s):
            self._renewed_at = asked_at
            if self._has_node:
                self.hold_node()
        else:
            self._lost = True

    def hold_node(self, *, longer_s: float = 0) -> None:
        """Be the only one who deploys on the node. Raises NodeBusy while somebody else is.

        Twice a lease long, so that who takes the operation over finds the node still held.
        """
        self.check_lease()
        self._has_node = self.store.nodes.lock_deploy(
            self.operation["node_id"],
            operation_id=self.operation["_id"],
            instance_id=self.operation["instance_id"],
            hold_s=2 * self._lease_s + longer_s,
        )
        if not self._has_node:
            raise NodeBusy("Another instance is being deployed on the node.")

    def release_node(self) -> None:
        """Let others deploy on the node, unless somebody took the operation over."""
        self._has_node = False
        self.check_lease()
        self.store.nodes.unlock_deploy(
            self.operation["node_id"], operation_id=self.operation["_id"]
        )

    def check_lease(self) -> None:
        """Raise LeaseLost when the lease may be somebody else's by now."""
        if self._lost or time.monotonic() - self._renewed_at >= self._lease_s:
            self._lost = True
            raise LeaseLost

    def checkpoint(self) -> None:
        """Raise LeaseLost, OperationSuperseded or OperationCancelled when the rest is unwanted."""
        self.check_lease()
        if time.monotonic() - self._checked_at >= CHECKPOINT_EVERY_S:
            self.check_cancelled()
            self.read_instance()

    def check_cancelled(self) -> None:
        """Raise OperationCancelled when somebody asked for that."""
        latest = self.store.operations.get(self.operation["_id"])
        if latest["cancel_requested"] and not self.undoing:
            raise OperationCancelled(operations.CANCELLED)

    def read_instance(self) -> Instance:
        """Read the instance. Raises OperationSuperseded when only a deletion is wanted of it.

        So it does for a deletion, of one that is restored or purged.
        """
        instance_id, kind = self.operation["instance_id"], self.operation["kind"]
        instance = self.store.instances.find(instance_id)
        if instance is None and kind in GOES_WITH:
            instance = self.store.deleted.find(instance_id)
        self._checked_at = time.monotonic()
        if instance is None or not is_done_in(kind, instance["state"]):
            raise OperationSuperseded("The instance is being deleted or gone.")
        return instance

    def step(self, name: str, work: Callable[[], None]) -> None:
        """Do one step and write down how it went. Nothing is written when the lease was lost."""
        self.check_lease()
        if not self.store.claims.begin_step(
            self.operation["_id"],
            self.token,
            name,
            undoes=self.undoing is not None,
            now=self.now(),
        ):
            self.check_cancelled()
            raise LeaseLost
        try:
            work()
        except Exception as exc:
            expected = isinstance(exc, (ServiceError, Interruption))
            self._end_step(str(exc) if expected else UNEXPECTED)
            raise
        self._end_step(None)

    def report(self, progress: str) -> None:
        """Write down how far the step under way is, in plain words. Raises LeaseLost."""
        if progress == self._progress:
            return
        self.check_lease()
        if not self.store.claims.set_progress(self.operation["_id"], self.token, progress):
            raise LeaseLost
        self._progress = progress

    def set_copied(self, copied: int, total: int | None) -> None:
        """Write down how many bytes the step under way has copied. Raises LeaseLost."""
        self.check_lease()
        # What a node calls the size of a volume is what that takes on its disk.
        of = f" of about {total / 1e6:.1f}" if total is not None and total >= copied else ""
        if not self.store.claims.set_copied(
            self.operation["_id"],
            self.token,
            copied=copied,
            total=total,
            progress=f"{copied / 1e6:.1f}{of} MB",
        ):
            raise LeaseLost

    def go_on_at(self, node_id: str) -> None:
        """Have the rest of the operation wait for another node than before. Raises LeaseLost."""
        self.check_lease()
        if not self.store.claims.go_on_at(self.operation["_id"], self.token, node_id):
            raise LeaseLost
        self.operation["node_id"] = node_id

    def has_done(self, name: str) -> bool:
        """Return whether an earlier attempt ended this step well."""
        return any(
            step["name"] == name and step["ended_at"] is not None and step["error"] is None
            for step in self.operation["steps"]
        )

    def finish(
        self,
        status: OperationStatus,
        *,
        error: str | None = None,
        session: Session | None = None,
    ) -> None:
        """End the operation. Raises LeaseLost when it is no longer ours."""
        self.check_lease()
        if not self.store.claims.finish(
            self.operation["_id"],
            self.token,
            status,
            error=error,
            now=self.now(),
            session=session,
        ):
            raise LeaseLost

    def reschedule(self, *, delay_s: float, error: str | None = None, tried: bool = False) -> None:
        """Let the operation be done in `delay_s` seconds, by whoever claims it then.

        It is not ours any more. Raises LeaseLost when it was not before either.
        """
        self.check_lease()
        self._lost = True
        operation_id, token, now = self.operation["_id"], self.token, self.now()

        def postpone(session: Session | None) -> None:
            self.store.claims.postpone(
                operation_id,
                token,
                delay_s=delay_s,
                error=error,
                tried=tried,
                session=session,
            )

        def write(session: Session) -> None:
            if not replacements.hand_over(
                self.store, operation_id, token, now=now, session=session
            ):
                postpone(session)

        def give_way(session: Session) -> None:
            if not replacements.give_way(
                self.store, operation_id, token, error=error, now=now, session=session
            ):
                postpone(session)

        if self.operation["kind"] in REPLACING:
            self.store.transaction(write)
            return
        try:
            postpone(None)
        except Conflict:
            self.store.transaction(give_way)

    def begin_replacement(self, *, found: bool, run: bool) -> None:
        """Write down what is there before it goes, once. Raises LeaseLost."""
        self.check_lease()
        if not self.store.claims.begin_replacement(
            self.operation["_id"], self.token, found=found, run=run
        ):
            raise LeaseLost

    def begin_undo(self, reason: str) -> None:
        """Have what was there before made again, from the next claim on. Raises LeaseLost."""
        self.check_lease()
        transfer = self.operation.get("transfer")
        if not self.store.claims.begin_undo(
            self.operation["_id"],
            self.token,
            reason,
            node_id=transfer["source_id"] if transfer is not None else None,
        ):
            raise LeaseLost
        self.reschedule(delay_s=0, error=reason)

    def _end_step(self, error: str | None) -> None:
        self.check_lease()
        self.store.claims.end_step(self.operation["_id"], self.token, error=error, now=self.now())
