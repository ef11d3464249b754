"""Which users' instances may not be in line with the suspension of their users."""

from typing import Any

from pymongo.database import Database

from service.model.lifecycle import InstanceState
from service.store.collection import Session, translated
from service.store.revised import RevisedCollection


class Suspensions:
    """What is left to do of the suspensions of users."""

    def __init__(self, database: Database[dict[str, Any]]) -> None:
        self._observing = RevisedCollection(database["users"], observes=True)
        self._instances = RevisedCollection(database["instances"])

    @translated
    def mark(self, user_id: str, *, session: Session) -> None:
        """Have a worker look whether the user's instances are in line with the user.

        It changes the document each time, so that whoever has read it and does so knows that nobody
        suspends or unsuspends the user meanwhile.
        """
        self._observing.update_one({"_id": user_id}, {"$set": {"aligning": True}}, session=session)

    @translated
    def unmark(self, user_id: str, *, session: Session) -> None:
        """Note that they are. In a transaction that has found none that is not."""
        self._observing.update_one({"_id": user_id}, {"$unset": {"aligning": ""}}, session=session)

    @translated
    def list_users(self) -> list[str]:
        """List the ids of the users who are marked."""
        return self._observing.distinct("_id", {"aligning": True})

    @translated
    def list_instances(
        self, user_id: str, *, suspended: bool, limit: int, session: Session
    ) -> list[str]:
        """List the ids of a user's instances that are not in line with that, `limit` at most."""
        query = {
            "user_id": user_id,
            "state": {"$ne": InstanceState.DELETING},
            "before_suspension": {"$exists": not suspended},
        }
        found = self._instances.find(query, {"_id": 1}, session=session).limit(limit)
        return [instance["_id"] for instance in found]
