"""MongoDB's change stream of what is told in events, read by a thread of its own.

So whoever writes takes at once all that is there, without waiting for what comes next.
"""

import queue
import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NamedTuple

import pymongo
from pymongo.database import Database

from service.model.events import KINDS, SILENT

Json = dict[str, Any]

AWAIT_S = 0.5
"""How long the database holds one question for changes. A stop waits for the answer."""

ROOM = 1000
"""How many changes are held that nobody took yet."""

_FIRST_PARTS = {
    "$map": {
        "input": {"$objectToArray": {"$ifNull": ["$updateDescription.updatedFields", {}]}},
        "in": {"$arrayElemAt": [{"$split": ["$$this.k", "."]}, 0]},
    }
}
_REMOVED = {"$ifNull": ["$updateDescription.removedFields", []]}


def _is_news(collection: str, kind: str) -> Json:
    changed = {"$setDifference": [{"$concatArrays": [_FIRST_PARTS, _REMOVED]}, [*SILENT[kind]]]}
    return {"$and": [{"$eq": ["$ns.coll", collection]}, {"$ne": [changed, []]}]}


PIPELINE: list[Json] = [
    {
        "$match": {
            "$or": [
                {"ns.coll": {"$in": [*KINDS, "removals"]}, "operationType": "insert"},
                {
                    "operationType": "update",
                    "$expr": {"$or": [_is_news(name, kind) for name, kind in KINDS.items()]},
                },
            ]
        }
    }
]


class Change(NamedTuple):
    """What the stream told, and where it goes on after it. None: nothing happened for a while."""

    change: Mapping[str, Any] | None
    token: Mapping[str, Any] | None


class Found:
    """What was read of the stream, and is to be written."""

    def __init__(self) -> None:
        self.closed = threading.Event()
        """Set when nobody takes anything any more."""
        self._found: queue.Queue[Change | Exception] = queue.Queue(maxsize=ROOM)

    def put(self, item: Change | Exception) -> None:
        """Add one, once there is room."""
        while not self.closed.is_set():
            with suppress(queue.Full):
                self._found.put(item, timeout=AWAIT_S)
                return

    def take(self, most: int, *, wait_s: float) -> list[Change]:
        """Take what is there; if nothing is, what comes in `wait_s`. Raises what reading raised."""
        taken: list[Change] = []
        with suppress(queue.Empty):
            taken.append(_raise_error(self._found.get(timeout=wait_s)))
            while len(taken) < most:
                taken.append(_raise_error(self._found.get_nowait()))
        return taken


def _raise_error(item: Change | Exception) -> Change:
    if isinstance(item, Exception):
        raise item
    return item


def read(database: Database[Json], begin: Json, found: Found, *, await_s: float = AWAIT_S) -> None:
    """Read the stream from its `begin` until nobody takes what is found any more."""
    options: Json = {"max_await_time_ms": int(await_s * 1000), **begin}
    try:
        with pymongo.timeout(None), database.watch(PIPELINE, **options) as stream:
            while not found.closed.is_set():
                found.put(Change(stream.try_next(), stream.resume_token))
    except Exception as exc:  # noqa: BLE001 - it is raised again, by whoever takes what is found
        found.put(exc)
