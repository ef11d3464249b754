"""API keys that were read a moment ago, so that not each request reads its own."""

import time
from collections.abc import Callable

from service.model.documents import Key

LIFETIME_S = 0.5
"""How old what is known of a key may be, in every process."""

MOST = 1000
"""How many keys one process knows at most."""

_DRIFT = 1.02
"""The clocks of machines do not run alike: by 0.05 % at most, says NTP."""


class KeyCache:
    """Keys as the database answered them, each for `lifetime_s` seconds from before it was asked.

    A key that is changed or removed is still known to other processes as it was. So whoever does
    that calls `outlast` once it is durable, and answers only then: now no process knows it any
    more. All processes have the same lifetime; 0 remembers nothing.
    """

    def __init__(
        self,
        lifetime_s: float | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        """Take LIFETIME_S where nothing else is said. `clock` and `pause` count in seconds."""
        self._lifetime_s = LIFETIME_S if lifetime_s is None else lifetime_s
        self._clock = clock
        self._pause = pause
        self._known: dict[str, tuple[Key, float]] = {}  # by digest, and until when

    def find(self, digest: str, read: Callable[[str], Key | None]) -> Key | None:
        """Find the key of this digest; None where `read`, which asks the database, finds none."""
        began_at = self._clock()  # the answer may be as old as the question
        key, until = self._known.get(digest, (None, 0.0))
        if key is not None and began_at < until:
            return key
        key = read(digest)
        if key is None:
            self._known.pop(digest, None)
            return None
        if len(self._known) >= MOST:
            self._known.clear()
        if self._lifetime_s > 0:
            self._known[digest] = key, began_at + self._lifetime_s
        return key

    def outlast(self) -> None:
        """Return when no process knows any key as it was when this was called."""
        if self._lifetime_s > 0:
            self._pause(self._lifetime_s * _DRIFT)
