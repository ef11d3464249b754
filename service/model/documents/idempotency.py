"""The document of a request that bears an `Idempotency-Key`."""

from datetime import datetime
from typing import TypedDict

from service.model.documents.operation import Lease


class KeptAnswer(TypedDict):
    """What a request was answered, which its repeats are answered too."""

    status: int
    body: str  # JSON; it bears no secret
    location: str | None


class IdempotencyRecord(TypedDict):
    """What became of the requests with one `Idempotency-Key`, of one API key and for one user."""

    _id: str  # the ids of the API key and of whom it acts for, and a digest of the Idempotency-Key
    fingerprint: str  # keyed digest of the request's method, address and body
    lease: Lease | None  # of the one that is carried out
    made: dict[str, str] | None  # ids by kind, written together with what was made
    answer: KeptAnswer | None
    created_at: datetime
    expires_at: datetime
