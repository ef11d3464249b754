"""What became of requests that bear an `Idempotency-Key`: which is carried out, what it made."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

from pymongo import ReturnDocument
from pymongo.errors import DuplicateKeyError

from service.errors import IdempotencyInProgress
from service.model.documents import IdempotencyRecord, KeptAnswer
from service.model.origin import Claim
from service.store.collection import Collection, Indexes, Session, translated
from service.store.lease import LeaseField

INDEXES: Indexes = [{"keys": [("expires_at", 1)], "expireAfterSeconds": 0}]

LEASE = LeaseField("lease")
"""Held by the request that is carried out."""


class Idempotency(Collection[IdempotencyRecord]):
    """The records, each kept for some hours after it was made."""

    what = "request"

    @translated
    def claim(
        self,
        record_id: str,
        fingerprints: Sequence[str],
        *,
        token: str,
        lease_s: float,
        keep_s: float,
    ) -> IdempotencyRecord:
        """Take the record under this token if it is free; answer it as it is then.

        It is free when there is none, when it has expired, and when it is of one of these
        `fingerprints`, has no answer, and whoever had it let its lease run out. A new one gets the
        first fingerprint, and is kept `keep_s` seconds. One command decides between all who ask.
        """
        is_new = {"$lte": [{"$ifNull": ["$expires_at", "$$NOW"]}, "$$NOW"]}
        is_free = [
            {"$in": ["$fingerprint", list(fingerprints)]},
            {"$eq": ["$answer", None]},
            LEASE.is_free,
        ]
        fresh = {
            "_id": {"$literal": record_id},
            "fingerprint": fingerprints[0],
            "lease": None,
            "made": None,
            "answer": None,
            "created_at": "$$NOW",
            "expires_at": {"$add": ["$$NOW", int(keep_s * 1000)]},
        }
        lease = LEASE.grant(token, lease_s)[LEASE.field]
        changes: list[Mapping[str, Any]] = [
            {"$replaceWith": {"$cond": [is_new, fresh, "$$ROOT"]}},
            {"$set": {LEASE.field: {"$cond": [{"$and": is_free}, lease, f"${LEASE.field}"]}}},
        ]
        try:
            return self._upsert(record_id, changes)
        except DuplicateKeyError:  # another was faster between the look and the write
            return self._upsert(record_id, changes)

    @translated
    def mark(self, claim: Claim | None, made: Mapping[str, str], *, session: Session) -> None:
        """Write down, with the change itself, the ids of what a request makes, by their kinds.

        Nothing for one without an `Idempotency-Key`. Raises IdempotencyInProgress when another took
        the record, as this one took too long: then this one changes nothing.
        """
        if claim is None:
            return
        marked = self._collection.update_one(
            {"_id": claim.record_id, **LEASE.held_by(claim.token)},
            {"$set": {"made": dict(made)}},
            session=session,
        )
        if marked.matched_count == 0:
            raise IdempotencyInProgress("Another request with this Idempotency-Key overtook it.")

    @translated
    def unmark(self, claim: Claim | None) -> None:
        """Write down that nothing was done after all, so that a repeat does it."""
        if claim is not None:
            self._collection.update_one(
                {"_id": claim.record_id, **LEASE.held_by(claim.token)}, {"$set": {"made": None}}
            )

    @translated
    def keep(self, claim: Claim, answer: KeptAnswer) -> None:
        """Keep the answer for repeats, unless another took the record."""
        self._end(claim, {"answer": {"$literal": answer}})

    @translated
    def close(self, claim: Claim, made: dict[str, str]) -> None:
        """Keep the ids of what was made, unless they are known, and no answer: it had a secret."""
        self._end(claim, {"made": {"$ifNull": ["$made", {"$literal": made}]}})

    @translated
    def release(self, claim: Claim) -> None:
        """Let a repeat be carried out at once: nothing was made, or it answers what was."""
        held = {"_id": claim.record_id, **LEASE.held_by(claim.token)}
        if self._collection.delete_one({**held, "made": None}) == 0:
            LEASE.release(self._collection, {"_id": claim.record_id}, claim.token)

    def _end(self, claim: Claim, changes: dict[str, Any]) -> None:
        self._collection.update_one(
            {"_id": claim.record_id, **LEASE.held_by(claim.token)},
            [{"$set": {**changes, LEASE.field: None}}],
        )

    def _upsert(self, record_id: str, changes: list[Mapping[str, Any]]) -> IdempotencyRecord:
        found = self._collection.find_one_and_update(
            {"_id": record_id}, changes, upsert=True, return_document=ReturnDocument.AFTER
        )
        return cast("IdempotencyRecord", found)
