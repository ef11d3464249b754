"""A lockout of those who fail too often to prove who they are.

Failures are counted in the database, so that all processes share the count; a process learns that
somebody is to wait when that somebody fails there. A database that is away counts nothing: the
process then counts alone. Who proved who they are a moment ago is not kept out by others who guess
from the same address.
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
"""How many subjects, and how many proofs, one process keeps in mind."""


class Lockout:
    """Keeps in mind who is to wait, and who proved who they are."""

    def __init__(
        self, store: Store, *, limit: int, message: str = "Too many failed attempts."
    ) -> None:
        """Allow `limit` failures a minute for each subject; 0: as many as they like.

        `message` is for those who must wait.
        """
        self._store = store
        self._message = message
        self._limit = limit
        self._lock = Lock()
        self._counts: OrderedDict[str, int] = OrderedDict()  # by subject and window
        self._proofs: OrderedDict[str, Key | None] = OrderedDict()

    def check(self, subject: str, proof: str | None = None, *, now: datetime) -> None:
        """Raise Throttled while the subject is to wait, unless this proof was good before."""
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
        """Have the subject wait until the next window, in this process."""
        with self._lock:
            _keep(self._counts, _name(subject, now), self._limit + 1)

    def remember(self, subject: str, proof: str, key: Key | None = None) -> None:
        """Note that the proof was good, and of which key it is."""
        with self._lock:
            _keep(self._proofs, _hash(subject, proof), key)

    def recall(self, subject: str, proof: str) -> Key | None:
        """Find the key that this proof was good for before."""
        with self._lock:
            return self._proofs.get(_hash(subject, proof))

    def forget(self, subject: str, proof: str) -> None:
        """Note that the proof is good no more."""
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
