"""The one place through which the store writes: every write raises the document's `revision`.

Of documents whose changes are events it also says who caused it, and keeps what is deleted until
that is an event: event_log.py.

A document has another revision after each write, whoever made it. That is what ETags and the cache
of encoded documents are made of, so nothing may write past this; tests/store/test_revisions.py
checks it. A new document has 1; one from before there were revisions has none, and counts as 0.

Some writes only record what was observed or promised, such as a probe, and change nothing that
clients can change. They raise `observations` too: `If-Match` passes over them (model/precondition).
"""

from collections.abc import Mapping
from typing import Any

from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo.client_session import ClientSession
from pymongo.collection import Collection as MongoCollection
from pymongo.cursor import Cursor
from pymongo.results import InsertOneResult, UpdateResult
from pymongo.write_concern import WriteConcern

from service.model.documents import Removal
from service.model.events import KINDS
from service.store.cause import print_cause, read_cause

Json = dict[str, Any]
Changes = Mapping[str, Any] | list[Mapping[str, Any]]
"""What an update changes: operators, or the stages of a pipeline."""

_RAW = CodecOptions(document_class=RawBSONDocument)
_BATCH = b"\x04firstBatch\0"
"""How the batch begins in BSON. Nothing but its length is before it in an answer's cursor."""

_SECRETS = frozenset(
    {
        "password_hash",
        "digest",
        "retiring",
        "spent",
        "secret",
        "pending_secret",
        "tls",
        "configure_key",
        "node_env",
    }
)
"""Fields of documents whose values are not kept of one that is deleted."""


class RevisedCollection:
    """A collection of pymongo's, with what the store needs of it."""

    def __init__(self, collection: MongoCollection[Json], *, observes: bool = False) -> None:
        self._collection = collection
        self._observes = observes
        self.name = collection.name
        self._is_told = collection.name in KINDS
        self._removals = collection.database["removals"]
        self.aggregate = collection.aggregate
        self.count_documents = collection.count_documents
        self.distinct = collection.distinct
        self.estimated_document_count = collection.estimated_document_count
        self.find = collection.find
        self.find_one = collection.find_one

    def with_options(self, *, write_concern: WriteConcern) -> "RevisedCollection":
        """Make the same with another write concern."""
        return RevisedCollection(
            self._collection.with_options(write_concern=write_concern), observes=self._observes
        )

    def observing(self) -> "RevisedCollection":
        """Make the same for writes that change nothing that clients can change."""
        return RevisedCollection(self._collection, observes=True)

    def find_raw(self, *query: Any, **options: Any) -> Cursor[RawBSONDocument]:
        """Find documents like `find`, and leave them as BSON."""
        return self._collection.with_options(codec_options=_RAW).find(*query, **options)

    def find_batch(self, command: Json) -> bytes:
        """Find documents with a bare command, which has all of them in one batch: a BSON array."""
        reply: Any = self._collection.database.command(command, codec_options=_RAW)
        cursor = bytes(reply["cursor"].raw)
        begin = cursor.index(_BATCH) + len(_BATCH)
        size = int.from_bytes(cursor[begin : begin + 4], "little")
        return cursor[begin : begin + size]

    def insert_one(
        self, document: Json, *, session: ClientSession | None = None
    ) -> InsertOneResult:
        """Write a new document, at revision 1."""
        return self._collection.insert_one(
            {**document, "revision": 1, **(self._say_cause() if read_cause() else {})},
            session=session,
        )

    def bring_one(self, document: Json, *, session: ClientSession) -> InsertOneResult:
        """Write a document that was in another collection, at its next revision."""
        return self._collection.insert_one(
            {**document, "revision": document.get("revision", 0) + 1, **self._say_cause()},
            session=session,
        )

    def update_one(
        self, query: Mapping[str, Any], changes: Changes, **options: Any
    ) -> UpdateResult:
        """Change one document."""
        return self._collection.update_one(query, self._complete(changes), **options)

    def update_many(
        self, query: Mapping[str, Any], changes: Changes, **options: Any
    ) -> UpdateResult:
        """Change all documents that the query finds."""
        return self._collection.update_many(query, self._complete(changes), **options)

    def find_one_and_update(
        self, query: Mapping[str, Any], changes: Changes, *args: Any, **options: Any
    ) -> Json | None:
        """Change one document, and read it."""
        found: Json | None = self._collection.find_one_and_update(
            query, self._complete(changes), *args, **options
        )
        return found

    def find_one_and_delete(
        self, query: Mapping[str, Any], *, session: ClientSession | None = None
    ) -> Json | None:
        """Delete one document, and return it as it was."""
        gone: Json | None = self._collection.find_one_and_delete(query, session=session)
        if gone is not None:
            self._keep([gone], session)
        return gone

    def delete_one(self, query: Mapping[str, Any], *, session: ClientSession | None = None) -> int:
        """Delete one document. Return how many it were."""
        return 0 if self.find_one_and_delete(query, session=session) is None else 1

    def delete_many(self, query: Mapping[str, Any], *, session: ClientSession | None = None) -> int:
        """Delete all documents that the query finds. Return how many it were."""
        if self._is_told:
            self._keep(list(self._collection.find(query, session=session)), session)
        return self._collection.delete_many(query, session=session).deleted_count

    def _keep(self, gone: list[Json], session: ClientSession | None) -> None:
        if self._is_told and gone:
            cause = read_cause()
            removals: list[Any] = [
                Removal(collection=self.name, document=hide_secrets(each), cause=cause)
                for each in gone
            ]
            self._removals.insert_many(removals, session=session)

    def _complete(self, changes: Changes) -> Changes:
        raised = raise_revision(changes, observes=self._observes)
        cause = self._say_cause()
        if not cause:
            return raised
        if isinstance(raised, list):
            return [*raised, {"$set": {name: {"$literal": by} for name, by in cause.items()}}]
        return {**raised, "$set": {**raised.get("$set", {}), **cause}}

    def _say_cause(self) -> Json:
        return {"changed_by": print_cause()} if self._is_told else {}


def hide_secrets(document: Json) -> Json:
    """Return a document without what nobody may read who reads of its end."""
    hidden = set(document.get("secret_variables", ()))
    kept = {name: None if name in _SECRETS else value for name, value in document.items()}
    if hidden:
        kept["variables"] = {
            name: value for name, value in document["variables"].items() if name not in hidden
        }
        kept["env"] = [line for line in document["env"] if line.partition("=")[0] not in hidden]
    return kept


def raise_revision(changes: Changes, *, observes: bool = False) -> Changes:
    """Return the same changes, with a revision that is higher by one."""
    counts = ("revision", "observations") if observes else ("revision",)
    if isinstance(changes, list):
        raised = {name: {"$add": [{"$ifNull": [f"${name}", 0]}, 1]} for name in counts}
        return [*changes, {"$set": raised}]
    return {**changes, "$inc": {**changes.get("$inc", {}), **dict.fromkeys(counts, 1)}}
