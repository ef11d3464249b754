"""What all schemas share: how requests are loaded, and what errors look like."""

from typing import Any, Generic, TypeVar, cast

import marshmallow as ma

from service.contract import answers, fields
from service.contract.answers import Answer
from service.contract.schemas import Schema
from service.model.lifecycle import InstanceState, Phase
from service.model.orders import ReadyWish, StateWish
from service.model.suggestions import suggest

MAX_WAIT_S = 60

Loaded = TypeVar("Loaded")


class Request(Schema, Generic[Loaded]):
    """What a client sends, loaded as what the use case takes. Unknown fields are ignored.

    A TypedDict is what the fields load to by themselves; a `post_load` makes what is more.
    """

    class Meta:
        unknown = ma.EXCLUDE

    def load(self, data: Any, **options: Any) -> Loaded:
        """Load and check what was sent. Raises marshmallow's ValidationError."""
        return cast("Loaded", super().load(data, **options))


class StrictRequest(Request[Loaded]):
    """What a client sends to an endpoint beyond the reference.

    An unknown field is refused, and so is what only stands for a boolean.
    """

    class Meta:
        unknown = ma.INCLUDE

    @ma.validates_schema(skip_on_field_errors=False, pass_original=True)
    def refuse_unknown(self, loaded: Any, sent: object, **kwargs: Any) -> None:
        """Name each unknown field, and the known one that may have been meant."""
        if not isinstance(sent, dict):
            return  # which is wrong already
        known = [field.data_key or name for name, field in self.load_fields.items()]
        unknown = [name for name in sent if name not in known]
        if unknown:
            raise ma.ValidationError(
                {name: [f"Unknown field.{suggest(name, known)}"] for name in unknown}
            )

    @ma.validates_schema(skip_on_field_errors=False, pass_original=True)
    def refuse_near_booleans(self, loaded: Any, sent: object, **kwargs: Any) -> None:
        """Name each boolean for which something was sent that marshmallow takes for one: 1, yes."""
        if not isinstance(sent, dict):
            return
        booleans = {
            field.data_key or name: field
            for name, field in self.load_fields.items()
            if isinstance(field, ma.fields.Boolean) and not isinstance(field, fields.Flag)
        }
        near = [
            name
            for name, field in booleans.items()
            if isinstance(value := sent.get(name), (str, int, float))
            and not isinstance(value, bool)
            and (value in field.truthy or value in field.falsy)
        ]
        if near:
            raise ma.ValidationError({name: ["Not a valid boolean."] for name in near})


class Patch(StrictRequest[Loaded]):
    """Changes as RFC 7396 has them: what is absent stays, and null takes away what may lack.

    Its fields are those of what is changed, none of them required and none with a default.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(partial=True, **options)


class SingleField(Request[Loaded]):
    """A request with one field, loaded as the value of that."""

    @ma.post_load
    def unwrap(self, loaded: dict[str, Loaded], **kwargs: Any) -> Loaded:
        """Take the value."""
        [value] = loaded.values()
        return value


class NoContent(Answer[None]):
    """Nothing: the answer of status 204."""


class ErrorAnswer(Answer[dict[str, Any]]):
    """What went wrong: a sentence for people, a code for programs, and the facts.

    The other members are those of RFC 9457.
    """

    error = answers.text()
    code = answers.text()
    details = answers.mapping(description="For a 400: the reasons, by the field's name.")
    type = answers.text(optional=True, description="Where the code is explained.")
    title = answers.text(optional=True, description="What the code means.")
    status = answers.integer(optional=True, description="The status of the answer.")
    detail = answers.text(optional=True, description="The sentence of `error`.")
    instance = answers.text(optional=True, description="This very error, by the request's id.")


def waiting() -> ma.fields.Field[Any]:
    """Make a field for how long the answer may take; None: as long as it usually does."""
    return fields.seconds(
        longest=MAX_WAIT_S,
        load_default=None,
        metadata={
            "description": "Seconds to wait for the end of the operation, and its outcome.",
            "example": 30,
        },
    )


class WaitQuery(SingleField[float | None]):
    """How long the answer may take."""

    wait = waiting()


def until_phase() -> ma.fields.Field[Any]:
    """Make a field for the phase that is waited for; None: for none."""
    return ma.fields.Enum(
        Phase,
        by_value=True,
        data_key="untilPhase",
        load_default=None,
        validate=ma.validate.Equal(Phase.READY, error="Must be ready."),
        metadata={
            "description": "`ready`: with `wait`, also until the program is ready, or it is known "
            "that it will not be: see `notReadyReason`.",
        },
    )


class ReadyQuery(Request[ReadyWish]):
    """How long the answer may take, and what it waits for."""

    wait = waiting()
    until_phase = until_phase()


class StateQuery(Request[StateWish]):
    """For which state of an instance the answer waits, and how long."""

    wait = fields.seconds(
        longest=MAX_WAIT_S,
        load_default=0.0,
        metadata={"description": "Seconds to wait while the instance is INSTALLING or DELETING."},
    )
    until = ma.fields.Enum(
        InstanceState,
        by_value=True,
        load_default=None,
        metadata={"description": "Wait no longer than until this is its `InternalState`."},
    )
    until_phase = until_phase()
    deleted = ma.fields.Boolean(
        load_default=False,
        metadata={"description": "One that is deleted and kept, which is not found without."},
    )
