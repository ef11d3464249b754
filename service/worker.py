"""The worker: carries out operations that are due, and probes nodes.

Any number of workers, in any number of processes, share one database. Nothing is kept only in
memory: what a worker that dies had under way is taken over by another when its lease runs out.
"""

import logging
import secrets
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import datetime

from service import instances, nodes
from service.documents import Instance, Operation
from service.drivers import ContainerStatus, DriverFactory, NodeDriver
from service.errors import (
    NodeFailure,
    NodeRefused,
    NodeUnreachable,
    OperationSuperseded,
    ServiceError,
)
from service.lifecycle import InstanceState, OperationKind, OperationStatus, Power, PowerAction
from service.store import Store
from service.store.collection import Session

log = logging.getLogger(__name__)

IDLE_S = 0.2
"""How long a worker that found nothing to do waits before it looks again."""

CHECKPOINT_EVERY_S = 1.0
"""How often a step under way asks the database whether it is still wanted."""

MAX_ATTEMPTS = 6
"""How often an operation is tried that the node answers with an error. Silence does not count."""

MAX_DELAY_S = 60.0

PROBE_THREADS = 8


def backoff_s(attempts: int) -> float:
    """Tell how long to wait before the next attempt: 1, 2, 4 ... seconds, a minute at the most."""
    return min(MAX_DELAY_S, 2.0 ** min(attempts - 1, 10))


class Job:
    """One claimed operation, while this worker holds its lease."""

    def __init__(
        self, store: Store, operation: Operation, *, lease_s: float, now: Callable[[], datetime]
    ) -> None:
        self.store = store
        self.operation = operation
        self.now = now
        self._lease_s = lease_s
        self._renewed_at = time.monotonic()
        self._checked_at = 0.0
        self._lost = False

    @property
    def token(self) -> str:
        """The lease's token, without which nothing of the operation can be written."""
        lease = self.operation["lease"]
        assert lease is not None, "a job's operation was claimed"  # noqa: S101
        return lease["token"]

    def renew(self) -> None:
        """Extend the lease. Called by another thread while a driver is busy."""
        asked_at = time.monotonic()
        if self.store.operations.renew(self.operation["_id"], self.token, lease_s=self._lease_s):
            self._renewed_at = asked_at
        else:
            self._lost = True

    def check_lease(self) -> None:
        """Raise OperationSuperseded when the lease may be somebody else's by now."""
        if self._lost or time.monotonic() - self._renewed_at >= self._lease_s:
            raise OperationSuperseded("The lease was lost.")

    def checkpoint(self) -> None:
        """Raise OperationSuperseded when the operation is no longer ours, or no longer wanted."""
        self.check_lease()
        if time.monotonic() - self._checked_at >= CHECKPOINT_EVERY_S:
            self.read_instance()

    def read_instance(self) -> Instance:
        """Read the instance. Raises OperationSuperseded when only a deletion is wanted of it."""
        instance = self.store.instances.find(self.operation["instance_id"])
        self._checked_at = time.monotonic()
        deleting = self.operation["kind"] == OperationKind.DELETE
        if instance is None or (instance["state"] == InstanceState.DELETING) != deleting:
            raise OperationSuperseded("The instance is being deleted or gone.")
        return instance

    def step(self, name: str, work: Callable[[], None]) -> None:
        """Do one step and write down how it went."""
        self.check_lease()
        if not self.store.operations.begin_step(
            self.operation["_id"], self.token, name, now=self.now()
        ):
            raise OperationSuperseded("The lease was lost.")
        error: str | None = None
        try:
            work()
        except ServiceError as exc:
            error = exc.message
            raise
        finally:
            self.store.operations.end_step(
                self.operation["_id"], self.token, error=error, now=self.now()
            )

    def finish(
        self,
        status: OperationStatus,
        *,
        error: str | None = None,
        session: Session | None = None,
    ) -> None:
        """End the operation. Raises OperationSuperseded when it is no longer ours."""
        if not self.store.operations.finish(
            self.operation["_id"],
            self.token,
            status,
            error=error,
            now=self.now(),
            session=session,
        ):
            raise OperationSuperseded("The lease was lost.")


