"""Logs that are followed: each by a thread of its own, a bounded number of them in a process.

A thread reads from the node as fast as its client takes: what waits for the client is bounded, and
beyond that the node waits. So no line is lost, and whoever reads too slowly is cut off by the
server, and comes back for the rest.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass

from service.drivers import DriverFactory, LogEnd, LogStream
from service.errors import Busy, ServiceError, StoreUnavailable
from service.instance_logs import SecretHider, find_secrets
from service.model.documents import Instance, Node
from service.model.lifecycle import InstanceState
from service.model.orders import LogSearch
from service.model.printed_lines import LogLine, Mark
from service.store import Store

log = logging.getLogger(__name__)

MOST = 64
"""How many logs a process follows at a time."""

MOST_WAITING_BYTES = 256 * 1024
"""How much waits for the client of one, but for a line more."""

TAKEN_BYTES = 64 * 1024
"""How much is taken at a time, but for a line more."""

CHECK_S = 2.0
"""How often it is looked at whether the instance may still be followed."""

_ENDS = {
    LogEnd.STOPPED: "The program does not run.",
    LogEnd.GONE: "The container is there no more, or was replaced.",
}


@dataclass(frozen=True, slots=True)
class Encoding:
    """How what is followed is told."""

    line: Callable[[LogLine, Mark | None], bytes]
    end: Callable[[str, str], bytes]
    """Of the reason, as a code and as a sentence."""


class LogFollowers:
    """Those of a process."""

    def __init__(self, most: int = MOST) -> None:
        self._slots = threading.BoundedSemaphore(most)

    def follow(
        self,
        store: Store,
        open_driver: DriverFactory,
        instance: Instance,
        node: Node,
        search: LogSearch,
        *,
        after: Mark | None,
        encoding: Encoding,
    ) -> "LogFollower":
        """Begin to follow the log of an instance, or go on after a line of it. Raises Busy."""
        if not self._slots.acquire(blocking=False):
            raise Busy("As many logs as a process may follow are followed already.")

        def run(follower: LogFollower) -> None:
            try:
                with closing(open_driver(node)) as driver:
                    since_ns = search["since_ns"]
                    stream = driver.follow_logs(
                        instance["_id"], tail=search["tail"], since_ns=since_ns, after=after
                    )
                    with closing(stream):
                        follower.read(stream)
            except _Closed:
                pass
            except _Over as over:
                follower.end(over.reason, over.message)
            except ServiceError as exc:
                follower.end(exc.code, exc.message)
            except Exception:
                log.exception("log.follow_failed", extra={"instance_id": instance["_id"]})
                follower.end("internal_error", "Unexpected error.")
            finally:
                self._slots.release()

        follower = LogFollower(store, instance, encoding)
        try:
            threading.Thread(target=run, args=(follower,), name="follow", daemon=True).start()
        except BaseException:
            self._slots.release()
            raise
        return follower


class _Closed(Exception):
    """Nobody follows any more."""


class _Over(Exception):
    """It may be followed no more."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason, self.message = reason, message


class LogFollower:
    """The log of one instance, as a source of a live answer. One thread reads, another takes."""

    def __init__(self, store: Store, instance: Instance, encoding: Encoding) -> None:
        self._store, self._instance, self._encoding = store, instance, encoding
        self._stream: LogStream | None = None
        self._waiting = deque[bytes]()
        self._waiting_bytes = 0
        self._is_over = self._is_closed = False
        self._change = threading.Condition()
        """Guards all of these."""
        self._wake: Callable[[], None] = lambda: None
        self._check_at = time.monotonic() + CHECK_S

    def take(self) -> bytes | None:
        """Return what has come: b"" for nothing, None at the end. Never waits."""
        taken, size = [], 0
        with self._change:
            if self._is_over and not self._waiting:
                return None
            while self._waiting and size < TAKEN_BYTES:
                taken.append(self._waiting.popleft())
                size += len(taken[-1])
            self._waiting_bytes -= size
            self._change.notify()
        return b"".join(taken)

    def on_more(self, wake: Callable[[], None]) -> None:
        """Have `wake` called when there is something to take."""
        self._wake = wake
        wake()  # for what has come before

    def close(self) -> None:
        """Follow no more."""
        with self._change:
            self._is_closed = True
            self._change.notify()
            if self._stream is not None:
                self._stream.hang_up()

    def read(self, stream: LogStream) -> None:
        """Read lines until there are no more, in the thread of this follower alone."""
        with self._change:
            self._stream = stream
            if self._is_closed:
                raise _Closed
        hider = None
        for line in stream:
            self._check()
            if hider is None:  # by now it is known which container it is
                hider = SecretHider(find_secrets(self._store, self._instance))
            if line is not None:
                self._put_lines(hider.feed(line), stream)
            elif hider.holds:
                self._put_lines(hider.flush(), stream)
        if hider is not None:
            self._put_lines(hider.flush(), stream)
        if stream.end is not None:
            self._check_at = 0.0  # the program may have ended with the instance
            self._check()
            self.end(stream.end, _ENDS[stream.end])

    def end(self, reason: str, message: str) -> None:
        """Say why nothing more comes."""
        with self._change:
            self._waiting.append(self._encoding.end(reason, message))
            self._waiting_bytes += len(self._waiting[-1])
            self._is_over = True
        self._wake()

    def _put_lines(self, lines: Iterable[LogLine], stream: LogStream) -> None:
        for line in lines:
            position, container_id = line.position, stream.container_id or ""
            mark = None if position is None else Mark(container_id, position)
            self._put(self._encoding.line(line, mark))

    def _put(self, piece: bytes) -> None:
        """Have a piece taken, when there is room for it."""
        is_first = False
        while True:
            with self._change:
                if self._is_closed:
                    raise _Closed
                if self._waiting_bytes < MOST_WAITING_BYTES:
                    is_first = not self._waiting
                    self._waiting.append(piece)
                    self._waiting_bytes += len(piece)
                    break
                self._change.wait(CHECK_S)
            self._check()
        if is_first:
            self._wake()

    def _check(self) -> None:
        """Look now and then whether the instance may still be followed. Raises _Over."""
        now = time.monotonic()
        if now < self._check_at:
            return
        self._check_at = now + CHECK_S
        try:
            with self._store.bounded(CHECK_S):
                found = self._store.instances.find(self._instance["_id"])
        except StoreUnavailable:
            return
        if found is None or found["state"] == InstanceState.DELETING:
            raise _Over("deleted", "The instance was deleted.")
        if found["suspended"]:
            raise _Over("suspended", "The instance is suspended.")
