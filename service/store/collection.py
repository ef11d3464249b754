"""What all collections share: reading by id, and one place where pymongo's errors become ours."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from functools import wraps
from typing import Any, ClassVar, Concatenate, Generic, ParamSpec, TypeVar, cast

from pymongo import ReturnDocument
from pymongo.client_session import ClientSession
from pymongo.collection import Collection as MongoCollection
from pymongo.errors import ConnectionFailure, DuplicateKeyError, PyMongoError

from service.errors import Conflict, NotFound, ServiceError, StoreFailure, StoreUnavailable
from service.model.listing import Listing
from service.store import pages, versions
from service.store.matching import matches
from service.store.revised import Changes, RevisedCollection
from service.store.versions import Ended, Place, Version, Versions

Document = TypeVar("Document", bound=Mapping[str, Any])
Self = TypeVar("Self")
Params = ParamSpec("Params")
Result = TypeVar("Result")

Indexes = list[dict[str, Any]]
"""Arguments of pymongo's IndexModel, an index each."""

EXTERNAL_ID_INDEX: dict[str, Any] = {
    "keys": [("external_id", 1)],
    "unique": True,
    "partialFilterExpression": {"external_id": {"$exists": True}},
}
"""No two documents of a kind have the same id of a dashboard's. Most have none."""

LABELS_INDEX: dict[str, Any] = {"keys": [("labels.$**", 1)]}
"""Of each label by its name. What has none takes no room."""

UNHURRIED_S = 86400.0
"""How long upkeep may take; the bound that a client has of its own is for requests."""

_FIELDS = {"external_id": "externalId"}
"""What some fields are called on the wire."""

Session = ClientSession
"""A transaction that is under way; handed to store methods by `Store.transaction`."""


def translate(exc: PyMongoError) -> ServiceError:
    """Turn any error of pymongo into one of ours."""
    if (
        isinstance(exc, ConnectionFailure)
        or exc.timeout
        or exc.has_error_label("RetryableWriteError")
        or exc.has_error_label("TransientTransactionError")
    ):
        return StoreUnavailable("The database does not answer. Please try again.")
    return StoreFailure("The database refused an operation.")


def translated(
    method: Callable[Concatenate[Self, Params], Result],
) -> Callable[Concatenate[Self, Params], Result]:
    """Let no error of pymongo out of a store method, but for one that is part of a transaction.

    Inside a transaction pymongo must see its own errors, to try the whole of it again;
    `Store.transaction` translates what is left.
    """

    @wraps(method)
    def call(self: Self, /, *args: Params.args, **kwargs: Params.kwargs) -> Result:
        try:
            return method(self, *args, **kwargs)
        except PyMongoError as exc:
            if kwargs.get("session") is not None:
                raise
            raise translate(exc) from exc

    return call