def deploy(job: Job, driver: NodeDriver) -> None:
    """Make the container, bring its power in line with what is wanted, and call it READY."""

    def create() -> None:
        status = driver.create(instances.specify(job.read_instance()), checkpoint=job.checkpoint)
        _note(job, status)

    def settle() -> None:
        while True:
            instance = job.read_instance()
            status = _align(job, driver, instance)
            if job.store.instances.move(
                instance["_id"],
                InstanceState.READY,
                now=job.now(),
                changes=_seen(status),
                # Somebody who suspends it meanwhile makes us look again.
                only_if={"suspended": instance["suspended"]},
            ):
                return
            if job.read_instance()["state"] != InstanceState.INSTALLING:
                return

    job.step("create", create)
    job.step("start", settle)
    job.finish(OperationStatus.SUCCEEDED)


def align_power(job: Job, driver: NodeDriver) -> None:
    """Stop what is suspended and start what is not, as it is wanted by now."""

    def align() -> None:
        _note(job, _align(job, driver, job.read_instance()))

    job.step("power", align)
    job.finish(OperationStatus.SUCCEEDED)


def delete(job: Job, driver: NodeDriver) -> None:
    """Remove the container and its volume, and then the instance with all that it held."""

    def remove() -> None:
        driver.remove(job.operation["instance_id"])

    def forget(session: Session) -> None:
        job.finish(OperationStatus.SUCCEEDED, session=session)
        instances.forget(job.store, instance, session=session)

    instance = job.read_instance()
    job.step("remove", remove)
    job.store.transaction(forget)


CARRY_OUT: dict[OperationKind, Callable[[Job, NodeDriver], None]] = {
    OperationKind.DEPLOY: deploy,
    OperationKind.DELETE: delete,
    OperationKind.SUSPEND: align_power,
    OperationKind.UNSUSPEND: align_power,
}


def carry_out(job: Job, drivers: DriverFactory) -> None:
    """Do the operation, and write down its end or when to try again."""
    try:
        node = job.store.nodes.get(job.operation["node_id"])
        with closing(drivers(node)) as driver:
            CARRY_OUT[job.operation["kind"]](job, driver)
    except OperationSuperseded as exc:
        job.store.operations.finish(
            job.operation["_id"],
            job.token,
            OperationStatus.SUPERSEDED,
            error=exc.message,
            now=job.now(),
        )
    except NodeFailure as failure:
        _settle_failure(job, failure)
    except ServiceError:
        # The database is away. The lease runs out, and somebody takes the operation over.
        raise
    except Exception:
        log.exception("operation %s met an unexpected error", job.operation["_id"])
        unknown = NodeFailure(job.operation["node_id"], "Unexpected error; see Skyquay's log.")
        _settle_failure(job, unknown)
    _log_outcome(job)


def _settle_failure(job: Job, failure: NodeFailure) -> None:
    operation = job.operation
    now = job.now()
    hopeless = isinstance(failure, NodeRefused) or (
        not isinstance(failure, NodeUnreachable) and operation["attempts"] >= MAX_ATTEMPTS
    )
    if not hopeless:
        job.store.instances.note(operation["instance_id"], {"error": failure.reason})
        job.store.operations.postpone(
            operation["_id"],
            job.token,
            delay_s=backoff_s(operation["attempts"]),
            error=failure.reason,
            now=now,
        )
        return

    def give_up(session: Session) -> None:
        job.finish(OperationStatus.FAILED, error=failure.reason, session=session)
        if operation["kind"] == OperationKind.DEPLOY:
            job.store.instances.move(
                operation["instance_id"],
                InstanceState.FAILED,
                now=now,
                changes={"error": failure.reason, "power": Power.STOPPED},
                session=session,
            )

    if operation["kind"] != OperationKind.DEPLOY:
        job.store.instances.note(operation["instance_id"], {"error": failure.reason})
    job.store.transaction(give_up)


def _align(job: Job, driver: NodeDriver, instance: Instance) -> ContainerStatus:
    job.check_lease()
    action = PowerAction.STOP if instance["suspended"] else PowerAction.START
    return driver.power(instance["_id"], action)


def _note(job: Job, status: ContainerStatus) -> None:
    job.store.instances.note(job.operation["instance_id"], _seen(status))


def _seen(status: ContainerStatus) -> dict[str, object]:
    return {
        "container_id": status.container_id,
        "power": status.power,
        "error": status.reason,
    }


