"""The catalogue of what may be deployed."""

from typing import Any, cast

from pymongo import ReturnDocument

from service.model.documents import Image
from service.store.collection import Collection, Indexes, translated
from service.store.versions import LISTED

INDEXES: Indexes = [
    {"keys": LISTED},
    {"keys": [("updated_at", 1), ("_id", 1)]},
    {"keys": [("name", 1)], "unique": True},
    {"keys": [("image", 1)]},
    {"keys": [("alt_images", 1)]},
]


def matching(reference: str) -> dict[str, Any]:
    """Make the query for images whose id, name or container image is `reference`."""
    return {"$or": [{field: reference} for field in ("_id", "name", "image", "alt_images")]}


class Images(Collection[Image]):
    """The images. Several may run one container image; their names distinguish them."""

    what = "image"

    @translated
    def list_matching(self, reference: str) -> list[Image]:
        """Read the images whose id, name or container image is `reference`, oldest first."""
        return self._read_all(matching(reference))

    @translated
    def put(self, image: Image) -> Image:
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
        )
        return cast("Image", stored)
