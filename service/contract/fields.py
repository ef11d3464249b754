"""Fields that load what the clients of this API really send, and say so in the OpenAPI document.

A field's `sample` is its value in the example of its request or answer. It is not metadata that
apispec knows, which would repeat it at each field of the document.
"""

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import marshmallow as ma

from service.model import labelling, ports, quantities
from service.model.public_addresses import parse_host

MAX_TEXT = 4096

# What the samples of several schemas name, so that all examples tell one story.
WHEN = "2026-01-31T12:00:00.000Z"
USER_ID = "318924857203654657"
USER = "admin"  # these three are what `skyquay up` makes
NODE = "local"
IMAGE = "Static web server"
NODE_ID = "5f2b8a90c1d4e7f3"
INSTANCE_ID = "iq3kz7ab2mxwe"
CONTAINER_ID = "8c01a793747241c018a10df916561f803b0ef65380604bd388bafc7a0e4b78c4"
OPERATION_ID = "9a1b2c3d4e5f60718293"
REQUEST_ID = "b0c1d2e3f4a59687"
KEY_ID = "a1b2c3d4e5f6"
EXTERNAL_ID = "order-4711"
LABELS = {"plan": "gold"}


def make_example(schema: type[ma.Schema], **other: object) -> dict[str, Any]:
    """Make the example of a request or an answer of the samples of its fields, or of others."""
    samples = {
        field.data_key or name: field.metadata["sample"]
        for name, field in schema._declared_fields.items()
        if "sample" in field.metadata and name not in schema.opts.exclude
    }
    return {**samples, **other}


def text(
    *,
    required: bool = True,
    null: bool | None = None,
    shortest: int = 1,
    longest: int = 255,
    description: str,
    sample: object = ma.missing,
    **options: Any,
) -> ma.fields.String:
    """Make a field for a text that is not empty. One that is not required may be `null`."""
    length = ma.validate.Length(
        min=shortest, max=longest, error="Must have {min} to {max} characters."
    )
    # Neither environments nor file names can hold a NUL.
    no_nul = ma.validate.ContainsNoneOf("\0", error="Must not contain a NUL character.")
    return ma.fields.String(
        required=required,
        allow_none=not required if null is None else null,
        validate=[length, no_nul],
        metadata=describe(description, sample),
        **options,
    )


def describe(description: str | None, sample: object, **more: object) -> dict[str, Any]:
    """Make a field's metadata."""
    metadata = dict(more)
    if description is not None:
        metadata["description"] = description
    if sample is not ma.missing:
        metadata["sample"] = sample
    return metadata


class Parsed(ma.fields.Field[Any]):
    """A value that one function reads: it takes text or a number, and raises ValueError."""

    def __init__(
        self, parse: Callable[[Any], Any], *, types: tuple[str, ...], **options: Any
    ) -> None:
        kind = types[0] if len(types) == 1 else list(types)
        metadata = {"type": kind, **options.pop("metadata", {})}
        super().__init__(metadata=metadata, **options)
        self._parse = parse
        self._types = types

    def _deserialize(
        self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any
    ) -> Any:
        accepted = {"string": (str,), "number": (int, float), "integer": (int,)}
        allowed = tuple(kind for name in self._types for kind in accepted[name])
        if isinstance(value, bool) or not isinstance(value, allowed):
            kinds = (f"an {name}" if name == "integer" else f"a {name}" for name in self._types)
            raise ma.ValidationError(f"Must be {' or '.join(kinds)}.")
        if isinstance(value, str) and len(value) > MAX_TEXT:
            raise ma.ValidationError(f"Must have at most {MAX_TEXT} characters.")
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        try:
            return self._parse(value)
        except ValueError as exc:
            raise ma.ValidationError(str(exc)) from exc


class Disk(ma.fields.Field[Any]):
    """A disk size in GB that is only shown, so that whatever cannot be read is no error."""

    def _deserialize(
        self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any
    ) -> float | None:
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            return None
        try:
            size = float(value)
        except ValueError:
            return None
        return size if math.isfinite(size) and 0 < size < 1e9 else None


class Flag(ma.fields.Boolean):
    """True or false, and nothing that stands for one of them."""

    def _deserialize(
        self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any
    ) -> bool:
        if not isinstance(value, bool):
            raise self.make_error("invalid", input=value)
        return value


def memory(**options: Any) -> Parsed:
    """Make a field for an amount of memory; loads MiB."""
    return Parsed(quantities.parse_memory_mib, types=("string", "number"), **options)


