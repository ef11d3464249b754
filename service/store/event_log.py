"""Makes events of the changes of documents: one writer for all processes, under a lease.

The source is MongoDB's change stream, which has each change once it is committed, in the order of
commits; so there is no change without its event, and no event without a change. What a change was
made by is in the document (`changed_by`), and what was deleted in `removals`: revised.py. Where the
stream goes on is written together with the events, in one transaction that a writer who lost the
lease cannot commit: no change becomes an event twice, and whoever reads by id skips none.

A stream that cannot go on, because no writer ran for longer than the oplog lasts, begins anew at
the present, with an event that says so.
"""

import logging
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from bson import Int64, Timestamp
from pymongo import MongoClient, ReturnDocument
from pymongo.client_session import ClientSession
from pymongo.database import Database
from pymongo.errors import OperationFailure, PyMongoError

from service.store import transactions
from service.store.collection import translate, translated
from service.store.event_making import make_events, make_forgotten, make_gap
from service.store.event_stream import AWAIT_S, Change, Found, read
from service.store.lease import LeaseField

log = logging.getLogger(__name__)

Json = dict[str, Any]

STATE = {"_id": "events"}
"""The document of `meta` with the writer's lease, the last id, and where the stream goes on."""

WRITING = LeaseField("lease")

KEEP_S = 7 * 86400.0
"""How long events are kept, unless a setting says otherwise."""

BATCH = 200
"""How many changes become events in one transaction, at the most."""

_CANNOT_RESUME = (260, 280, 286)
"""MongoDB's InvalidResumeToken, ChangeStreamFatalError and ChangeStreamHistoryLost."""


def read_operation_time(database: Database[Json]) -> Timestamp | None:
    """Return when the database wrote last, by its own clock of writes; None: it does not say.

    A server that just started says so in no answer, but knows its last write.
    """
    hello = database.command("hello")
    written = hello.get("lastWrite", {}).get("opTime", {})
    time: Timestamp | None = hello.get("operationTime") or written.get("ts")
    return time


class EventLog:
    """The writer's side of the events of one database."""

    def __init__(
        self,
        client: MongoClient[Json],
        database: Database[Json],
        *,
        keep_s: float = KEEP_S,
        await_s: float = AWAIT_S,
    ) -> None:
        """Do nothing yet. Events are forgotten `keep_s` seconds after they are written."""
        self._client = client
        self._database = database
        self._meta = database["meta"]
        self._keep_s = keep_s
        self._await_s = await_s

    @translated
    def take(self, token: str, *, lease_s: float) -> bool:
        """Become the writer for `lease_s` seconds, or go on to be. False while another one is."""
        return WRITING.take(self._meta, STATE, token, lease_s)

    @translated
    def release(self, token: str) -> None:
        """Let another become the writer at once."""
        WRITING.release(self._meta, STATE, token)

    def follow(self, token: str, *, lease_s: float, stopping: threading.Event) -> None:
        """Write events as things happen, until `stopping` is set or the lease is another's.

        Raises StoreUnavailable, StoreFailure.
        """
        try:
            self._follow(token, lease_s, stopping)
        except OperationFailure as exc:
            if exc.code not in _CANNOT_RESUME:
                raise translate(exc) from exc
            log.warning("events.gap", extra={"cause": str(exc)})
            self._begin_anew(token, lease_s)
        except PyMongoError as exc:
            raise translate(exc) from exc

    def _follow(self, token: str, lease_s: float, stopping: threading.Event) -> None:
        found = Found()
        begin = self._find_beginning()
        reader = threading.Thread(
            target=read,
            args=(self._database, begin, found),
            kwargs={"await_s": self._await_s},
            name="events-reader",
            daemon=True,
        )
        reader.start()
        renewed_at = time.monotonic()
        try:
            while not stopping.is_set():
                changes = found.take(BATCH, wait_s=self._await_s)
                is_due = time.monotonic() - renewed_at > lease_s / 3
                if not is_due and all(each.change is None for each in changes):
                    continue
                if not self._write(changes, token, lease_s):
                    return
                renewed_at = time.monotonic()
        finally:
            found.closed.set()
            reader.join(4 * self._await_s)

    def _find_beginning(self) -> Json:
        state = self._meta.find_one(STATE) or {}
        if state.get("token") is not None:
            return {"resume_after": state["token"]}
        begun_at = state.get("begun_at")
        return {} if begun_at is None else {"start_at_operation_time": begun_at}

    def _write(self, changes: list[Change], token: str, lease_s: float) -> bool:
        """Write the events of these changes. False when the lease is another's."""
        news = [each.change for each in changes if each.change is not None]
        events, removals = make_events(self._database, news) if news else ([], [])
        goes_on = {"token": {"$literal": changes[-1].token}} if changes else {}
        return self._commit(token, lease_s, events, removals, goes_on)

    def _begin_anew(self, token: str, lease_s: float) -> None:
        """Go on at the present, and say that what was before may be missing."""
        operation_time = read_operation_time(self._database)
        events, removals = make_forgotten(self._database)
        goes_on = {"begun_at": {"$literal": operation_time}, "token": None}
        self._commit(token, lease_s, [make_gap(datetime.now(UTC)), *events], removals, goes_on)

    def _commit(
        self, token: str, lease_s: float, events: list[Json], removals: list[Any], goes_on: Json
    ) -> bool:
        """Write events, and where the stream goes on after them, if the lease is still ours."""
        keep = timedelta(seconds=self._keep_s)
        changes = {**WRITING.grant(token, lease_s), **goes_on}
        if events:
            changes["last"] = {"$add": [{"$max": ["$last", {"$toLong": "$$NOW"}]}, len(events)]}

        def attempt(session: ClientSession) -> bool:
            state = self._meta.find_one_and_update(
                {**STATE, **WRITING.held_by(token)},
                [{"$set": changes}],
                return_document=ReturnDocument.AFTER,
                session=session,
            )
            if state is None:
                return False
            if events:
                first = state["last"] - len(events) + 1
                numbered = [
                    {"_id": Int64(first + n), **event, "expires_at": event["at"] + keep}
                    for n, event in enumerate(events)
                ]
                self._database["events"].insert_many(numbered, session=session)
            if removals:
                gone = {"_id": {"$in": removals}}
                self._database["removals"].delete_many(gone, session=session)
            return True

        with self._client.start_session() as session:
            return transactions.run(session, attempt)
