"""Changes of images over the API: what replaces one, and merge patches."""

from typing import Any

import marshmallow as ma

from service.contract.answers import Json
from service.contract.base import Request
from service.contract.image_files import ReplaceImage
from service.contract.images import ImageFileAnswer
from service.errors import InvalidInput
from service.model.documents import Image
from service.model.merge_patch import merge


def _patched(name: str, *kinds: str, **metadata: object) -> ma.fields.Raw:
    """Make a field of a patch, which is checked as a part of the whole document."""
    return ma.fields.Raw(data_key=name, allow_none=True, metadata={"type": list(kinds), **metadata})


class EditImage(Request[Json]):
    """A merge patch (RFC 7396) of an image: what is absent stays, and null removes."""

    class Meta:
        unknown = ma.INCLUDE  # it is named when the whole is checked

    name = _patched("Name", "string", sample="Echo server")
    image = _patched("Image", "string", sample="registry.example.org/echo:2")
    alt_images = _patched("AltImages", "array", items={"type": "string"})
    env = _patched("Env", "array", "object", items={"type": "string"})
    cmd = _patched("Cmd", "array", "string", items={"type": "string"})
    scripts = _patched("Scripts", "object")
    variables = _patched("Variables", "object")
    stop_command = _patched("StopCommand", "string")
    description = _patched("Description", "string")
    author = _patched("Author", "string")
    author_name = _patched("AuthorName", "string")
    meta = _patched("Meta", "object")
    features = _patched("features", "array", items={"type": "string"})
    ready = _patched("ready", "object")
    ports = _patched("ports", "array", items={"type": "object"})
    process = _patched("process", "boolean")

    def load(self, data: Any, **options: Any) -> Json:
        """Take the patch as it is: it says nothing without the document."""
        super().load(data, **options)
        return dict(data)


def take_replacement(image: Image, loaded: dict[str, Any]) -> dict[str, Any]:
    """Take what replaces an image, for `new_image`. Raises InvalidInput where it names another."""
    if loaded["image_id"] not in (None, image["_id"]):
        raise InvalidInput("Two images are named.", Id=["Must be that of the image, or absent."])
    return {name: value for name, value in loaded.items() if name != "image_id"}


def apply_patch(image: Image, patch: Json) -> dict[str, Any]:
    """Make what replaces an image, for `new_image`. Raises InvalidInput for what is no image."""
    document = ImageFileAnswer.shape(image)
    if image["alt_images"] == [image["image"]]:
        del document["AltImages"]  # which follows the container image
    try:
        return take_replacement(image, ReplaceImage().load(merge(document, patch)))
    except ma.ValidationError as exc:
        wrong = ", ".join(sorted(map(str, exc.messages_dict)))
        raise InvalidInput(f"The image would not be valid: {wrong}.", **exc.messages_dict) from exc
