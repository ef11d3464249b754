"""Tickets, by digest."""

from typing import cast

from service.model.documents import Ticket
from service.store.collection import Collection, Indexes, translated

INDEXES: Indexes = [{"keys": [("expires_at", 1)], "expireAfterSeconds": 0}]


class Tickets(Collection[Ticket]):
    """The tickets that nobody has used, and some that are too old."""

    what = "ticket"

    @translated
    def take(self, digest: str) -> Ticket | None:
        """Remove the ticket with this digest, and return it. Of all who try one gets it."""
        return cast("Ticket | None", self._collection.find_one_and_delete({"_id": digest}))
