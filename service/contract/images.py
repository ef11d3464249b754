"""Images on the wire."""

import marshmallow as ma

from service.contract.base import Answer


class ImageAnswer(Answer):
    """An image of the catalogue."""

    Id = ma.fields.String(required=True)
    Name = ma.fields.String(required=True)
    Image = ma.fields.String(required=True, metadata={"description": "The container image."})
    AltImages = ma.fields.List(ma.fields.String(), required=True)
    Env = ma.fields.List(ma.fields.String(), required=True)
    Cmd = ma.fields.Raw(
        required=True,
        metadata={
            "type": ["array", "string", "null"],
            "items": {"type": "string"},
            "description": "A list is executed as it is, a string through `sh -c`.",
        },
    )
    Scripts = ma.fields.Dict(required=True)
    Variables = ma.fields.Dict(
        required=True,
        metadata={"description": "By name: `{type, default, required}`, and `secret` for some."},
    )
    StopCommand = ma.fields.String(required=True, allow_none=True)
    Description = ma.fields.String(required=True)
    Author = ma.fields.String(required=True)
    AuthorName = ma.fields.String(required=True)
    meta = ma.fields.Dict(required=True, data_key="Meta")
    features = ma.fields.List(ma.fields.String(), required=True)
    process = ma.fields.Boolean(
        required=True, metadata={"description": "Whether it runs on nodes of that driver."}
    )
