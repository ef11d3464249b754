"""Who asks for a change, and when."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Claim:
    """A request that bears an `Idempotency-Key`, and is the only one that is carried out for it.

    `made` has the ids of what a request before this one made, which got no answer, by their kinds:
    {"instance": "i...", "operation": "..."}; None: it made nothing.
    """

    record_id: str
    token: str  # of the record's lease
    made: dict[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Origin:
    """When a change is asked for, by which key and in which request.

    Of what a worker does by itself only the time is known.
    """

    now: datetime
    requested_by: str | None = None  # key id
    request_id: str | None = None
    claim: Claim | None = None
    acts_for: str | None = None  # id of the user for whom the key acts
