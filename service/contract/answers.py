"""Answers, whose fields are declared once: what they document, and where their values come from.

marshmallow's own `dump` asks each field of each document anew. Here a schema is compiled into one
plain function with a dict literal, which is as fast as one that is written by hand.
"""

from collections.abc import Callable
from enum import StrEnum
from functools import cache, partial
from operator import methodcaller
from typing import Any, Generic, TypeVar, cast

import marshmallow as ma

from service.contract.fields import EXTERNAL_ID, LABELS, describe, make_example
from service.contract.schemas import Schema

Json = dict[str, Any]
Source = TypeVar("Source")


class Answer(Schema, Generic[Source]):
    """What a client gets, shaped from a `Source`: a stored document, or one with what it needs."""

    class Meta:
        unknown = ma.EXCLUDE  # so that the OpenAPI document lets us add fields

    @classmethod
    def shape(cls, source: Source) -> Json:
        """Make the answer. Times stay datetimes, which the JSON encoder writes."""
        return compile_shape(cls)(source)

    @classmethod
    def shape_audited(cls, source: Source) -> Json:
        """Make the part of the answer that goes to the audit log."""
        return compile_shape(cls, audited=True)(source)


def field(
    kind: Callable[..., ma.fields.Field[Any]],
    sample: object = ma.missing,
    *,
    of: str | Callable[[Any], object] | None = None,
    null: bool = False,
    optional: bool = False,
    audited: bool = True,
    secret: bool = False,
    description: str | None = None,
    metadata: dict[str, object] | None = None,
    **options: Any,
) -> ma.fields.Field[Any]:
    """Make a field of an answer, with a `sample` for the examples.

    `of` is the key of the source that has the value, the field's own name if absent, or a function
    that makes it of the source. Where the value of an `optional` field is None the answer lacks the
    field. Not `audited` is what may bear a secret, is said by another field, or changes by itself.
    """
    return kind(
        required=not optional,
        allow_none=null,
        metadata=describe(
            description, sample, of=of, audited=audited, secret=secret, **metadata or {}
        ),
        **options,
    )


text = partial(field, ma.fields.String)
integer = partial(field, ma.fields.Integer)
number = partial(field, ma.fields.Float)
flag = partial(field, ma.fields.Boolean)
time = partial(field, ma.fields.DateTime)
mapping = partial(field, ma.fields.Dict)
texts = partial(field, partial(ma.fields.List, ma.fields.String))
integers = partial(field, partial(ma.fields.List, ma.fields.Integer))
anything = partial(field, ma.fields.Raw)


def choice(
    kind: type[StrEnum], sample: object = ma.missing, **options: Any
) -> ma.fields.Field[Any]:
    """Make a field with one of some values, which are a schema of the kind's name."""
    return field(partial(ma.fields.Enum, kind, by_value=True), sample, **options)


def nested(
    schema: type[Answer[Any]], sample: object = ma.missing, **options: Any
) -> ma.fields.Field[Any]:
    """Make a field that is an answer itself."""
    sample = make_example(schema) if sample is ma.missing else sample
    return field(partial(ma.fields.Nested, schema), sample, **options)


def many(
    schema: type[Answer[Any]], sample: object = ma.missing, **options: Any
) -> ma.fields.Field[Any]:
    """Make a field that is a list of answers."""
    sample = [make_example(schema)] if sample is ma.missing else sample
    return field(partial(ma.fields.List, ma.fields.Nested(schema)), sample, **options)


def external_id() -> ma.fields.Field[Any]:
    """Make the field for the id that a dashboard has for a document."""
    return text(EXTERNAL_ID, of=methodcaller("get", "external_id"), null=True)


def labels() -> ma.fields.Field[Any]:
    """Make the field for a document's labels."""
    return mapping(
        LABELS,
        of=methodcaller("get", "labels", {}),
        keys=ma.fields.String(),
        values=ma.fields.String(),
    )


def itself(source: Source) -> Source:
    """Take the whole source for a field's value."""
    return source


@cache
def compile_shape(schema: type[Answer[Any]], *, audited: bool = False) -> Callable[[Any], Json]:
    """Make the function that shapes an answer: all its fields, or those that are `audited`."""
    names: dict[str, object] = {}
    literal, rest = [], []
    for name, declared in schema._declared_fields.items():
        if audited and not declared.metadata["audited"]:
            continue
        key, value = declared.data_key or name, _express(name, declared, names)
        if declared.required:
            literal.append(f"{key!r}: {value},")
        else:
            rest.append(f"if (value := {value}) is not None: shaped[{key!r}] = value")
    lines = ["shaped = {", *literal, "}", *rest, "return shaped"]
    source = "def shape(source):\n " + "\n ".join(lines)
    exec(compile(source, f"<{schema.__name__}>", "exec"), names)  # noqa: S102  # of our own fields
    return cast("Callable[[Any], Json]", names["shape"])


def _express(name: str, declared: ma.fields.Field[Any], names: dict[str, object]) -> str:
    """Write the expression of a field's value; what it calls goes into `names`."""
    of = declared.metadata["of"] or name
    value = f"source[{of!r}]"
    if callable(of):
        names[f"make_{name}"] = of
        value = f"make_{name}(source)"
    is_list = isinstance(declared, ma.fields.List)
    item = declared.inner if isinstance(declared, ma.fields.List) else declared
    if not isinstance(item, ma.fields.Nested):
        return value
    names[f"shape_{name}"] = compile_shape(cast("type[Answer[Any]]", item.nested))
    may_be_none = declared.allow_none or not declared.required
    inner = "inner" if may_be_none else value
    shaped = f"shape_{name}({inner})"
    if is_list:
        shaped = f"[shape_{name}(item) for item in {inner}]"
    return f"None if (inner := {value}) is None else {shaped}" if may_be_none else shaped
