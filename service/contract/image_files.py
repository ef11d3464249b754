"""Image documents as operators import them, in the older panel's format or ours."""

from itertools import islice
from typing import Any

import marshmallow as ma

from service.contract import fields, program_fields
from service.contract.base import Request, StrictRequest
from service.contract.image_ports import DESCRIPTION, MOST, SAMPLE, DeclaredPort, find_problems
from service.contract.readiness import ReadyField
from service.model.documents import ImagePort
from service.model.storable import list_unstorable


class InstallScript(Request[dict[str, Any]]):
    """A file that is fetched into an instance's folder before its first start."""

    Uri = ma.fields.String(
        required=True, validate=ma.validate.Regexp("https://", error="Must begin with https://.")
    )
    Path = ma.fields.String(
        required=True,
        validate=ma.validate.Regexp(
            r"(?!\.{1,2}$)[^/\0]{1,255}$", error="Must be a file name without a folder."
        ),
    )


class Scripts(Request[dict[str, Any]]):
    """What happens before an instance's first start."""

    Install = ma.fields.List(ma.fields.Nested(InstallScript), load_default=list)


def _require_flag(value: object) -> None:
    """Raise for what is no boolean: 0 and 1 are equal to one, which is not enough here."""
    if not isinstance(value, bool):
        raise ma.ValidationError("Must be true or false.")


_ALWAYS = ("type", "default", "required", "secret")
"""What a variable has whatever the value is, if it has it."""


class ImageVariable(Request[dict[str, Any]]):
    """What an image asks of those who deploy it."""

    type = ma.fields.String(load_default="text")
    default = fields.as_text(allow_none=True, load_default=None, empty=True)
    required = ma.fields.Boolean(load_default=False)
    # Stored only where an image says so, like the next.
    secret = ma.fields.Boolean()
    schema = ma.fields.Dict(allow_none=True)
    description = fields.text(required=False, shortest=0, longest=2000, description="For forms.")
    editable_by = ma.fields.String(
        data_key="editableBy", allow_none=True, validate=ma.validate.OneOf(["admin", "owner"])
    )
    rules = ma.fields.Raw(allow_none=True)  # of older panels, which become a schema

    @ma.post_load
    def leave_out_nulls(self, loaded: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Take null for absent."""
        return {name: value for name, value in loaded.items() if value or name in _ALWAYS}


class ImageFile(Request[dict[str, Any]]):
    """An image document as operators import it, in the older panel's format or ours.

    Tolerant where published documents differ: `Env` may be an object, `Cmd` empty, and most may be
    absent.
    """

    name = fields.text(data_key="Name", description="Unique.", sample="Echo server")
    image = fields.text(
        data_key="Image",
        longest=512,
        description="The container image.",
        sample="registry.example.org/echo:1",
    )
    alt_images = ma.fields.List(ma.fields.String(), data_key="AltImages", load_default=list)
    env = program_fields.Environment(data_key="Env", load_default=list)
    cmd = program_fields.Command(data_key="Cmd", allow_none=True, load_default=None)
    scripts = ma.fields.Nested(Scripts, data_key="Scripts", load_default=lambda: {"Install": []})
    variables = ma.fields.Dict(
        keys=program_fields.variable_name(),
        values=ma.fields.Nested(ImageVariable),
        data_key="Variables",
        load_default=dict,
    )
    stop_command = ma.fields.String(data_key="StopCommand", allow_none=True, load_default=None)
    description = ma.fields.String(data_key="Description", load_default="")
    author = ma.fields.String(data_key="Author", load_default="")
    author_name = ma.fields.String(data_key="AuthorName", load_default="")
    meta = ma.fields.Dict(data_key="Meta", load_default=dict)
    features = ma.fields.List(ma.fields.String(), load_default=list)
    ready = ReadyField()
    ports = ma.fields.List(
        ma.fields.Nested(DeclaredPort),
        load_default=list,
        validate=ma.validate.Length(max=MOST, error="Must be at most {max} ports."),
        metadata={"description": DESCRIPTION, "sample": SAMPLE},
    )
    process = ma.fields.Raw(
        load_default=False, validate=_require_flag, metadata={"type": "boolean"}
    )

    @ma.validates("meta")
    def check_meta(self, meta: dict[str, Any], **kwargs: Any) -> None:
        """Raise for what no document of the database can hold."""
        found = [each.rpartition(": ") for each in islice(list_unstorable({"Meta": meta}), 3)]
        if found:
            raise ma.ValidationError({path.removeprefix("Meta."): [why] for path, _, why in found})

    @ma.validates_schema
    def check_ports(self, loaded: dict[str, Any], **kwargs: Any) -> None:
        """Raise for ports that do not fit together, or with the variables."""
        problems = find_problems(loaded["ports"], variables=loaded["variables"], env=loaded["env"])
        if problems:
            raise ma.ValidationError({"ports": problems})

    @ma.post_load
    def fill_in(self, loaded: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Offer the image itself among its alternatives."""
        return {**loaded, "alt_images": loaded["alt_images"] or [loaded["image"]]}


class WrittenScript(StrictRequest[dict[str, Any]], InstallScript):
    """The same, as it is written over the API."""


class WrittenScripts(StrictRequest[dict[str, Any]]):
    """The same, as they are written over the API."""

    Install = ma.fields.List(ma.fields.Nested(WrittenScript), load_default=list)


class WrittenVariable(StrictRequest[dict[str, Any]], ImageVariable):
    """The same, as it is written over the API."""


class WrittenPort(StrictRequest[ImagePort], DeclaredPort):
    """The same, as it is written over the API."""


class WrittenImage(ImageFile):
    """The same, as it is written over the API."""

    scripts = ma.fields.Nested(
        WrittenScripts, data_key="Scripts", load_default=lambda: {"Install": []}
    )
    variables = ma.fields.Dict(
        keys=program_fields.variable_name(),
        values=ma.fields.Nested(WrittenVariable),
        data_key="Variables",
        load_default=dict,
    )
    ports = ma.fields.List(
        ma.fields.Nested(WrittenPort),
        load_default=list,
        validate=ma.validate.Length(max=MOST, error="Must be at most {max} ports."),
        metadata={"description": DESCRIPTION, "sample": SAMPLE},
    )


class CreateImage(StrictRequest[dict[str, Any]], WrittenImage):
    """An image to add. `process` is for images that are imported on the machine."""


class ReplaceImage(StrictRequest[dict[str, Any]], WrittenImage):
    """What replaces an image: all of it. Its `Id` may be repeated, as it is listed."""

    image_id = fields.text(
        required=False,
        load_default=None,
        longest=64,
        data_key="Id",
        description="That of the image, or absent.",
    )
