"""Events, as they are read. Who writes them is event_log.py."""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, cast

from pymongo.collection import Collection as MongoCollection
from pymongo.read_concern import ReadConcern

from service.model.documents import Event
from service.store.collection import Collection, Indexes, translated
from service.store.event_log import STATE
from service.store.matching import matches

INDEXES: Indexes = [
    {"keys": [("type", 1), ("_id", 1)]},
    {"keys": [("instance_id", 1), ("_id", 1)]},
    {"keys": [("user_id", 1), ("_id", 1)]},
    {"keys": [("node_id", 1), ("_id", 1)]},
    {"keys": [("expires_at", 1)], "expireAfterSeconds": 0},
]


class Events(Collection[Event]):
    """The events of one database, or those that somebody may see."""

    what = "event"

    def __init__(
        self,
        collection: MongoCollection[dict[str, Any]],
        meta: MongoCollection[dict[str, Any]],
        *,
        only: Mapping[str, Any] | None = None,
    ) -> None:
        # What a failover takes back was not told: its id could become another's.
        majority = ReadConcern("majority")
        super().__init__(collection.with_options(read_concern=majority), only=only)
        self._meta = meta.with_options(read_concern=majority)

    @translated
    def read_last_id(self) -> int:
        """Return the id of the newest event; of nothing 0."""
        state = self._meta.find_one(STATE, {"last": 1}) or {}
        return int(state.get("last") or 0)

    @translated
    def list_after(
        self,
        after: int | None,
        *,
        kinds: Iterable[str],
        types: Iterable[str] | None = None,
        wanted: Mapping[str, str],
        limit: int,
    ) -> list[Event]:
        """Read the oldest `limit` events after this id, of these kinds, with these values.

        After None the newest. They are oldest first either way.
        """
        query = self._make_query(kinds, types, wanted)
        if after is not None:
            query["_id"] = {"$gt": after}
        cursor = self._collection.find(self._within(query))
        found = list(cursor.sort("_id", -1 if after is None else 1).limit(limit))
        return cast(list[Event], found[::-1] if after is None else found)

    def make_test(
        self,
        *,
        kinds: Iterable[str],
        types: Iterable[str] | None = None,
        wanted: Mapping[str, str],
    ) -> Callable[[Event], bool]:
        """Make what tells whether `list_after` would find an event, which was read elsewhere."""
        query = self._within(self._make_query(kinds, types, wanted))
        return lambda event: matches(event, query)

    @translated
    def find_event(self, event_id: int) -> Event | None:
        """Read one event by its id; None when it is forgotten, or not to be seen."""
        return self._read({"_id": event_id})

    def _make_query(
        self, kinds: Iterable[str], types: Iterable[str] | None, wanted: Mapping[str, str]
    ) -> dict[str, Any]:
        query: dict[str, Any] = {**wanted, "kind": {"$in": sorted(kinds)}}
        if types is not None:
            query["type"] = {"$in": sorted(types)}
        return query


def first_id(at: datetime) -> int:
    """Return the smallest id that an event of this time can have."""
    return int(at.timestamp() * 1000)


def limit_to(only: Mapping[str, Any], *, user_id: str | None, node_ids: Any) -> dict[str, Any]:
    """Make the query of the events that somebody may see who sees a part of the instances.

    `only` is what those have; of nodes all may be seen unless `node_ids` says which.
    """
    of_instances = {"instance_id" if name == "_id" else name: each for name, each in only.items()}
    seen: list[dict[str, Any]] = [
        {"kind": {"$in": ["instance", "operation"]}, **of_instances},
        {"kind": "node", **({} if node_ids is None else {"node_id": node_ids})},
        {"kind": {"$in": ["image", "log"]}},
    ]
    if user_id is not None:
        seen.append({"kind": "user", "user_id": user_id})
    return {"$or": seen}
