"""The worker: carries out operations that are due, and probes nodes.

Any number of workers, in any number of processes, share one database. Nothing is kept only in
memory: what a worker that dies had under way is taken over by another when its lease runs out.
"""

import secrets
import threading
import time
from collections.abc import Callable
from datetime import datetime
from functools import partial

import structlog

from service import drift, probing
from service.drivers import DriverFactory, NodeDriver
from service.model.documents import Node
from service.model.drift import Drift
from service.model.lifecycle import NodeStatus, lane_of
from service.store import Store
from service.store.cause import caused_by
from service.store.changes import LOOK_AGAIN_S
from service.store.due import Room
from service.worker.attendance import Attendance
from service.worker.bulk import OpenSecret, have_no_key
from service.worker.carry_out import carry_out
from service.worker.deliveries import Settings as DeliverySettings
from service.worker.job import Job, claim
from service.worker.loops import attempt, make_loop, start
from service.worker.reconcile import reconcile
from service.worker.sampler import Sampler
from service.worker.slots import Begun, find_room, is_held

LEASE_S = 30.0
"""How long a worker may be silent before its operations are taken over."""

NODE_OPERATIONS = 4
"""How many deploys are carried out on one node at a time, and as many other operations."""

FULL_S = 0.2
"""How long a worker waits for a thread to be spared before it sees to other things."""

PROBE_PAUSE_S = 1.0
"""How long a worker that found no node to probe waits before it looks again."""

NEXT_MOMENT_S = 0.01

PROBE_THREADS = 32
"""How many nodes one worker probes at a time. A thread waits for nothing but its node."""


