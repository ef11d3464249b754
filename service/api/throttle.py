"""How many requests a key and an address may send."""

import logging
import math
import time
from threading import Lock

from flask import Response
from limits.errors import ConfigurationError, StorageError
from limits.storage import Storage, storage_from_string

from service.api.call import Call, Rate
from service.config import Config, ConfigError
from service.errors import Throttled

log = logging.getLogger(__name__)

_WINDOW_S = 60

_REDIS_OPTIONS: dict[str, float | str | bool] = {
    "socket_connect_timeout": 1,
    "socket_timeout": 1,
    "wrap_exceptions": True,
}
"""How many seconds a Redis may take; and its errors are StorageErrors."""

_RETRY_S = 10.0
"""For how long a Redis that did not answer is not asked again."""

_SWEEP_ABOVE = 10_000
"""How many counts are kept before those whose time is over are thrown away."""


class Counters:
    """Counts in memory. That of `limits` starts a thread when it is made, and many while in use."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._counts: dict[str, tuple[int, float]] = {}  # and when its window ends
        self._sweep_above = _SWEEP_ABOVE

    def incr(self, key: str, expiry: float) -> tuple[int, float]:
        """Count, in a window of `expiry` seconds that begins with the first.

        Return the count, and when its window ends.
        """
        now = time.time()
        with self._lock:
            count, ends_at = self._counts.get(key, (0, 0.0))
            if ends_at <= now:
                count, ends_at = 0, now + expiry
            self._counts[key] = counted = count + 1, ends_at
            if len(self._counts) > self._sweep_above:
                self._counts = {k: kept for k, kept in self._counts.items() if kept[1] > now}
                # Only when there are twice as many again: a sweep takes as long as there are many.
                self._sweep_above = max(_SWEEP_ABOVE, 2 * len(self._counts))
            return counted


class Throttle:
    """Counts requests, at the Redis of the settings or else here.

    One that is away locks nobody out: until it is back, each process counts for itself.
    """

    def __init__(self, config: Config) -> None:
        """Raise ConfigError for a Redis that cannot be one."""
        self._key_rate = config.key_rate
        self._address_rate = config.address_rate
        self._here = Counters()
        self._redis = _open(config.rate_storage) if config.rate_storage else None
        self._ask_again_at = 0.0  # 0: it answered

    def count(self, call: Call) -> None:
        """Count the request for its key and its address. Raises Throttled past their limits."""
        if call.policy.for_monitoring or call.request.endpoint is None:
            return
        if self._key_rate and call.key_id is not None:
            self._count(call, f"key/{call.key_id}", self._key_rate)
        if self._address_rate:
            self._count(call, f"address/{call.network}", self._address_rate)

    def report(self, call: Call, answer: Response) -> Response:
        """Add the headers of the limit that is nearest."""
        if call.rate is not None and "RateLimit-Limit" not in answer.headers:
            set_headers(answer, call.rate)
        return answer

    def _count(self, call: Call, subject: str, limit: int) -> None:
        count, ends_at = self._increment(f"skyquay/{subject}")
        reset_s = max(1, math.ceil(ends_at - time.time()))
        if count > limit:
            raise Throttled("Too many requests.", limit=limit, retry_after_s=reset_s)
        if call.rate is None or limit - count < call.rate.remaining:
            call.rate = Rate(limit, remaining=limit - count, reset_s=reset_s)

    def _increment(self, name: str) -> tuple[int, float]:
        now = time.monotonic()
        if self._redis is None or self._ask_again_at > now:
            return self._here.incr(name, _WINDOW_S)
        if self._ask_again_at:
            self._ask_again_at = now + _RETRY_S  # others do not wait for it meanwhile
        try:
            counted = self._redis.incr(name, _WINDOW_S), self._redis.get_expiry(name)
        except StorageError:
            log.warning("rate_storage.failed", exc_info=True)
            self._ask_again_at = time.monotonic() + _RETRY_S
            return self._here.incr(name, _WINDOW_S)
        self._ask_again_at = 0.0
        return counted


def set_headers(answer: Response, rate: Rate) -> None:
    """Add the headers with the limit, and when it begins anew."""
    answer.headers.add("RateLimit-Limit", str(rate.limit))
    answer.headers.add("RateLimit-Remaining", str(rate.remaining))
    answer.headers.add("RateLimit-Reset", str(rate.reset_s))


def _open(url: str) -> Storage:
    try:
        return storage_from_string(url, **_REDIS_OPTIONS)  # type: ignore[return-value]
    except (ConfigurationError, ValueError):
        # Their sentences quote the address, which may have a password.
        raise ConfigError(
            "SKYQUAY_RATE_STORAGE cannot be used: it must be like redis://HOST:PORT."
        ) from None
