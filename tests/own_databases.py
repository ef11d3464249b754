"""Databases of tests that change more than documents: handed on as long as each is as it was."""

from typing import Any
from uuid import uuid4

from pymongo import MongoClient
from pymongo.database import Database

from service.store import Store
from tests.support import empty, list_collections, skip_changes

KEPT = ("meta", "settings")
"""What a database has documents in as soon as it is prepared."""


def read_catalog(database: Database[Any]) -> dict[str, Any]:
    """Return all but documents: the collections, their options and their indexes."""
    return {
        each["name"]: (
            each["options"],
            [] if each["type"] == "view" else list(database[each["name"]].list_indexes()),
        )
        for each in database.list_collections()
    }


class OwnDatabases:
    """One database at a time. To make it takes a third of a second, to look at it hundredths."""

    def __init__(self, client: MongoClient[Any]) -> None:
        self._client = client
        self._forget()

    def _forget(self) -> None:
        self.name = f"test_{uuid4().hex}"
        self._catalog: dict[str, Any] = {}
        self._documents: dict[str, list[Any]] = {}

    def prepare(self, store: Store) -> None:
        """Have the store prepare it, unless that was done and everything is as it was then."""
        if not self._catalog:
            store.prepare()
            database = self._client[self.name]
            self._catalog = read_catalog(database)
            self._documents = {name: list(database[name].find()) for name in KEPT}

    def put_back(self) -> None:
        """Delete what a test wrote; the whole database where it is not what it was besides."""
        database = self._client[self.name]
        if self._catalog != read_catalog(database):
            self.drop()
            self._forget()
            return
        empty(database, list_collections(database))
        for name, documents in self._documents.items():
            database[name].insert_many(documents)
        skip_changes(database)

    def drop(self) -> None:
        """Leave nothing behind."""
        self._client.drop_database(self.name)