class Worker:
    """The threads that claim operations, renew their leases and probe nodes."""

    def __init__(
        self,
        store: Store,
        open_driver: DriverFactory,
        *,
        open_secret: OpenSecret = have_no_key,
        threads: int,
        node_operations: int = NODE_OPERATIONS,
        lease_s: float = LEASE_S,
        look_again_s: float = LOOK_AGAIN_S,
        probe_interval_s: float,
        deliveries: DeliverySettings | None = None,
        now: Callable[[], datetime],
        sampler: Sampler | None = None,
    ) -> None:
        """Look for work when there may be some, and every `look_again_s` whatever happens.

        Without `deliveries` others send what webhooks are told of.
        """
        self._store = store
        self._open_driver = open_driver
        self._open_secret = open_secret
        self._threads = threads
        self._node_operations = node_operations
        self._lease_s = lease_s
        self._look_again_s = self._pause_s = look_again_s
        self._probe_interval_s = probe_interval_s
        self._now = now
        self._stopping = threading.Event()
        self._stopped = threading.Event()
        self._jobs: dict[str, Job] = {}
        self._begun: dict[str, Begun] = {}
        self._probing: list[str] = []  # a node twice, if this worker stood still in its first probe
        self._woken = False
        self._changed = threading.Condition()
        """Guards the four above, and signals that an operation ended or may be claimed."""
        self._token = secrets.token_hex(8)
        self._free_probers = threading.Semaphore(PROBE_THREADS)
        self._takers = [
            make_loop("claim", self.claim_one, self._await_work, until=self._stopping),
            make_loop(
                "probe",
                self.probe_one,
                partial(self._stopping.wait, PROBE_PAUSE_S),
                until=self._stopping,
            ),
        ]
        self._attendance = Attendance(
            store,
            open_driver,
            self._token,
            lease_s=lease_s,
            read_again_s=look_again_s,
            deliveries=deliveries,
            sampler=sampler,
            now=now,
        )
        self._renewer = make_loop(
            "renew",
            self._renew_all,
            partial(self._stopped.wait, min(lease_s / 3, 5.0)),
            until=self._stopped,
        )

    def start(self) -> None:
        """Begin to work, in threads of this process."""
        self._store.changes.subscribe(self._wake)
        for loop in (*self._takers, self._renewer):
            loop.start()
        self._attendance.start()

    def stop(self, *, timeout_s: float = 10.0) -> None:
        """Claim nothing more, and wait for what is under way, `timeout_s` at the most.

        What is not done by then is handed over: another worker may take it up at once. Stopping
        again does nothing.
        """
        if self._stopping.is_set():
            return
        self._stopping.set()
        self._wake()
        self._store.changes.unsubscribe(self._wake)
        self._attendance.stop_following(timeout_s=timeout_s)
        for taker in self._takers:
            if taker.is_alive():
                taker.join()  # it is at most in the middle of one call of the database
        with self._changed:
            self._changed.wait_for(lambda: not self._jobs, timeout=timeout_s)
        for job in self._under_way():
            attempt(job.reschedule, delay_s=0)
        self._attendance.stop()
        self._stopped.set()
        if self._renewer.is_alive():
            self._renewer.join()

    def claim_one(self) -> bool:
        """Claim one operation and have a thread carry it out. False when nothing was due."""
        with self._changed:
            self._woken, self._pause_s = False, self._look_again_s
            room = self._changed.wait_for(self._find_room, timeout=FULL_S)
        if room is None:
            return True  # an end is what is waited for, and no other operation
        job = self._claim(room)
        if job is None:
            return False
        start(partial(self._carry_out, job))
        return True

    def probe_one(self) -> bool:
        """Have a thread probe one node whose turn it is.

        False when there was none, and when no thread was free for a moment.
        """
        if not self._free_probers.acquire(timeout=FULL_S):
            return False
        node = None
        try:
            node = self._store.probes.claim(
                self._token, interval_s=self._probe_interval_s, lease_s=self._lease_s
            )
        finally:
            if node is None:
                self._free_probers.release()
        if node is None:
            return False
        with self._changed:
            self._probing.append(node["_id"])
        start(partial(self._probe, node))
        return True

    def _find_room(self) -> Room | None:
        found = find_room(self._begun.values(), threads=self._threads, at=time.monotonic())
        return found if found.prompt or found.slow else None

    def _wake(self) -> None:
        """Have the worker look for work at once."""
        with self._changed:
            self._woken = True
            self._changed.notify_all()

    def _await_work(self) -> None:
        with self._changed:
            self._changed.wait_for(
                lambda: self._woken or self._stopping.is_set(), timeout=self._pause_s
            )

    def _claim(self, room: Room) -> Job | None:
        look = self._store.claims.look()
        job = claim(
            self._store,
            look,
            room=room,
            node_operations=self._node_operations,
            lease_s=self._lease_s,
            now=self._now,
        )
        if job is None:
            self._pause_s = min(self._look_again_s, max(NEXT_MOMENT_S, look.next_s))
            return None
        node_id, lane = job.operation["node_id"], lane_of(job.operation["kind"])
        with self._changed:
            slow = job.node_on_trial or is_held(node_id, self._begun.values(), at=job.claimed_at)
            self._jobs[job.token] = job
            self._begun[job.token] = Begun(lane, node_id, job.claimed_at, slow)
        return job

    def _carry_out(self, job: Job) -> None:
        context = {"operation_id": job.operation["_id"], "request_id": job.operation["request_id"]}
        try:
            with (
                structlog.contextvars.bound_contextvars(**context),
                caused_by(job.operation["requested_by"], job.operation["request_id"]),
            ):
                carry_out(job, self._open_driver, self._open_secret)
        finally:
            with self._changed:
                del self._jobs[job.token]
                del self._begun[job.token]
            self._wake()

    def _probe(self, node: Node) -> None:
        found: list[Drift] = []
        seen_at: datetime | None = None

        def compare_too(driver: NodeDriver) -> None:
            driver.recover()
            found.append(drift.compare(self._store, driver, node["_id"]))

        try:
            after = probing.probe(
                self._store, self._open_driver, node, now=self._now(), more=compare_too
            )
            seen_at = after["last_seen_at"]
            if after["status"] == NodeStatus.ONLINE and found[-1].concerns_worker:
                reconcile(self._store, self._open_driver, after, drift=found[-1], now=self._now())
        finally:
            with self._changed:
                self._probing.remove(node["_id"])
            self._free_probers.release()
            self._store.probes.end(node["_id"], self._token, seen_at=seen_at)

    def _under_way(self) -> list[Job]:
        with self._changed:
            return list(self._jobs.values())

    def _renew_all(self) -> bool:
        for job in self._under_way():
            attempt(job.renew)
        with self._changed:
            probing = self._probing.copy()
        if probing:
            attempt(self._renew_probes, probing)
        return False

    def _renew_probes(self, node_ids: list[str]) -> None:
        self._store.probes.renew(node_ids, self._token, lease_s=self._lease_s)
