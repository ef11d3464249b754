"""How many requests a key and an address may send."""

import time
from contextlib import suppress
from threading import Lock

from flask import Flask, Response, g, request
from flask_limiter import ApplicationLimit, Limiter, RequestLimit
from limits.errors import ConfigurationError, StorageError
from limits.storage import Storage

from service.config import Config, ConfigError
from service.model.addresses import find_caller

_UNCOUNTED = frozenset({"health.healthz", "health.readyz", "metrics.show"})
"""What is asked by those who watch over us."""

_OF_REDIS = {"socket_connect_timeout": 1, "socket_timeout": 1, "wrap_exceptions": True}
"""How many seconds a Redis may take; and its errors are StorageErrors."""

_SWEEP_ABOVE = 10_000
"""How many counts are kept before those whose time is over are thrown away."""


class Counters(Storage):
    """Counts in memory. That of `limits` starts a thread when it is made, and many while in use."""

    STORAGE_SCHEME = ["counters"]  # noqa: RUF012 - an attribute of the base class

    def __init__(self, uri: str | None = None, wrap_exceptions: bool = False, **_: str) -> None:
        super().__init__(uri, wrap_exceptions=wrap_exceptions)
        self._lock = Lock()
        self._counts: dict[str, tuple[int, float]] = {}  # and when its window ends
        self._sweep_above = _SWEEP_ABOVE

    @property
    def base_exceptions(self) -> type[Exception]:
        """Nothing goes wrong here."""
        return ValueError

    def incr(self, key: str, expiry: float, amount: int = 1) -> int:
        """Count, in a window of `expiry` seconds that begins with the first."""
        now = time.time()
        with self._lock:
            count, ends_at = self._counts.get(key, (0, 0.0))
            if ends_at <= now:
                count, ends_at = 0, now + expiry
            self._counts[key] = count + amount, ends_at
            if len(self._counts) > self._sweep_above:
                self._counts = {k: kept for k, kept in self._counts.items() if kept[1] > now}
                # Only when there are twice as many again: a sweep takes as long as there are many.
                self._sweep_above = max(_SWEEP_ABOVE, 2 * len(self._counts))
            return count + amount

    def get(self, key: str) -> int:
        """Return the count."""
        count, ends_at = self._counts.get(key, (0, 0.0))
        return count if ends_at > time.time() else 0

    def get_expiry(self, key: str) -> float:
        """Return when the window ends."""
        return self._counts.get(key, (0, time.time()))[1]

    def check(self) -> bool:
        """Return that it can be used."""
        return True

    def reset(self) -> int:
        """Forget all counts."""
        with self._lock:
            forgotten, self._counts = len(self._counts), {}
        return forgotten

    def clear(self, key: str) -> None:
        """Forget one count."""
        with self._lock:
            self._counts.pop(key, None)


def register(app: Flask, config: Config) -> None:
    """Answer 429 to who sends more than the settings allow, and report to everybody what is left.

    Raises ConfigError for a place to count them that cannot be used.
    """
    rates = [
        (config.key_rate, _key_subject, _has_no_key),
        (config.address_rate, _address_subject, _is_uncounted),
    ]
    limits: list[ApplicationLimit] = [
        ApplicationLimit(
            limit_provider=f"{rate}/minute",
            key_function=set_headers,
            scope=set_headers.__name__,
            exempt_when=exempt,
            error_message="Too many requests.",
        )
        for rate, set_headers, exempt in rates
        if rate
    ]
    limiter = Limiter(
        _address_subject,
        application_limits=list(limits),
        storage_uri=config.rate_storage or "counters://",
        storage_options=dict(_OF_REDIS) if config.rate_storage else {},
        strategy="fixed-window",
        # A storage of the operator's that is away locks nobody out: the first request that finds it
        # so has all counted here, and others that find it at the same moment are not counted.
        in_memory_fallback_enabled=bool(config.rate_storage),
        swallow_errors=bool(config.rate_storage),
        key_prefix="skyquay",
    )
    try:
        limiter.init_app(app)
    except (ConfigurationError, ValueError):
        # Their sentences quote the address, which may have a password.
        raise ConfigError(
            "SKYQUAY_RATE_STORAGE cannot be used: it must be like redis://HOST:PORT."
        ) from None

    @app.after_request
    def report_remaining(answer: Response) -> Response:
        """Add the headers, of the limit that is nearest."""
        with suppress(StorageError):  # it went away since the request was counted
            nearest = min(limiter.current_limits, key=_find_remaining, default=None)
            if nearest is not None and "RateLimit-Limit" not in answer.headers:
                wait_s = max(1, round(nearest.reset_at - g.began_at))
                set_headers(
                    answer, limit=nearest.limit.amount, remaining=nearest.remaining, wait_s=wait_s
                )
                if nearest.breached:
                    answer.headers["Retry-After"] = str(wait_s)
        return answer


def set_headers(answer: Response, *, limit: int, remaining: int, wait_s: int) -> None:
    """Add the headers with the limit, and when it begins anew."""
    answer.headers["RateLimit-Limit"] = str(limit)
    answer.headers["RateLimit-Remaining"] = str(max(0, remaining))
    answer.headers["RateLimit-Reset"] = str(wait_s)


def _find_remaining(limit: RequestLimit) -> int:
    return limit.remaining


def _key_subject() -> str:
    return str(g.key["_id"])


def _address_subject() -> str:
    return find_caller(request.remote_addr or "")


def _has_no_key() -> bool:
    return "key" not in g or _is_uncounted()


def _is_uncounted() -> bool:
    return request.endpoint in _UNCOUNTED
