"""Which event the deliveries of all webhooks are made up to: one worker makes them, under a lease.

The place is written in the transaction that writes the deliveries, and that whoever lost the lease
cannot commit. So each event that a webhook is told of becomes one delivery, whoever dies and when.
Events are read as most of the database's members have them: what is read is never undone.
"""

from typing import Any, cast

from bson import Int64
from pymongo import MongoClient
from pymongo.client_session import ClientSession
from pymongo.database import Database
from pymongo.read_concern import ReadConcern

from service.model.documents import Delivery, Event
from service.store import transactions
from service.store.collection import translated
from service.store.event_log import STATE as EVENTS
from service.store.lease import LeaseField

Json = dict[str, Any]

STATE = {"_id": "webhooks"}
"""The document of `meta` with the lease, and the place: the id of an event."""

FOLLOWING = LeaseField("lease")


class FanOut:
    """The place up to which events were taken for webhooks."""

    def __init__(self, client: MongoClient[Json], database: Database[Json]) -> None:
        self._client = client
        self._meta = database["meta"]
        self._deliveries = database["deliveries"]
        self._events = database["events"].with_options(read_concern=ReadConcern("majority"))

    @translated
    def take(self, token: str, *, lease_s: float) -> bool:
        """Become the one that goes on, or stay it. False while another one is."""
        return FOLLOWING.take(self._meta, STATE, token, lease_s)

    @translated
    def release(self, token: str) -> None:
        """Let another go on at once."""
        FOLLOWING.release(self._meta, STATE, token)

    @translated
    def read_place(self) -> int:
        """Return the id of the last event whose deliveries are made."""
        state = self._meta.find_one(STATE) or {}
        return int(state.get("place") or 0)

    @translated
    def list_after(self, place: int, *, limit: int) -> list[Event]:
        """Read the events that come next, oldest first."""
        found = self._events.find({"_id": {"$gt": Int64(place)}}).sort("_id", 1).limit(limit)
        return cast(list[Event], list(found))

    @translated
    def move(self, token: str, place: int, deliveries: list[Delivery], *, lease_s: float) -> bool:
        """Write deliveries, and the place after their events, and renew the lease.

        False, with nothing written, when the lease is another's.
        """
        changes = {**FOLLOWING.grant(token, lease_s), "place": {"$literal": Int64(place)}}

        def attempt(session: ClientSession | None) -> bool:
            moved = self._meta.update_one(
                {**STATE, **FOLLOWING.held_by(token)}, [{"$set": changes}], session=session
            )
            if moved.matched_count == 0:
                return False
            if deliveries:
                documents = [{**each, "event_id": Int64(each["event_id"])} for each in deliveries]
                self._deliveries.insert_many(documents, session=session)
            return True

        if not deliveries:
            return attempt(None)
        with self._client.start_session() as session:
            return transactions.run(session, attempt)


def begin_webhooks(database: Database[Json]) -> None:
    """Have webhooks begin with the events that are written from now on."""
    events = database["meta"].find_one(EVENTS) or {}
    begin = {"place": Int64(events.get("last") or 0), "lease": None}
    database["meta"].update_one(STATE, {"$set": begin}, upsert=True)
