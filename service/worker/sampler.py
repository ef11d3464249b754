"""The threads of a worker that sample what instances use.

Workers share the nodes out among them: whoever claims a node samples it, once, and it is due again
for everybody an interval after that began. No worker calls nodes more than CALLS_A_SECOND times a
second, so with many instances the interval becomes longer. A node is one thread's at a time. Slow
nodes get a quarter of the threads at the most.
"""

import logging
import secrets
import threading
import time
from collections.abc import Callable
from datetime import datetime

from service.drivers import DriverFactory
from service.errors import ServiceError
from service.model.documents import Sampling
from service.store import Store
from service.worker.sampling import INTERVAL_S, sample_node

log = logging.getLogger(__name__)

CALLS_A_SECOND = 50

THREADS = 32
SLOW_THREADS = THREADS // 4

LEASE_S = 30.0
"""How long a worker may be silent before another samples its nodes."""

PAUSE_S = 1.0
"""How long a worker that found no node to sample waits before it looks again."""

SYNC_EVERY_S = 5.0
"""How often a worker looks which nodes are Online."""


class Pace:
    """Spaces calls evenly, whichever threads make them."""

    def __init__(
        self,
        per_s: float,
        *,
        wait: Callable[[float], object] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._gap_s = 1 / per_s
        self._wait = wait
        self._clock = clock
        self._next = 0.0
        self._lock = threading.Lock()

    def take(self) -> None:
        """Return when it is this call's turn."""
        with self._lock:
            now = self._clock()
            turn = max(now, self._next)
            self._next = turn + self._gap_s
        if turn > now:
            self._wait(turn - now)


class Sampler:
    """Claims nodes, and samples each in a thread."""

    def __init__(
        self,
        store: Store,
        open_driver: DriverFactory,
        *,
        now: Callable[[], datetime],
        interval_s: float = INTERVAL_S,
        lease_s: float = LEASE_S,
        pace: Pace | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Do nothing before `start`."""
        self._store = store
        self._open_driver = open_driver
        self._now = now
        self._interval_s = interval_s
        self._lease_s = lease_s
        self._clock = clock
        self._stopping = threading.Event()
        self._pace = pace or Pace(CALLS_A_SECOND, wait=self._stopping.wait, clock=clock)
        self._token = secrets.token_hex(8)
        self._free = threading.Semaphore(THREADS)
        self._slow = 0
        self._lock = threading.Lock()
        """Guards the one above."""
        self._synced_at: float | None = None
        self._claimer = threading.Thread(target=self._claim_all, name="sample", daemon=True)

    def start(self) -> None:
        """Begin to sample, in threads of this process."""
        self._claimer.start()

    def stop(self, *, timeout_s: float = 2.0) -> None:
        """Claim nothing more, and have the rounds end with the call that is under way."""
        self._stopping.set()
        if self._claimer.is_alive():
            self._claimer.join()
        until = time.monotonic() + timeout_s
        for _ in range(THREADS):
            if not self._free.acquire(timeout=max(0.0, until - time.monotonic())):
                return  # a daemon thread, whose lease runs out

    def claim_one(self) -> bool:
        """Have a thread sample the node that is due. False: none is, or no thread is free."""
        self._sync()
        if not self._free.acquire(timeout=PAUSE_S):
            return False
        claimed = None
        try:
            with self._lock:
                slow_too = self._slow < SLOW_THREADS
            claimed = self._store.sampling.claim(
                self._token, lease_s=self._lease_s, slow_too=slow_too
            )
        finally:
            if claimed is None:
                self._free.release()
        if claimed is None:
            return False
        with self._lock:
            self._slow += claimed["slow"]
        threading.Thread(target=self._sample, args=(claimed,), name="sample", daemon=True).start()
        return True

    def _claim_all(self) -> None:
        while not self._stopping.is_set():
            try:
                found = self.claim_one()
            except ServiceError as exc:
                log.warning(str(exc), extra={"doing": "sample", "cause": str(exc.__cause__ or "")})
                found = False
            except Exception:
                log.exception("sampler.crashed")
                found = False
            if not found:
                self._stopping.wait(PAUSE_S)

    def _sync(self) -> None:
        now = self._clock()
        if self._synced_at is None or now - self._synced_at >= SYNC_EVERY_S:
            self._store.sampling.sync(now=self._now())
            self._synced_at = now

    def _sample(self, claimed: Sampling) -> None:
        renewed_at = self._clock()

        def go_on() -> bool:
            nonlocal renewed_at
            self._pace.take()
            if self._clock() - renewed_at >= self._lease_s / 3:
                if not self._store.sampling.renew(
                    claimed["_id"], self._token, lease_s=self._lease_s
                ):
                    return False
                renewed_at = self._clock()
            return not self._stopping.is_set()

        try:
            sample_node(
                self._store,
                self._open_driver,
                claimed,
                token=self._token,
                go_on=go_on,
                interval_s=self._interval_s,
                now=self._now,
                clock=self._clock,
            )
        except ServiceError as exc:
            log.warning(str(exc), extra={"doing": "sample", "node_id": claimed["_id"]})
        except Exception:
            log.exception("sampler.crashed", extra={"node_id": claimed["_id"]})
        finally:
            with self._lock:
                self._slow -= claimed["slow"]
            self._free.release()
