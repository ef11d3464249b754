"""The live answers of a process: how many there may be, and for how long their keys let them be."""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from functools import partial

from service import permits
from service.api.live_answer import LiveAnswer, Source
from service.errors import Busy, StoreFailure, StoreUnavailable
from service.permits import Permit
from service.store import Store

log = logging.getLogger(__name__)

CHECK_S = 1.0
"""How often keys are looked at again. See also `live_answer.CHECKED_S`."""

MOST = 1000
"""How many live answers a process has at a time."""

MOST_OF_FAMILY = 50
"""How many of them are for one key, and the limited keys that it made."""


class OpenAnswers:
    """Those that are open. A thread looks after them, while there are any."""

    def __init__(
        self,
        store: Store,
        *,
        threads: int,
        stopping: threading.Event,
        now: Callable[[], datetime],
    ) -> None:
        """Start nothing. `threads` answer requests; `stopping` ends all live answers."""
        self._store = store
        self._now = now
        self._most_waiting = max(1, threads // 4)
        """How many may hold a thread, where the server knows no better."""
        self._stopping = stopping
        self._lock = threading.Lock()
        """Guards the next three."""
        self._open = set[LiveAnswer]()
        self._of_family = Counter[str]()
        self._keeper: threading.Thread | None = None

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._open)

    def open(
        self,
        open_source: Callable[[], Source],
        *,
        family: str,
        permit: Permit | None,
        is_driven: bool,
        request_id: str = "",
    ) -> LiveAnswer:
        """Begin a live answer. Raises Busy, and what `open_source` raises."""
        self._take_place(family, is_driven=is_driven)
        try:
            live = LiveAnswer(
                open_source(),
                family=family,
                permit=permit,
                stopping=self._stopping,
                on_close=partial(self._remove, request_id, time.monotonic()),
            )
        except BaseException:
            self._leave_place(family)
            raise
        with self._lock:
            self._open.add(live)
            self._ensure_running()
        return live

    def _take_place(self, family: str, *, is_driven: bool) -> None:
        most = MOST if is_driven else self._most_waiting
        with self._lock:
            if self._of_family.total() >= most:
                raise Busy("As many live answers as there may be are open already.")
            if self._of_family[family] >= MOST_OF_FAMILY:
                raise Busy("This API key has as many live answers open as it may.")
            self._of_family[family] += 1

    def _leave_place(self, family: str) -> None:
        with self._lock:
            self._of_family[family] -= 1
            if not self._of_family[family]:
                del self._of_family[family]

    def _remove(self, request_id: str, begun_at: float, live: LiveAnswer) -> None:
        with self._lock:
            self._open.discard(live)
        self._leave_place(live.family)
        seconds = round(time.monotonic() - begun_at, 1)
        facts = {"request_id": request_id, "seconds": seconds, "reason": live.reason}
        log.info("live.ended", extra=facts)

    def _ensure_running(self) -> None:
        # In a process that was forked the thread of its parent is known, and not alive.
        if self._keeper is None or not self._keeper.is_alive():
            self._keeper = threading.Thread(target=self._keep, name="live", daemon=True)
            self._keeper.start()

    def _keep(self) -> None:
        while not self._stopping.wait(CHECK_S):
            with self._lock:
                if not self._open:
                    self._keeper = None
                    return
                answers = list(self._open)
            try:
                self._check(answers)
            except Exception:
                log.exception("live.unchecked")  # then they are held, until that works again
        with self._lock:
            answers = list(self._open)
        for live in answers:
            live.end("The process is leaving.")

    def _check(self, answers: list[LiveAnswer]) -> None:
        asked = {live.permit for live in answers if live.permit is not None}
        since = time.monotonic()
        try:
            with self._store.bounded(CHECK_S):
                ended = permits.find_ended(self._store, asked, now=self._now())
        except (StoreUnavailable, StoreFailure):
            return  # they are held, until it is known again
        for live in answers:
            if live.permit in ended:
                live.end(ended[live.permit].message)
            elif live.permit is not None:
                live.confirm(since)
