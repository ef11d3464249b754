"""Who asks for a change, and when."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Origin:
    """When a change is asked for, by which key and in which request.

    Of what a worker does by itself only the time is known.
    """

    now: datetime
    requested_by: str | None = None  # key id
    request_id: str | None = None
