"""Fields of a container's program: its variables, its environment and its command."""

import re
from collections.abc import Mapping
from typing import Any

import marshmallow as ma
import orjson

from service.contract.fields import MAX_TEXT

_VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}", re.ASCII)

VARIABLES: list[dict[str, Any]] = [
    {
        "type": "object",
        "additionalProperties": {"type": ["string", "number", "boolean", "null"]},
    },
    {"type": "string", "description": "Such an object as JSON text."},
    {"type": "array", "items": {"type": "string"}, "maxItems": 0},
    {"type": "null"},
]
"""What `Variables` takes, as JSON Schemas."""


class Variables(ma.fields.Field[Any]):
    """An image's variables: an object, or the same as JSON text. Numbers become text."""

    def _deserialize(
        self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any
    ) -> dict[str, str]:
        if isinstance(value, str):
            value = self._read_json(value)
        if value is None or value == []:
            # The older panel's own form sends an empty list for "no variables".
            return {}
        if not isinstance(value, dict):
            raise ma.ValidationError("Must be an object, or an object as JSON text.")
        problems = {name: [problem] for name, given in value.items()
                    if (problem := self._find_problem(name, given))}  # fmt: skip
        if problems:
            raise ma.ValidationError(problems)
        return {name: _print(given) for name, given in value.items() if given is not None}

    @staticmethod
    def _read_json(value: str) -> object:
        if not value.strip():
            return None
        try:
            return orjson.loads(value)
        except orjson.JSONDecodeError as exc:
            raise ma.ValidationError("Is text, but no JSON.") from exc

    @staticmethod
    def _find_problem(name: str, value: object) -> str | None:
        if not _VARIABLE_NAME.fullmatch(name):
            return "A variable's name has letters, digits and underscores only."
        if not isinstance(value, (str, int, float, bool, type(None))):
            return "Must be a text, a number or a boolean."
        if isinstance(value, str) and (len(value) > MAX_TEXT or "\0" in value):
            return f"Must have at most {MAX_TEXT} characters, and none of them NUL."
        return None


class Environment(ma.fields.Field[Any]):
    """Lines of `KEY=value`; some published documents have an object instead."""

    def _deserialize(
        self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any
    ) -> list[str]:
        if isinstance(value, dict):
            value = [f"{name}={text}" for name, text in value.items()]
        if not isinstance(value, list) or not all(map(_is_assignment, value)):
            raise ma.ValidationError("Must be a list of texts like KEY=value.")
        return value


class Command(ma.fields.Field[Any]):
    """A list of words that is executed as it is, or a line for `sh -c`. Empty means none."""

    def _deserialize(
        self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any
    ) -> list[str] | str | None:
        words = value if isinstance(value, list) else [value]
        if not all(isinstance(word, str) and "\0" not in word for word in words):
            raise ma.ValidationError("Must be a text or a list of texts.")
        return value or None


def variable_name() -> ma.fields.String:
    """Make a field for the name of a variable of the environment."""
    return ma.fields.String(
        validate=ma.validate.Regexp(
            f"{_VARIABLE_NAME.pattern}$", error="Must have letters, digits and underscores only."
        )
    )


def _is_assignment(line: object) -> bool:
    if not isinstance(line, str) or "\0" in line:
        return False
    name, sign, _ = line.partition("=")
    return sign == "=" and bool(_VARIABLE_NAME.fullmatch(name))


def _print(value: str | int | float | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
