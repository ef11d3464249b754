"""Images by address: the catalogue and its changes, import and export."""

from functools import partial
from typing import Any

from service import images
from service.api.audit_trail import record_change
from service.api.blueprint import ALWAYS, NO_CONTENT, WITH_BODY
from service.api.call import claim, store
from service.api.context import now
from service.api.etags import read_precondition
from service.api.images import blueprint
from service.contract.answers import Json
from service.contract.base import NoContent
from service.contract.image_changes import EditImage, apply_patch, take_replacement
from service.contract.image_files import CreateImage, ImageFile, ReplaceImage
from service.contract.images import ImageAnswer, ImageFileAnswer
from service.model.documents import Image

LOCATION = "/api/images/{_id}"


@blueprint.post("/images")
@blueprint.needs("images:write", changes="image")
@blueprint.arguments(CreateImage, check=partial(images.check, is_new=True))
@blueprint.answers(
    201, ImageAnswer, *WITH_BODY, *ALWAYS, 409, location=LOCATION, description="The new image."
)
def create_image(fields: dict[str, Any]) -> Image:
    """Add an image to the catalogue. 409 for a name that is taken."""
    return _changed(images.create(store(), fields, now=now(), claim=claim()))


@blueprint.post("/images/import")
@blueprint.needs("images:write", changes="image", named_by="Name")
@blueprint.arguments(ImageFile, check=images.check)
@blueprint.answers(
    201, ImageAnswer, *WITH_BODY, *ALWAYS, location=LOCATION, description="The image."
)
def import_image(fields: dict[str, Any]) -> Image:
    """Import an image document, in the older panel's format or ours.

    An image of the same name is replaced and keeps its id. Unknown fields are ignored.
    """
    return _changed(images.put(store(), fields, trusted=False, now=now()))


@blueprint.get("/images/<image_id>")
@blueprint.needs("images:read")
@blueprint.answers(200, ImageAnswer, *ALWAYS, 404, etag=True, description="The image.")
def get_image(image_id: str) -> Image:
    """Get one image, by id or by name."""
    return store().images.get_by_reference(image_id)


@blueprint.get("/images/<image_id>/export")
@blueprint.needs("images:read")
@blueprint.answers(200, ImageFileAnswer, *ALWAYS, 404, description="The image document.")
def export_image(image_id: str) -> Image:
    """Export an image as a document that can be imported.

    Defaults of secret variables are left out. Importing a document without them keeps those of the
    image that it replaces.
    """
    return store().images.get_by_reference(image_id)


def _check(fields: dict[str, Any], **_: str) -> None:
    images.check(fields)


@blueprint.put("/images/<image_id>")
@blueprint.needs("images:write", changes="image")
@blueprint.arguments(ReplaceImage, check=_check)
@blueprint.answers(200, ImageAnswer, *WITH_BODY, *ALWAYS, 404, 409, 412, description="The image.")
def replace_image(fields: dict[str, Any], image_id: str) -> Image:
    """Replace an image, by its id or its name. Its instances stay as they are.

    A secret variable without a default keeps the one that it has; an empty text removes that.
    """

    def make(image: Image) -> dict[str, Any]:
        return take_replacement(image, fields)

    return _changed(images.change(store(), image_id, make, only_if=read_precondition(), now=now()))


@blueprint.patch("/images/<image_id>")
@blueprint.needs("images:write", changes="image")
@blueprint.arguments(EditImage, required=False)
@blueprint.answers(200, ImageAnswer, *WITH_BODY, *ALWAYS, 404, 409, 412, description="The image.")
def edit_image(patch: Json, image_id: str) -> Image:
    """Change parts of an image by a merge patch (RFC 7396). Its instances stay as they are."""

    def make(image: Image) -> dict[str, Any]:
        return apply_patch(image, patch)

    return _changed(images.change(store(), image_id, make, only_if=read_precondition(), now=now()))


@blueprint.delete("/images/<image_id>")
@blueprint.needs("images:write", changes="image")
@blueprint.answers(NO_CONTENT, NoContent, *ALWAYS, 404, 409, 412, description="The image is gone.")
def delete_image(image_id: str) -> None:
    """Delete an image. 409 with the code `image_in_use` while instances use it."""
    images.delete(store(), image_id, only_if=read_precondition(), now=now())
    record_change(None)


def _changed(image: Image) -> Image:
    record_change(image)
    return image
