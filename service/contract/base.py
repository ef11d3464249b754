"""What all schemas share: what is ignored, and what errors look like."""

import marshmallow as ma

from service.contract import fields

MAX_WAIT_S = 60


class Request(ma.Schema):
    """What a client sends. Unknown fields are ignored."""

    class Meta:
        unknown = ma.EXCLUDE


class Answer(ma.Schema):
    """What a client gets. Documents; never loads and never dumps."""

    class Meta:
        unknown = ma.EXCLUDE  # so that the OpenAPI document lets us add fields


class ErrorAnswer(Answer):
    """What went wrong: a sentence for people, a code for programs, and the facts."""

    error = ma.fields.String(required=True)
    code = ma.fields.String(required=True)
    details = ma.fields.Dict(
        required=True, metadata={"description": "For a 400: the reasons, by the field's name."}
    )


class WaitQuery(Request):
    """How long the answer may take."""

    wait = fields.seconds(
        longest=MAX_WAIT_S,
        load_default=None,
        metadata={"description": "Seconds to wait for the end of the operation, and its outcome."},
    )
