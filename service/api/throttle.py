"""How many requests a key and an address may send."""

import time
from threading import Lock

from flask import Flask, Response, g, request
from flask_limiter import ApplicationLimit, Limiter, RequestLimit
from limits.storage import Storage

from service.config import Config

_UNCOUNTED = frozenset({"health.healthz", "health.readyz", "metrics.show"})
"""What is asked by those who watch over us."""

_SWEEP_ABOVE = 10_000
"""How many counts are kept before those whose time is over are thrown away."""


class Counters(Storage):
    """Counts in memory. That of `limits` starts a thread when it is made, and many while in use."""

    STORAGE_SCHEME = ["counters"]  # noqa: RUF012 - an attribute of the base class

    def __init__(self, uri: str | None = None, wrap_exceptions: bool = False, **_: str) -> None:
        super().__init__(uri, wrap_exceptions=wrap_exceptions)
        self._lock = Lock()
        self._counts: dict[str, tuple[int, float]] = {}  # and when its window ends

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
            if len(self._counts) > _SWEEP_ABOVE:
                self._counts = {k: kept for k, kept in self._counts.items() if kept[1] > now}
            return count + amount

    def get(self, key: str) -> int:
        """Tell the count."""
        count, ends_at = self._counts.get(key, (0, 0.0))
        return count if ends_at > time.time() else 0

    def get_expiry(self, key: str) -> float:
        """Tell when the window ends."""
        return self._counts.get(key, (0, time.time()))[1]

    def check(self) -> bool:
        """Tell that it can be used."""
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
    """Answer 429 to who sends more than the settings allow, and tell everybody what is left."""
    rates = [
        (config.key_rate, _tell_key, _has_no_key),
        (config.address_rate, _tell_address, _is_uncounted),
    ]
    limits: list[ApplicationLimit] = [
        ApplicationLimit(
            limit_provider=f"{rate}/minute",
            key_function=tell,
            scope=tell.__name__,
            exempt_when=exempt,
            error_message="Too many requests.",
        )
        for rate, tell, exempt in rates
        if rate
    ]
    limiter = Limiter(
        _tell_address,
        app=app,
        application_limits=list(limits),
        storage_uri=config.rate_storage or "counters://",
        strategy="fixed-window",
        # A storage of the operator's that is away locks nobody out.
        in_memory_fallback_enabled=bool(config.rate_storage),
        key_prefix="skyquay",
    )

    @app.after_request
    def tell_what_is_left(answer: Response) -> Response:
        """Add the headers, of the limit that is nearest."""
        nearest = min(limiter.current_limits, key=_find_remaining, default=None)
        if nearest is not None and "RateLimit-Limit" not in answer.headers:
            wait_s = max(1, round(nearest.reset_at - g.began_at))
            tell(answer, limit=nearest.limit.amount, remaining=nearest.remaining, wait_s=wait_s)
            if nearest.breached:
                answer.headers["Retry-After"] = str(wait_s)
        return answer


def tell(answer: Response, *, limit: int, remaining: int, wait_s: int) -> None:
    """Add the headers that tell what a limit is, and when it begins anew."""
    answer.headers["RateLimit-Limit"] = str(limit)
    answer.headers["RateLimit-Remaining"] = str(max(0, remaining))
    answer.headers["RateLimit-Reset"] = str(wait_s)


def _find_remaining(limit: RequestLimit) -> int:
    return limit.remaining


def _tell_key() -> str:
    return str(g.key["_id"])


def _tell_address() -> str:
    return request.remote_addr or ""


def _has_no_key() -> bool:
    return "key" not in g or _is_uncounted()


def _is_uncounted() -> bool:
    return request.endpoint in _UNCOUNTED
