"""The document of a ticket."""

from datetime import datetime
from typing import NamedTuple, TypedDict


class Ticket(TypedDict):
    """What opens one live answer, where no header with a key can be sent."""

    _id: str  # the SHA-256 digest of what its holder has
    key_digest: str  # of the key's value that asked for it
    acts_for: str | None  # the user for whom it did
    expires_at: datetime


class NewTicket(NamedTuple):
    """A ticket that was just made. Nobody sees its value again."""

    value: str
    expires_at: datetime