class Collection(Generic[Document]):
    """One collection, or the part of it that somebody may see.

    `get` raises NotFound, `find` returns None; both pass over what may not be seen.
    """

    what: ClassVar[str]
    """The noun for error messages."""

    version_fields: ClassVar[tuple[str, ...]] = ("_id", "created_at", "revision")
    """What a version of a document has: versions.py."""

    unlisted: ClassVar[tuple[str, ...]] = ()
    """Fields that pages leave out: what is long."""

    def __init__(
        self, collection: MongoCollection[dict[str, Any]], *, only: Mapping[str, Any] | None = None
    ) -> None:
        self._collection = RevisedCollection(collection)
        self._observing = self._collection.observing()
        self._only = only
        """What documents have that can be read here; None: all can be."""

    @translated
    def find(self, document_id: str, *, session: Session | None = None) -> Document | None:
        """Read one document by its id."""
        return self._read({"_id": document_id}, session=session)

    def get(
        self, document_id: str, *, field: str = "id", session: Session | None = None
    ) -> Document:
        """Read one document by its id. Raises NotFound, which names `field`."""
        document = self.find(document_id, session=session)
        if document is None:
            raise NotFound(self.what, document_id, field=field)
        return document

    @translated
    def add(self, document: Document, *, session: Session | None = None) -> None:
        """Write a new document. Raises Conflict when a unique index has its key already."""
        try:
            self._collection.insert_one(cast("dict[str, Any]", document), session=session)
        except DuplicateKeyError as exc:
            raise self._conflict(exc) from exc

    def sees(self, document: Mapping[str, Any]) -> bool:
        """Return whether this document, which was read elsewhere, may be seen."""
        return self._only is None or matches(document, self._only)

    @translated
    def change(
        self,
        document_id: str,
        changes: Mapping[str, object],
        *,
        remove: Iterable[str] = (),
        session: Session | None = None,
    ) -> Document:
        """Set some fields of a document, remove others, and read it as it is then.

        Raises NotFound, and Conflict like `add`.
        """
        try:
            changed = self._collection.find_one_and_update(
                {"_id": document_id},
                self._make_update(changes, remove),
                return_document=ReturnDocument.AFTER,
                session=session,
            )
        except DuplicateKeyError as exc:
            raise self._conflict(exc) from exc
        if changed is None:
            raise NotFound(self.what, document_id)
        return cast("Document", changed)

    @translated
    def count(self) -> int:
        """Count the documents, without reading them."""
        return self._collection.estimated_document_count()

    def total(self) -> int | None:
        """Count the documents, without reading them; None where only some may be seen."""
        return self.count() if self._only is None else None

    @translated
    def count_by(self, field: str) -> dict[str, int]:
        """Count the documents by the values of a field."""
        groups = self._collection.aggregate(
            [{"$group": {"_id": f"${field}", "count": {"$sum": 1}}}]
        )
        return {str(group["_id"]): group["count"] for group in groups}

    @translated
    def all(self) -> list[Document]:
        """Read all documents, oldest first."""
        return self._read_all({})

    @translated
    def list_words(self, *fields: str, limit: int) -> list[str]:
        """Read these texts of the documents that may be seen, `limit` documents at the most."""
        found = self._collection.find(self._within({}), list(fields)).limit(limit)
        return [document[field] for document in found for field in fields]

    def page(self, listing: Listing, *, limit: int | None) -> Iterator[Document]:
        """Read the documents of a listing in its order, `limit` at most: see pages.py."""
        query, order = self._within(pages.make_query(listing)), pages.make_sort(listing.sort)
        rest = dict.fromkeys(self.unlisted, 0) or None
        try:
            with closing(self._collection.find(query, rest, sort=order)) as cursor:
                yield from cast("Iterator[Document]", cursor.limit(limit or 0))
        except PyMongoError as exc:
            raise translate(exc) from exc

    def versions(self) -> Iterator[list[Version]]:
        """Read the versions of all documents, oldest first, in batches: see versions.py."""
        try:
            yield from versions.read(self._collection, self._within({}), self.version_fields)
        except PyMongoError as exc:
            raise translate(exc) from exc

    @translated
    def short_versions(self, limit: int) -> Versions | None:
        """Read the same at once; None when there are more than `limit`."""
        query = self._within({})
        return versions.read_short(self._collection, query, self.version_fields, limit)

    @staticmethod
    def take_apart(
        short: Versions, size: int, known: Mapping[Place, Ended]
    ) -> Iterator[tuple[Place, list[Version]]]:
        """Take apart what is not known of versions that were read at once: see versions.py."""
        return versions.take_apart(short, size, known)

    @translated
    def list_versions(self, wanted: Iterable[Version]) -> dict[Version, tuple[Document, bool]]:
        """Read the documents of these versions as they are now, and whether they are still those.

        What is gone meanwhile is left out.
        """
        decoded = {version: versions.decode(version) for version in wanted}
        found = self.list_by_ids(fields["_id"] for fields in decoded.values())
        by_id = {document["_id"]: document for document in found}
        return {
            version: (document, versions.is_of(document, fields))
            for version, fields in decoded.items()
            if (document := by_id.get(fields["_id"])) is not None
        }

    @translated
    def list_by_ids(self, document_ids: Iterable[str]) -> list[Document]:
        """Read those of these ids that exist and may be seen, in no order, as pages have them."""
        query = self._within({"_id": {"$in": list(document_ids)}})
        found = self._collection.find(query, dict.fromkeys(self.unlisted, 0) or None)
        return cast(list[Document], list(found))

    def select(self, query: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Make the stages of a pipeline that read the documents that may be seen."""
        return [{"$match": self._within(query)}]

    def _read(self, query: dict[str, Any], *, session: Session | None = None) -> Document | None:
        found = self._collection.find_one(self._within(query), session=session)
        return cast("Document | None", found)

    def _read_all(self, query: dict[str, Any], *, session: Session | None = None) -> list[Document]:
        cursor = self._collection.find(self._within(query), session=session)
        cursor.sort([("created_at", 1), ("_id", 1)])
        return cast(list[Document], list(cursor))

    def _within(self, query: Mapping[str, Any]) -> dict[str, Any]:
        return {"$and": [query, self._only]} if self._only else dict(query)

    @staticmethod
    def _make_update(changes: Mapping[str, object], remove: Iterable[str]) -> Changes:
        """Make the update of `change`."""
        return {"$set": dict(changes), "$unset": dict.fromkeys(remove, "")}

    def _conflict(self, exc: DuplicateKeyError) -> Conflict:
        return Conflict(f"This {self.what} exists already.", **_duplicate_fields(exc))


def duplicate_key(exc: DuplicateKeyError) -> Mapping[str, Any]:
    """Return the fields of the unique index that refused, with the values they had."""
    return cast("Mapping[str, Any]", (exc.details or {}).get("keyValue", {}))


def _duplicate_fields(exc: DuplicateKeyError) -> dict[str, list[str]]:
    return {
        _FIELDS.get(name, name.removesuffix("_key").lstrip("_")): ["Taken already."]
        for name in duplicate_key(exc)
    }