def cpu(**options: Any) -> Parsed:
    """Make a field for a number of cores; loads thousandths of a core."""
    return Parsed(quantities.parse_cpu_milli, types=("string", "number"), **options)


def port_map(**options: Any) -> Parsed:
    """Make a field for port mappings; loads a tuple of PortMapping."""
    return Parsed(_parse_ports, types=("string",), **options)


def primary(**options: Any) -> Parsed:
    """Make a field for the primary port, which stays as it was sent."""
    return Parsed(lambda value: value, types=("string", "integer"), **options)


def as_text(*, empty: bool = False, **options: Any) -> Parsed:
    """Make a field for a text that some send as a number."""
    parse = str if empty else _require_text
    return Parsed(parse, types=("string", "number"), **options)


def port(**options: Any) -> Parsed:
    """Make a field for one port; loads an int."""
    return Parsed(_parse_port, types=("string", "integer"), **options)


def public_address() -> Parsed:
    """Make a field for what a node's instances are reached at; loads a host without brackets."""
    return Parsed(
        parse_host,
        types=("string",),
        data_key="publicAddress",
        allow_none=True,
        load_default=None,
        metadata={
            "description": "Host name or IP address that players connect to; if absent, `address` "
            "where that is a public one.",
        },
    )


def seconds(*, longest: int, **options: Any) -> Parsed:
    """Make a field for a time in seconds; loads a float."""

    def parse(value: str | int | float) -> float:
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not 0 <= number <= longest:  # NaN fails too
            raise ValueError(f"Must be a number of seconds between 0 and {longest}.")
        return number

    return Parsed(parse, types=("string", "number"), **options)


def count(*, longest: int, least: int = 1, **options: Any) -> Parsed:
    """Make a field for a number of things; loads an int."""

    def parse(value: str | int) -> int:
        digits = str(value)
        if not re.fullmatch(r"\d{1,7}", digits, re.ASCII) or not least <= int(digits) <= longest:
            raise ValueError(f"Must be a number between {least} and {longest}.")
        return int(value)

    return Parsed(parse, types=("string", "integer"), **options)


def percent(**options: Any) -> Parsed:
    """Make a field for an overallocation in percent; loads an int."""

    def parse(value: str | int) -> int:
        digits = str(value).strip()
        if not re.fullmatch(r"-1|\d{1,5}", digits, re.ASCII):
            raise ValueError("Must be a percentage from 0 on, or -1 for no limit.")
        return int(digits)

    return Parsed(parse, types=("string", "integer"), **options)


def external_id() -> ma.fields.String:
    """Make a field for the id that a dashboard has for a document; null: none."""
    return text(
        required=False,
        longest=128,
        data_key="externalId",
        description="Your own id of it, which nothing else of its kind has.",
        sample=EXTERNAL_ID,
    )


def labels() -> ma.fields.Dict:
    """Make a field for labels by name. In a change null takes one of them away, or all."""
    return ma.fields.Dict(
        keys=ma.fields.String(
            validate=ma.validate.Regexp(f"{labelling.NAME.pattern}$", error=labelling.NAME_RULE)
        ),
        values=ma.fields.String(
            allow_none=True,
            validate=[
                ma.validate.Length(
                    max=labelling.LONGEST, error="Must have at most {max} characters."
                ),
                ma.validate.ContainsNoneOf("\0", error="Must not contain a NUL character."),
            ],
        ),
        allow_none=True,
        validate=ma.validate.Length(max=labelling.MOST, error="Must be at most {max} labels."),
        metadata=describe(f"Texts of yours by name, {labelling.MOST} at the most.", LABELS),
    )


def _parse_ports(value: str) -> tuple[ports.PortMapping, ...]:
    mappings = ports.parse(value, may_be_auto=True)
    if not mappings:
        raise ValueError("At least one port mapping is needed, like 80:8080.")
    return mappings


def _parse_port(value: str | int) -> int:
    digits = str(value).strip()
    if not re.fullmatch(r"\d{1,5}", digits, re.ASCII) or not 1 <= int(digits) <= 65535:
        raise ValueError("Must be a port between 1 and 65535.")
    return int(digits)


def _require_text(value: str | int | float) -> str:
    if not str(value).strip() or "\0" in str(value):
        raise ValueError("Must not be empty or contain a NUL character.")
    return str(value)
