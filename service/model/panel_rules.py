"""Rules of the variables of older panels' images, as JSON Schemas (pure).

Panels of the Pterodactyl kind write them as their framework does: "required|string|max:20". See
https://laravel.com/docs/validation#available-validation-rules. What cannot be read is passed over.
"""

import re
from collections.abc import Iterator
from typing import Any

_TYPES = {
    "string": "string",
    "integer": "integer",
    "int": "integer",
    "numeric": "number",
    "number": "number",
    "boolean": "boolean",
    "bool": "boolean",
}
_PATTERNS = {
    "alpha": r"^[A-Za-z]+$",
    "alpha_num": r"^[A-Za-z0-9]+$",
    "alpha_dash": r"^[A-Za-z0-9_-]+$",
    "url": r"^[A-Za-z][A-Za-z0-9+.-]*://[^\s]+$",
}
_FORMATS = {"email": "email", "ipv4": "ipv4", "ipv6": "ipv6", "uuid": "uuid"}
_LIMITS = {
    "string": ("minLength", "maxLength"),
    "integer": ("minimum", "maximum"),
    "number": ("minimum", "maximum"),
}
# A pipe inside a regular expression is hardly ever followed by what looks like another rule.
_SEPARATOR = re.compile(r"\|(?=[a-z_0-9]+(?::|\||$))")
_REGEX = re.compile(r"([/#~])(.*)\1(i?)", re.DOTALL)
_LONGEST = 4096
_MOST = 32


def split(rules: object) -> list[str]:
    """List the rules, which are one text or a list of texts; what is neither is none."""
    if isinstance(rules, str):
        rules = _SEPARATOR.split(rules[:_LONGEST])
    texts = rules[:_MOST] if isinstance(rules, list) else []
    return [rule for rule in texts if isinstance(rule, str)]


def translate(kind: str, rules: list[str]) -> dict[str, Any] | None:
    """Make the schema of a variable of this `type` and with these rules; None where any text fits.

    The type that a rule names goes before the other, which is only how a form shows the variable.
    """
    named = [_TYPES[rule] for rule in rules if rule in _TYPES]
    schema: dict[str, Any] = {"type": (named or [_TYPES.get(kind, "string")])[0]}
    also: list[dict[str, Any]] = []
    for rule in rules:
        for keyword, value in _read_rule(rule, schema["type"]):
            if keyword in schema:
                also.append({keyword: value})
            else:
                schema[keyword] = value
    if also:
        schema["allOf"] = also
    return schema if schema != {"type": "string"} else None


def _read_rule(rule: str, kind: str) -> Iterator[tuple[str, Any]]:
    name, _, argument = rule.partition(":")
    words = argument.split(",")
    numbers = [_read_number(word) for word in words]
    if name in _PATTERNS:
        yield "pattern", _PATTERNS[name]
    elif name in _FORMATS:
        yield "format", _FORMATS[name]
    elif name == "ip":
        yield "anyOf", [{"format": "ipv4"}, {"format": "ipv6"}]
    elif name == "regex" and (match := _REGEX.fullmatch(argument)):
        yield "pattern", f"(?i){match[2]}" if match[3] else match[2]
    elif name in ("in", "not_in"):
        values = numbers if kind in ("integer", "number") and None not in numbers else words
        yield ("enum", values) if name == "in" else ("not", {"enum": values})
    elif name in ("min", "max", "between", "size") and None not in numbers and kind in _LIMITS:
        least, most = _LIMITS[kind]
        if name != "max":
            yield least, numbers[0]
        if name != "min":
            yield most, numbers[-1]
    elif name in ("digits", "digits_between") and all(word.isdecimal() for word in words):
        yield "pattern", f"^[0-9]{{{','.join(words)}}}$"


def _read_number(word: str) -> int | float | None:
    try:
        return int(word) if re.fullmatch(r"-?[0-9]{1,15}", word) else float(word)
    except ValueError:
        return None