def _log_outcome(job: Job) -> None:
    ended = job.store.operations.find(job.operation["_id"])
    if ended is not None:
        log.info(
            "%s of %s on node %s: %s%s (operation %s, request %s)",
            ended["kind"],
            ended["instance_id"],
            ended["node_id"],
            ended["status"],
            f", {ended['error']}" if ended["error"] else "",
            ended["_id"],
            ended["request_id"],
        )


class Worker:
    """The threads that claim operations, renew their leases and probe nodes."""

    def __init__(
        self,
        store: Store,
        drivers: DriverFactory,
        *,
        threads: int,
        lease_s: float,
        probe_interval_s: float,
        now: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._drivers = drivers
        self._threads = threads
        self._lease_s = lease_s
        self._probe_interval_s = probe_interval_s
        self._now = now
        self._stopping = threading.Event()
        self._stopped = threading.Event()
        self._free = threading.Semaphore(threads)
        self._jobs: dict[str, Job] = {}
        self._jobs_lock = threading.Lock()
        self._carriers = ThreadPoolExecutor(threads, thread_name_prefix="operation")
        self._probers = ThreadPoolExecutor(PROBE_THREADS, thread_name_prefix="probe")
        self._takers = [
            self._make_loop("claim", self.claim_one, IDLE_S, until=self._stopping),
            self._make_loop("probe", self.probe_one, 1.0, until=self._stopping),
        ]
        self._renewer = self._make_loop(
            "renew", self._renew_all, min(lease_s / 3, 5.0), until=self._stopped
        )

    def start(self) -> None:
        """Begin to work, in threads of this process."""
        for loop in (*self._takers, self._renewer):
            loop.start()

    def stop(self, *, timeout_s: float = 10.0) -> None:
        """Claim nothing more, and wait for what is under way, `timeout_s` at the most.

        What is not done by then is handed over: another worker may take it up at once.
        """
        self._stopping.set()
        for taker in self._takers:
            if taker.is_alive():
                taker.join()  # it is at most in the middle of one call of the database
        deadline = time.monotonic() + timeout_s
        for _ in range(self._threads):
            self._free.acquire(timeout=max(0.0, deadline - time.monotonic()))
        for job in self._under_way():
            self._store.operations.postpone(
                job.operation["_id"], job.token, delay_s=0, now=self._now()
            )
        self._stopped.set()
        self._carriers.shutdown(wait=False, cancel_futures=True)
        self._probers.shutdown(wait=False, cancel_futures=True)

    def claim_one(self) -> bool:
        """Claim one operation and have a thread carry it out.

        False when nothing was due, and when no thread was free for a moment.
        """
        if not self._free.acquire(timeout=IDLE_S):
            return False
        operation = None
        try:
            operation = self._store.operations.claim(secrets.token_hex(8), lease_s=self._lease_s)
        finally:
            if operation is None:
                self._free.release()
        if operation is None:
            return False
        job = Job(self._store, operation, lease_s=self._lease_s, now=self._now)
        with self._jobs_lock:
            self._jobs[job.token] = job
        self._carriers.submit(self._carry_out, job)
        return True

    def probe_one(self) -> bool:
        """Have a thread probe one node whose turn it is. False when there was none."""
        node = self._store.nodes.claim_probe(interval_s=self._probe_interval_s)
        if node is None:
            return False
        self._probers.submit(
            self._guarded, nodes.probe, self._store, self._drivers, node, now=self._now()
        )
        return True

    def _carry_out(self, job: Job) -> None:
        try:
            self._guarded(carry_out, job, self._drivers)
        finally:
            with self._jobs_lock:
                del self._jobs[job.token]
            self._free.release()

    def _under_way(self) -> list[Job]:
        with self._jobs_lock:
            return list(self._jobs.values())

    def _renew_all(self) -> bool:
        for job in self._under_way():
            job.renew()
        return False

    def _make_loop(
        self, name: str, turn: Callable[[], bool], pause_s: float, *, until: threading.Event
    ) -> threading.Thread:
        def loop() -> None:
            while not until.is_set():
                if not self._guarded(turn):
                    until.wait(pause_s)

        return threading.Thread(target=loop, name=name, daemon=True)

    def _guarded(self, work: Callable[..., object], *args: object, **kwargs: object) -> object:
        try:
            return work(*args, **kwargs)
        except ServiceError as exc:
            log.warning("%s: %s %s", getattr(work, "__name__", work), exc.message, exc.__cause__)
        except Exception:
            # A bug must not end the worker: the lease runs out, and the operation is tried again.
            log.exception("unexpected error")
        return None
