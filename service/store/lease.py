"""What only one may work on at a time, for as long as whoever has it keeps saying so.

A lease is a field of a document: a token, which whoever takes it makes up, and the time until which
it holds unless it is renewed. The time is set and compared by the database's own clock; every write
of the holder's is conditional on the token. So whoever dies loses the lease without a word, and
whoever comes back late changes nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pymongo.collection import Collection as MongoCollection

from service.store.revised import RevisedCollection

Query = Mapping[str, Any]
Leased = RevisedCollection | MongoCollection[dict[str, Any]]
"""What has leases: the documents of the store, and the one of the migrations."""


@dataclass(frozen=True, slots=True)
class LeaseField:
    """A field of documents that holds a lease, or None while nobody has it."""

    field: str
    token: str = "token"  # noqa: S105 - the name of the token within the field
    """What the token is called within the field."""

    @property
    def is_free(self) -> dict[str, Any]:
        """An expression: nobody has it, or whoever had it let it run out."""
        # Nothing is less than all times.
        return {"$lt": [f"${self.field}.until", "$$NOW"]}

    @property
    def is_taken(self) -> dict[str, Any]:
        """An expression: somebody has it."""
        return {"$gt": [f"${self.field}.until", "$$NOW"]}

    def held_by(self, token: str) -> dict[str, Any]:
        """Return a query for what is held under this token, even if it ran out since."""
        return {f"{self.field}.{self.token}": token}

    def grant(self, token: str, lease_s: float, **facts: object) -> dict[str, Any]:
        """Return what a pipeline sets: the lease from now on, with `facts` about its holder."""
        return {self.field: {self.token: token, **facts, "until": _in(lease_s)}}

    def take(
        self,
        collection: Leased,
        query: Query,
        token: str,
        lease_s: float,
        **facts: object,
    ) -> bool:
        """Take the lease of one document. False while another has it.

        Whoever has it may take it again.
        """
        ours = {"$eq": [f"${self.field}.{self.token}", token]}
        taken = collection.update_one(
            {**query, "$expr": {"$or": [self.is_free, ours]}},
            [{"$set": self.grant(token, lease_s, **facts)}],
        )
        return taken.matched_count == 1

    def renew(
        self,
        collection: Leased,
        query: Query,
        token: str,
        lease_s: float,
    ) -> bool:
        """Extend the lease by `lease_s` from now. False when it is no longer ours."""
        renewed = collection.update_one(
            {**query, **self.held_by(token)}, [{"$set": {f"{self.field}.until": _in(lease_s)}}]
        )
        return renewed.matched_count == 1

    def release(
        self,
        collection: Leased,
        query: Query,
        token: str,
        **facts: object,
    ) -> None:
        """Let others take it at once, and write `facts` too, if it is still ours."""
        changes = {self.field: None, **facts}
        collection.update_one({**query, **self.held_by(token)}, {"$set": changes})


def _in(lease_s: float) -> dict[str, Any]:
    return {"$add": ["$$NOW", int(lease_s * 1000)]}
