"""What an installation is called by, whatever its settings: made once, kept with its documents."""

import secrets
from datetime import UTC, datetime
from typing import Any, cast

from pymongo import ReturnDocument
from pymongo.collection import Collection as MongoCollection
from pymongo.database import Database

from service.errors import StoreFailure
from service.model.documents import Setting
from service.store.collection import Collection, translated

INSTALLATION = "installation"
"""The document with the id that this installation marks its containers and volumes with."""

CURSOR_SECRET = "cursor_secret"  # noqa: S105  # its name
"""The document with the secret that cursors are signed with."""


class Settings(Collection[Setting]):
    """What is kept once for a database."""

    what = "setting"

    def __init__(self, collection: MongoCollection[dict[str, Any]]) -> None:
        super().__init__(collection)
        self._installation_id: str | None = None
        self._cursor_secret: str | None = None

    @translated
    def read_installation_id(self) -> str:
        """Read the installation's id, once. Raises StoreFailure where there is none."""
        if self._installation_id is None:
            setting = self._read({"_id": INSTALLATION})
            if setting is None:
                raise StoreFailure("The database has no installation id: run `skyquay migrate`.")
            self._installation_id = setting["value"]
        return self._installation_id

    @translated
    def read_cursor_secret(self) -> str:
        """Read what this installation signs cursors with, once. It is made when first needed."""
        if self._cursor_secret is None:
            made = {"value": secrets.token_hex(32), "created_at": datetime.now(UTC)}
            setting = self._collection.find_one_and_update(
                {"_id": CURSOR_SECRET},
                {"$setOnInsert": made},
                upsert=True,
                return_document=ReturnDocument.AFTER,
            )
            self._cursor_secret = str(cast("dict[str, Any]", setting)["value"])
        return self._cursor_secret


def make_installation_id(database: Database[dict[str, Any]]) -> None:
    """Make up the installation's id, unless there is one."""
    made = {"value": secrets.token_hex(8), "created_at": datetime.now(UTC)}
    database["settings"].update_one({"_id": INSTALLATION}, {"$setOnInsert": made}, upsert=True)
