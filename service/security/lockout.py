"""The failed-login lockout: a subject that fails too often is rejected until the next window.

Failures are counted in the database, so that all processes share the count. A process learns of a
lockout when the subject fails there. While the database is away each process counts alone. A proof
that was valid before stays accepted, even when others try keys from the same address.
"""

import hashlib
import logging
from collections import OrderedDict
from datetime import UTC, datetime
from threading import Lock
from typing import TypeVar

from service.errors import StoreUnavailable, Throttled
from service.model.documents import Key
from service.store import Store

log = logging.getLogger(__name__)

Value = TypeVar("Value")

WINDOW_S = 60
MOST_REMEMBERED = 10_000
"""How many subjects, and how many proofs, one process remembers."""


class Lockout:
    """Remembers which subjects are locked out, and which proofs were valid."""

    def __init__(
        self, store: Store, *, limit: int, message: str = "Too many failed attempts."
    ) -> None:
        """Allow `limit` failures a minute for each subject; 0: any number.

        `message` is the sentence of the Throttled error.
        """
        self._store = store
        self._message = message
        self._limit = limit
        self._lock = Lock()
        self._counts: OrderedDict[str, int] = OrderedDict()  # by subject and window
        self._proofs: OrderedDict[str, Key | None] = OrderedDict()

    def check(self, subject: str, proof: str | None = None, *, now: datetime) -> None:
        """Raise Throttled while the subject is locked out, unless this proof was valid before."""
        if not self._counts:
            return  # nobody failed
        name = _name(subject, now)
        with self._lock:
            waits = self._limit and self._counts.get(name, 0) > self._limit
            if not waits or (proof is not None and _hash(subject, proof) in self._proofs):
                return
        raise self._throttled(now)

    def fail(self, subject: str, *, now: datetime) -> None:
        """Count a failure. Raises Throttled when there are too many."""
        if not self._limit:
            return
        name = _name(subject, now)
        with self._lock:
            is_known = self._counts.get(name, 0) > self._limit
        if is_known:
            raise self._throttled(now)
        shared = self._count_shared(subject, now)
        with self._lock:
            count = max(self._counts.get(name, 0) + 1, shared)
            _keep(self._counts, name, count)
        if count > self._limit:
            raise self._throttled(now)

    def block(self, subject: str, *, now: datetime) -> None:
        """Lock the subject out until the next window, in this process."""
        with self._lock:
            _keep(self._counts, _name(subject, now), self._limit + 1)

    def remember(self, subject: str, proof: str, key: Key | None = None) -> None:
        """Record that the proof was valid, and for which key."""
        with self._lock:
            _keep(self._proofs, _hash(subject, proof), key)

    def recall(self, subject: str, proof: str) -> Key | None:
        """Find the key that this proof was valid for before."""
        with self._lock:
            return self._proofs.get(_hash(subject, proof))

    def forget(self, subject: str, proof: str) -> None:
        """Record that the proof is no longer valid."""
        with self._lock:
            self._proofs.pop(_hash(subject, proof), None)

    def _count_shared(self, subject: str, now: datetime) -> int:
        try:
            return self._store.failures.increment(
                _hash(subject), window=_window(now), ends_at=_end(now)
            )
        except StoreUnavailable as exc:
            log.warning("lockout.counts_alone", extra={"reason": exc.message})
            return 0

    def _throttled(self, now: datetime) -> Throttled:
        wait_s = max(1, round((_end(now) - now).total_seconds()))
        return Throttled(self._message, limit=self._limit, retry_after_s=wait_s)


def _keep(kept: "OrderedDict[str, Value]", name: str, value: Value) -> None:
    kept[name] = value
    kept.move_to_end(name)
    if len(kept) > MOST_REMEMBERED:
        kept.popitem(last=False)


def _name(subject: str, now: datetime) -> str:
    return f"{_hash(subject)}@{_window(now)}"


def _window(now: datetime) -> str:
    return str(int(now.timestamp()) // WINDOW_S)


def _end(now: datetime) -> datetime:
    return datetime.fromtimestamp((int(now.timestamp()) // WINDOW_S + 1) * WINDOW_S, tz=UTC)


def _hash(*parts: str) -> str:
    # What was sent may be a secret, or very long: neither is kept.
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
