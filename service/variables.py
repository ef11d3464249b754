"""The variables of images: what they are declared to be, and what may be given for them.

Values are texts, as in every environment. A schema's `type` says how a text is read before it is
checked.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any

from service.errors import InvalidInput
from service.model import panel_rules
from service.model.documents import Image, Variable
from service.model.variable_schema import FORMATS, list_patterns, list_problems
from service.patterns import compile_pattern

ADMIN, OWNER = "admin", "owner"

_UNREADABLE = {
    "integer": "Must be an integer.",
    "number": "Must be a number.",
    "boolean": "Must be true or false.",
}
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}
_SENTENCES: dict[str, Callable[[Any], str]] = {
    "enum": lambda values: f"Must be one of {', '.join(map(str, values))}.",
    "const": lambda value: f"Must be {value}.",
    "format": lambda name: f"Must be of the format {name}.",
    "pattern": lambda pattern: f"Must match {pattern}.",
    "minLength": lambda least: f"Must have at least {least} characters.",
    "maxLength": lambda most: f"Must have at most {most} characters.",
    "minimum": lambda least: f"Must be at least {least}.",
    "maximum": lambda most: f"Must be at most {most}.",
    "exclusiveMinimum": lambda bound: f"Must be more than {bound}.",
    "exclusiveMaximum": lambda bound: f"Must be less than {bound}.",
    "multipleOf": lambda factor: f"Must be a multiple of {factor}.",
}
"""Never with the value, which may be secret."""


def check(
    declared: Mapping[str, Variable],
    given: Mapping[str, str],
    *,
    may_edit_all: bool = True,
    current: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Complete the variables that were sent with defaults, and check all that are declared.

    Who may not edit all of them cannot change those of administrators from what they are: their
    `current` values, of an instance that is there, or else the defaults. Variables that the image
    does not declare are kept: the older panel handed them to the container too. Raises
    InvalidInput, which names each wrong variable under `variables`.
    """
    chosen, wrong = dict(given), {}
    for name, variable in declared.items():
        default = "" if variable["default"] is None else str(variable["default"])
        value = chosen.get(name, "") or default
        if value != "":
            chosen[name] = value
        before = default if current is None else current.get(name, default)
        if problems := _list_reasons(variable, value, is_fixed=not may_edit_all, before=before):
            wrong[name] = problems
    if wrong:
        raise InvalidInput(f"Variables are wrong: {', '.join(sorted(wrong))}.", variables=wrong)
    return chosen


def declare(variables: Mapping[str, Mapping[str, Any]]) -> dict[str, Variable]:
    """Check what an image says of its variables, and translate the rules of older panels.

    Raises InvalidInput, which names each wrong schema, and each default that its schema refuses.
    Rules that cannot be read, or that refuse the default, are left out.
    """
    declared: dict[str, Variable] = {}
    wrong: dict[str, object] = {}
    for name, loaded in variables.items():
        rules = panel_rules.split(loaded.get("rules"))
        variable = {key: value for key, value in loaded.items() if key != "rules"}
        variable["required"] = loaded["required"] or "required" in rules
        if "schema" not in loaded:
            variable |= _translate(loaded["type"], rules, loaded["default"])
        elif faults := _find_faults(loaded["schema"], loaded["default"]):
            wrong[name] = faults
        declared[name] = variable  # type: ignore[assignment]
    if wrong:
        names = ", ".join(sorted(wrong))
        raise InvalidInput(f"The image's variables are wrong: {names}.", Variables=wrong)
    return declared


def is_of_admin(image: Image, name: str) -> bool:
    """Return whether the image lets only administrators set this variable."""
    declared = image["variables"].get(name)
    return declared is not None and declared.get("editable_by") == ADMIN


def _list_reasons(variable: Variable, value: str, *, is_fixed: bool, before: str) -> list[str]:
    if is_fixed and variable.get("editable_by") == ADMIN and value != before:
        return ["Only an administrator may set this variable."]
    if value == "":
        return ["This variable is required."] if variable["required"] else []
    schema = variable.get("schema")
    return list_mismatches(schema, value) if schema else []


def _translate(kind: str, rules: list[str], default: str | None) -> dict[str, Any]:
    """Make a schema of as many rules as make one that can be used, and lets the default pass."""
    best, kept = {}, list[str]()
    for tried in ([], *([rule] for rule in rules)):
        schema = panel_rules.translate(kind, [*kept, *tried])
        if not schema or not _find_faults(schema, default):
            best, kept = {"schema": schema} if schema else {}, [*kept, *tried]
    return best


def _find_faults(schema: Mapping[str, Any], default: str | None) -> dict[str, list[str]]:
    """List what is wrong with a schema, and a default that it refuses."""
    if problems := list_problems(schema) or list(_list_invalid(schema)):
        return {"schema": problems}
    if default not in (None, "") and (mismatches := list_mismatches(schema, str(default))):
        return {"default": mismatches}
    return {}


def _list_invalid(schema: Mapping[str, Any]) -> Iterator[str]:
    from jsonschema import Draft202012Validator

    meta = Draft202012Validator(Draft202012Validator.META_SCHEMA)
    invalid = [
        f"`{'.'.join(map(str, error.absolute_path))}` has no valid value."
        for error in meta.iter_errors(schema)
    ]
    yield from invalid
    for pattern in [] if invalid else list_patterns(schema):
        try:
            compile_pattern(pattern)
        except ValueError as exc:
            yield f"`pattern` cannot be used: {exc}"


def list_mismatches(schema: Mapping[str, Any], text: str) -> list[str]:
    """Say in sentences why a text does not fit a schema that `declare` let pass."""
    value = _read(schema["type"], text)
    if value is None:
        return [_UNREADABLE[schema["type"]]]
    return [
        _SENTENCES.get(error.validator, _explain_rest)(error.validator_value)
        for error in _make_validator_class()(schema).iter_errors(value)
    ]


def _explain_rest(_: object) -> str:
    return "Is not what the image's schema allows."


def _read(kind: str, text: str) -> str | int | float | bool | None:
    """Read a text as the type of its schema says; None where it is none of those."""
    if kind == "boolean":
        return _BOOLEANS.get(text.lower())
    if kind == "integer":
        return int(text) if re.fullmatch(r"[+-]?[0-9]{1,15}", text) else None
    if kind == "number":
        number = float(text) if re.fullmatch(r"[+-]?[0-9]{1,15}(\.[0-9]{1,15})?", text) else None
        return number if number is not None and math.isfinite(number) else None
    return text


@cache
def _make_validator_class() -> Any:
    """Make jsonschema's validator with our patterns and formats; imported when it is needed."""
    from jsonschema import Draft202012Validator, FormatChecker, ValidationError, validators

    def match(validator: Any, pattern: str, instance: object, schema: Any) -> Iterator[Any]:  # noqa: ARG001
        if isinstance(instance, str) and not compile_pattern(pattern).search(instance):
            yield ValidationError("no match")

    made = validators.extend(Draft202012Validator, {"pattern": match})  # type: ignore[no-untyped-call]
    formats = FormatChecker(FORMATS)
    return lambda schema: made(schema, format_checker=formats)
