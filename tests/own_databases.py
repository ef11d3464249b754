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
            {} if each["type"] == "view" else database[each["name"]].index_information(),
        )
        for each in database.list_collections()
    }


class OwnDatabases:
    """One database at a time. To make it takes a third of a second, to put it right hundredths."""

    def __init__(self, client: MongoClient[Any]) -> None:
        self._client = client
        self.name = f"test_{uuid4().hex}"
        self._catalog: dict[str, Any] = {}
        self._documents: dict[str, list[Any]] = {}
        self._is_changed = False

    def prepare(self, store: Store) -> None:
        """Have the store prepare it, unless that was done and everything is as it was then."""
        database = self._client[self.name]
        if self._is_changed:
            store.prepare()  # makes what is missing; what is too much stays
            if self._catalog != read_catalog(database):
                self.drop()
                self._catalog = {}
        if not self._catalog:
            store.prepare()
            self._catalog = read_catalog(database)
            self._documents = {name: list(database[name].find()) for name in KEPT}
        self._is_changed = False

    def put_back(self) -> None:
        """Delete what a test wrote."""
        database = self._client[self.name]
        self._is_changed = self._catalog != read_catalog(database)
        empty(database, list_collections(database))
        for name, documents in self._documents.items():
            database[name].insert_many(documents)
        skip_changes(database)

    def drop(self) -> None:
        """Leave nothing behind."""
        self._client.drop_database(self.name)
