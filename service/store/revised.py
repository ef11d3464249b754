"""The one place through which the store writes: every write raises the document's `revision`.

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

Json = dict[str, Any]
Changes = Mapping[str, Any] | list[Mapping[str, Any]]
"""What an update changes: operators, or the stages of a pipeline."""

_RAW = CodecOptions(document_class=RawBSONDocument)
_BATCH = b"\x04firstBatch\0"
"""How the batch begins in BSON. Nothing but its length is before it in an answer's cursor."""


class RevisedCollection:
    """A collection of pymongo's, with what the store needs of it."""

    def __init__(self, collection: MongoCollection[Json], *, observes: bool = False) -> None:
        self._collection = collection
        self._observes = observes
        self.name = collection.name
        # Reading and deleting change no document that anybody can read afterwards.
        self.aggregate = collection.aggregate
        self.count_documents = collection.count_documents
        self.delete_many = collection.delete_many
        self.delete_one = collection.delete_one
        self.distinct = collection.distinct
        self.estimated_document_count = collection.estimated_document_count
        self.find = collection.find
        self.find_one = collection.find_one
        self.find_one_and_delete = collection.find_one_and_delete

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
        return self._collection.insert_one({**document, "revision": 1}, session=session)

    def update_one(
        self, query: Mapping[str, Any], changes: Changes, **options: Any
    ) -> UpdateResult:
        """Change one document."""
        return self._collection.update_one(query, self._raise_revision(changes), **options)

    def update_many(
        self, query: Mapping[str, Any], changes: Changes, **options: Any
    ) -> UpdateResult:
        """Change all documents that the query finds."""
        return self._collection.update_many(query, self._raise_revision(changes), **options)

    def find_one_and_update(
        self, query: Mapping[str, Any], changes: Changes, *args: Any, **options: Any
    ) -> Json | None:
        """Change one document, and read it."""
        found: Json | None = self._collection.find_one_and_update(
            query, self._raise_revision(changes), *args, **options
        )
        return found

    def _raise_revision(self, changes: Changes) -> Changes:
        return raise_revision(changes, observes=self._observes)


def raise_revision(changes: Changes, *, observes: bool = False) -> Changes:
    """Return the same changes, with a revision that is higher by one."""
    counts = ("revision", "observations") if observes else ("revision",)
    if isinstance(changes, list):
        raised = {name: {"$add": [{"$ifNull": [f"${name}", 0]}, 1]} for name in counts}
        return [*changes, {"$set": raised}]
    return {**changes, "$inc": {**changes.get("$inc", {}), **dict.fromkeys(counts, 1)}}
