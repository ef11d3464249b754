"""The catalogue of what may be deployed."""

from datetime import datetime, timedelta
from typing import Any, cast

from pymongo import ReturnDocument
from pymongo.errors import DuplicateKeyError

from service.errors import NotFound
from service.model.documents import Image
from service.store.collection import Collection, Indexes, Session, translated
from service.store.versions import LISTED

INDEXES: Indexes = [
    {"keys": LISTED},
    {"keys": [("updated_at", 1), ("_id", 1)]},
    {"keys": [("name", 1)], "unique": True},
    {"keys": [("image", 1)]},
    {"keys": [("alt_images", 1)]},
]


MARK_S = 60
"""How long a deletion may take, at most; one that a crash cut off is void then."""


def matching(reference: str | None) -> dict[str, Any]:
    """Make the query for images whose id, name or container image is `reference`."""
    return {"$or": [{field: reference} for field in ("_id", "name", "image", "alt_images")]}


def refuse_deleting(image: Image, *, now: datetime) -> None:
    """Raise NotFound for an image that is being deleted.

    To be called of what is read in the transaction that makes an instance of it.
    """
    since = image.get("deleting_at")
    if since is not None and now - since < timedelta(seconds=MARK_S):
        raise NotFound(Images.what, image["_id"], field="image")


class Images(Collection[Image]):
    """The images. Several may run one container image; their names distinguish them."""

    what = "image"

    @translated
    def list_matching(self, reference: str) -> list[Image]:
        """Read the images whose id, name or container image is `reference`, oldest first."""
        return self._read_all(matching(reference))

    @translated
    def find_by_name(self, name: str, *, session: Session | None = None) -> Image | None:
        """Read the image of this name."""
        return self._read({"name": name}, session=session)

    @translated
    def find_by_reference(self, reference: str, *, session: Session | None = None) -> Image | None:
        """Read an image by its id or by its name; an exact id wins."""
        return self._read({"_id": reference}, session=session) or self._read(
            {"name": reference}, session=session
        )

    def get_by_reference(self, reference: str, *, session: Session | None = None) -> Image:
        """Read an image by its id or by its name. Raises NotFound."""
        image = self.find_by_reference(reference, session=session)
        if image is None:
            raise NotFound(self.what, reference)
        return image

    @translated
    def replace(self, image: Image, *, session: Session) -> None:
        """Write the image instead of the one of its id. Raises Conflict for a name that is taken.

        What is counted about it stays.
        """
        try:
            changes = {name: value for name, value in image.items() if name != "revision"}
            self._collection.update_one({"_id": image["_id"]}, {"$set": changes}, session=session)
        except DuplicateKeyError as exc:
            raise self._conflict(exc) from exc

    @translated
    def mark_deleting(self, image_id: str, *, now: datetime) -> None:
        """Keep the image from being deployed, for `MARK_S` seconds. Raises NotFound."""
        marked = self._observing.update_one({"_id": image_id}, {"$set": {"deleting_at": now}})
        if marked.matched_count == 0:
            raise NotFound(self.what, image_id)

    @translated
    def unmark(self, image_id: str, *, session: Session) -> None:
        """Let the image be deployed again."""
        self._observing.update_one(
            {"_id": image_id}, {"$unset": {"deleting_at": ""}}, session=session
        )

    def require_deployable(self, image_id: str, *, now: datetime, session: Session) -> None:
        """Raise NotFound for an image that is gone, or is being deleted."""
        refuse_deleting(self.get(image_id, field="image", session=session), now=now)

    @translated
    def remove(self, image_id: str, *, session: Session) -> None:
        """Forget the image."""
        self._collection.delete_one({"_id": image_id}, session=session)

    @translated
    def put(self, image: Image, *, session: Session | None = None) -> Image:
        """Add the image, or replace the one of its name, which keeps its id and creation time."""
        changes = {
            name: value
            for name, value in image.items()
            if name not in ("_id", "created_at", "revision")
        }
        stored = self._collection.find_one_and_update(
            {"name": image["name"]},
            {
                "$set": changes,
                "$setOnInsert": {"_id": image["_id"], "created_at": image["created_at"]},
            },
            upsert=True,
            return_document=ReturnDocument.AFTER,
            session=session,
        )
        return cast("Image", stored)
