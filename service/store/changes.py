"""Wakes whoever waits for operations: one change stream for a process, however many wait.

It is a hint and no promise. A stream may break, and the database's user may lack the right to one;
so whoever waits also looks by itself, after a while. The stream is opened when somebody waits for
the first time, and anew whenever it ends, later and later; each time everybody is woken, because
nobody was told of what happened meanwhile.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from pymongo.database import Database
from pymongo.errors import PyMongoError

from service.model.lifecycle import ENDED, OperationStatus

log = logging.getLogger(__name__)

LOOK_AGAIN_S = 2.0
"""After how long whoever waits looks by itself, in case the stream told it nothing."""

AWAIT_S = 0.5
"""How long the database holds one question of the stream's. A stop waits for the answer."""

MAX_STOP_S = 2.0

RETRY_S = 0.1
"""How long the first pause is before a stream that ended is opened again."""

MAX_RETRY_S = 30.0

STEADY_S = 10.0
"""How long a stream lasts before it counts as restored: the next that ends is logged again."""

_UPDATED = "updateDescription.updatedFields"


def _touches(collection: str, *fields: str) -> list[dict[str, Any]]:
    return [{"ns.coll": collection, f"{_UPDATED}.{field}": {"$exists": True}} for field in fields]


PIPELINE: list[dict[str, Any]] = [
    {
        "$match": {
            "$or": [
                {"ns.coll": {"$in": ["operations", "events"]}, "operationType": "insert"},
                *_touches("operations", "status", "next_attempt_at"),
                # A node that came back, is trusted again, or has its only deployment behind it.
                *_touches("nodes", "status", "unanswered", "deploying"),
                *_touches("instances", "phase", "ready_by", "not_ready"),
            ],
            # Who claims an operation lets nobody claim another.
            f"{_UPDATED}.status": {"$ne": OperationStatus.RUNNING},
        }
    },
    {"$project": {"ns.coll": 1, "documentKey": 1, f"{_UPDATED}.status": 1}},
]
"""What ends an operation, or may let one be claimed, which events there are, and how far programs
are."""


def retry_in_s(failed: int) -> float:
    """Return how long to wait before another stream is opened, after `failed` that did not last."""
    return min(MAX_RETRY_S, RETRY_S * 2.0 ** min(failed, 10))


class Changes:
    """What happens to operations, for those who wait for it."""

    def __init__(
        self,
        database: Database[dict[str, Any]],
        *,
        await_s: float = AWAIT_S,
        steady_s: float = STEADY_S,
    ) -> None:
        """Do nothing yet. The database holds one question for `await_s`."""
        self._database = database
        self._await_s = await_s
        self._steady_s = steady_s
        self._lock = threading.Lock()
        """Guards the next five."""
        self._wakers: set[Callable[[], None]] = set()
        self._phase_wakers: set[Callable[[], None]] = set()
        self._followed: dict[str, list[threading.Event]] = {}
        self._listeners: set[threading.Event] = set()
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()

    def subscribe(self, wake: Callable[[], None]) -> None:
        """Call `wake`, in a thread of ours, whenever an operation may be claimed, or two may."""
        with self._lock:
            self._wakers.add(wake)
            self._ensure_running()

    def subscribe_to_phases(self, wake: Callable[[], None]) -> None:
        """Call `wake`, in the same way, whenever a program was started."""
        with self._lock:
            self._phase_wakers.add(wake)
            self._ensure_running()

    def unsubscribe(self, wake: Callable[[], None]) -> None:
        """Call it no more."""
        with self._lock:
            self._wakers.discard(wake)
            self._phase_wakers.discard(wake)

    @contextmanager
    def follow(self, document_id: str) -> Iterator[threading.Event]:
        """Yield an event that is set whenever the operation may have ended.

        Of an instance, whenever its program may be further than before.
        """
        event = threading.Event()
        with self._lock:
            self._followed.setdefault(document_id, []).append(event)
            self._ensure_running()
        try:
            yield event
        finally:
            with self._lock:
                self._followed[document_id].remove(event)
                if not self._followed[document_id]:
                    del self._followed[document_id]

    @contextmanager
    def follow_events(self) -> Iterator[threading.Event]:
        """Yield what is set whenever there may be events that were not there before."""
        told = threading.Event()
        with self._lock:
            self._listeners.add(told)
            self._ensure_running()
        try:
            yield told
        finally:
            with self._lock:
                self._listeners.remove(told)

    def wake_followers(self) -> None:
        """Have all who follow events look, as whoever has one of them stop needs."""
        with self._lock:
            for told in self._listeners:
                told.set()

    def close(self) -> None:
        """End the stream and its thread, for good. Who waits still looks by itself."""
        self._stopping.set()
        with self._lock:
            thread = self._thread  # one that is there was started
        if thread is not None:
            thread.join(MAX_STOP_S)  # longer only while no server is found

    def _ensure_running(self) -> None:
        # In a process that was forked the thread of its parent is known, and not alive.
        if self._stopping.is_set() or (self._thread is not None and self._thread.is_alive()):
            return
        self._thread = threading.Thread(target=self._run, name="changes", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        failed = 0
        while not self._stopping.is_set():
            opened_at, cause = time.monotonic(), "It ended."
            try:
                for change in self._stream():
                    if failed and time.monotonic() - opened_at >= self._steady_s:
                        failed = 0
                        log.info("changes.restored")
                    self._report(change)
            except PyMongoError as exc:
                cause = f"{type(exc).__name__}: {exc}"
            if failed == 0 and not self._stopping.is_set():
                log.warning("changes.lost", extra={"cause": cause})
            self._stopping.wait(retry_in_s(failed))
            failed += 1

    def _stream(self) -> Iterator[Mapping[str, Any] | None]:
        """Yield what changes, and None after a while in which nothing did.

        A primary that steps down is followed by pymongo, which resumes where it was. A stream that
        cannot be resumed (its place is no longer in the oplog) ends here, and the next one begins
        at the present.
        """
        options: dict[str, Any] = {"max_await_time_ms": int(self._await_s * 1000)}
        with self._database.watch(PIPELINE, **options) as stream:
            self._wake_all()
            while stream.alive and not self._stopping.is_set():
                yield stream.try_next()

    def _report(self, change: Mapping[str, Any] | None) -> None:
        if change is None:
            return
        status = change.get("updateDescription", {}).get("updatedFields", {}).get("status")
        collection = change.get("ns", {}).get("coll")
        with self._lock:
            if collection == "events":
                woken = [listener.set for listener in self._listeners]
            elif collection == "instances":
                woken = list(self._phase_wakers)
            else:
                woken = list(self._wakers)
            if status in ENDED or collection == "instances":
                woken += [e.set for e in self._followed.get(change["documentKey"]["_id"], ())]
        for wake in woken:
            wake()

    def _wake_all(self) -> None:
        with self._lock:
            events = [event for each in self._followed.values() for event in each]
            events += self._listeners
            woken = [*self._wakers, *self._phase_wakers, *(event.set for event in events)]
        for wake in woken:
            wake()
