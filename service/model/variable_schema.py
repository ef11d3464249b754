"""Which JSON Schemas a variable of an image may have (pure).

They describe one text of an environment, and are written by whoever writes images. So there are no
references, which could call out or never end, and no keyword that is not checked.
"""

import json
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from service.model.storable import list_unstorable
from service.model.suggestions import suggest

TYPES = ("string", "integer", "number", "boolean")
FORMATS = ("date", "email", "ipv4", "ipv6", "uuid")
"""Those that are checked, all of them here: none is looked up anywhere."""

MAX_SIZE = 8192
"""How long a schema may be, as JSON."""

MAX_DEPTH = 5
"""How deep schemas may be within one another."""

MAX_PATTERN = 512

_ANNOTATIONS = ("title", "description", "examples", "default")
_CHECKED = (
    "type", "enum", "const", "format", "pattern", "minLength", "maxLength", "minimum", "maximum",
    "exclusiveMinimum", "exclusiveMaximum", "multipleOf",
)  # fmt: skip
_ONE = ("not", "if", "then", "else")
_SEVERAL = ("allOf", "anyOf", "oneOf")
_KEYWORDS = (*_ANNOTATIONS, *_CHECKED, *_ONE, *_SEVERAL)


def list_problems(schema: Mapping[str, Any]) -> list[str]:
    """Say what of a schema is not allowed, a sentence each.

    Whether its keywords have values that make sense is checked by who uses it.
    """
    if unstorable := list(islice(list_unstorable({"schema": schema}), 1)):
        return unstorable
    if len(json.dumps(schema)) > MAX_SIZE:
        return [f"Must have at most {MAX_SIZE} characters as JSON."]
    if schema.get("type") not in TYPES:
        return [f"Must have a `type`: {', '.join(TYPES)}."]
    return list(_list_problems(schema, depth=1))


def list_patterns(schema: object) -> Iterator[str]:
    """List the regular expressions in a schema that is allowed."""
    if isinstance(schema, Mapping):
        if "pattern" in schema:
            yield schema["pattern"]
        for inner in _list_inner(schema):
            yield from list_patterns(inner)


def _list_problems(schema: object, *, depth: int) -> Iterator[str]:
    if isinstance(schema, bool):
        return
    if not isinstance(schema, Mapping):
        yield "A schema must be an object."
        return
    if depth > MAX_DEPTH:
        yield "Is nested too deeply."
        return
    for name in schema:
        if name not in _KEYWORDS:
            yield f"Unknown keyword {name[:40]!r}.{suggest(name, _KEYWORDS)}"
    if schema.get("format", FORMATS[0]) not in FORMATS:
        yield f"`format` must be one of {', '.join(FORMATS)}: no other is checked."
    if not isinstance(schema.get("multipleOf", 1), int):
        yield "`multipleOf` must be an integer: fractions are not exact."
    pattern = schema.get("pattern", "")
    if not isinstance(pattern, str) or len(pattern) > MAX_PATTERN:
        yield f"`pattern` must be a text of at most {MAX_PATTERN} characters."
    for inner in _list_inner(schema):
        yield from _list_problems(inner, depth=depth + 1)


def _list_inner(schema: Mapping[str, Any]) -> Iterator[object]:
    yield from (schema[name] for name in _ONE if name in schema)
    for name in _SEVERAL:
        several = schema.get(name, ())
        yield from several if isinstance(several, (list, tuple)) else (several,)
