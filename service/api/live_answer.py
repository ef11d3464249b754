"""The body of an answer that goes on while something happens.

What is followed is a `Source`, which holds no thread here. The server of `service/serving` drives
the answer without one either; any other WSGI server waits in the thread that iterates it.
"""

import threading
import time
from collections.abc import Callable, Iterator
from typing import Protocol

from service.permits import Permit

COMMENT_S = 15.0
"""After how much silence something is sent that means nothing, so that nobody takes the connection
for a dead one."""

CHECKED_S = 2.0
"""How long an answer goes on after its key was last found to be valid; then nothing is sent until
it is so again."""

DRIVEN = "skyquay.driven"
"""In the environment of a request: whether the server needs no thread for a live answer."""

_BEGINNING = b"retry: 1000\n\n"
"""How soon a client is to connect anew, in milliseconds; and that it is connected."""

_COMMENT = b":\n\n"


class Source(Protocol):
    """What is followed. Only one thread at a time takes."""

    def take(self) -> bytes | None:
        """Return the frames that are there: b"" while there are none, None at the end.

        Never waits for anything. What it returns at a time is to be less than 256 KiB.
        """

    def on_more(self, wake: Callable[[], None]) -> None:
        """Have `wake` called, in any thread, whenever `take` has something, or has ended."""

    def close(self) -> None:
        """Let go of what is held. Called once, also before the end, and while `take` runs."""


class LiveAnswer:
    """The body of an answer that goes on until its source ends, or the process leaves."""

    def __init__(
        self,
        source: Source,
        *,
        family: str,
        permit: Permit | None,
        stopping: threading.Event,
        on_close: Callable[["LiveAnswer"], None],
    ) -> None:
        """Begin. Without `permit` it needs no key."""
        self.family, self.permit = family, permit
        self.reason = "The client is gone."
        """Why it ends."""
        self._source = source
        self._stopping = stopping
        self._on_close = on_close
        self._more = threading.Event()
        self._wake: Callable[[], None] = self._more.set
        self._is_begun = self._is_ended = self._is_closed = False
        self._lock = threading.Lock()
        self._valid_at = self._spoke_at = time.monotonic()
        source.on_more(self._call_wake)

    @property
    def is_ended(self) -> bool:
        """Return whether nothing more is to be sent."""
        return self._is_ended or self._stopping.is_set()

    @property
    def silence_s(self) -> float:
        """Return how long it may stay silent from now."""
        return max(0.0, self._spoke_at + COMMENT_S - time.monotonic())

    def take(self) -> bytes | None:
        """Return what is to be sent now: b"" while that is nothing, None at the end."""
        if self.is_ended:
            return None
        now = time.monotonic()
        piece: bytes | None = b""
        if not self._is_begun:
            self._is_begun, piece = True, _BEGINNING
        elif self.permit is None or now - self._valid_at <= CHECKED_S:
            piece = self._source.take()
        if piece is None:
            self.end("It has reached its end.")
        elif piece:
            self._spoke_at = now
        elif now - self._spoke_at >= COMMENT_S:
            self._spoke_at, piece = now, _COMMENT
        return piece

    def on_more(self, wake: Callable[[], None]) -> None:
        """Have `wake` called, in any thread, whenever `take` may have something."""
        self._wake = wake

    def confirm(self, since: float) -> None:
        """Go on: its key was found valid by the database at this monotonic time, or later."""
        was_held = time.monotonic() - self._valid_at > CHECKED_S
        self._valid_at = since
        if was_held:
            self._call_wake()

    def end(self, reason: str) -> None:
        """Send nothing more."""
        if not self._is_ended:
            self._is_ended, self.reason = True, reason
        self._call_wake()

    def close(self) -> None:
        """Let go of the source. Repeating it is harmless."""
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = self._is_ended = True
        try:
            self._source.close()
        finally:
            self._on_close(self)

    def __iter__(self) -> Iterator[bytes]:
        """Wait, in this thread, for each piece."""
        while (piece := self.take()) is not None:
            if piece:
                yield piece
            else:
                self._more.wait(self.silence_s)
                self._more.clear()

    def _call_wake(self) -> None:
        self._wake()
