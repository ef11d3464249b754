"""When an image's program serves, on the wire."""

import re
from collections.abc import Mapping
from typing import Any

import marshmallow as ma

from service.model.documents import ReadyCheck, ReadyKind
from service.model.readiness import DEFAULT_TIMEOUT_S, MAX_TEXT, MAX_TIMEOUT_S
from service.model.suggestions import suggest

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "log": {
            "description": "A text of a line that it prints, or a pattern of one (RE2).",
            "anyOf": [
                {"type": "string", "minLength": 1, "maxLength": MAX_TEXT},
                {
                    "type": "object",
                    "properties": {"pattern": {"type": "string", "maxLength": MAX_TEXT}},
                    "required": ["pattern"],
                },
            ],
        },
        "port": {
            "type": "boolean",
            "enum": [True],
            "description": "Its primary port accepts TCP connections.",
        },
        "http": {
            "type": "string",
            "pattern": "^/",
            "maxLength": MAX_TEXT,
            "description": "A path that its primary port answers with 2xx or 3xx.",
        },
        "timeout": {
            "type": "integer",
            "minimum": 1,
            "maximum": MAX_TIMEOUT_S,
            "default": DEFAULT_TIMEOUT_S,
            "description": "Seconds that it has for that, from its start.",
        },
    },
}

DESCRIPTION = (
    "What shows that the program serves: one of `log`, `port` and `http`, and `timeout`. Null: it "
    "serves as soon as it runs."
)

_CHECKS = ("log", "port", "http")
_NO_UDP = (
    "Must be true. Whether a UDP port is served cannot be known from outside: use `log`, or `port` "
    "where the program listens for TCP on it too."
)
_PATH = re.compile(r"/[!-~]*", re.ASCII)


class ReadyField(ma.fields.Field[Any]):
    """What shows that a program serves; loads a ReadyCheck, whose pattern may still be wrong."""

    def __init__(self, **options: Any) -> None:
        metadata = {**SCHEMA, "description": DESCRIPTION, "sample": {"port": True}}
        super().__init__(allow_none=True, load_default=None, metadata=metadata, **options)

    def _deserialize(
        self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any
    ) -> ReadyCheck:
        if not isinstance(value, dict):
            raise ma.ValidationError('Must be an object, like {"port": true}, or null.')
        sent = {name: given for name, given in value.items() if given is not None}
        wrong = {
            str(name): [f"Unknown field.{suggest(str(name), (*_CHECKS, 'timeout'))}"]
            for name in sent
            if name not in (*_CHECKS, "timeout")
        }
        checks = [name for name in _CHECKS if name in sent]
        kind, text = ReadyKind.PORT, ""
        for name in checks:
            try:
                kind, text = _READ[name](sent[name])
            except ValueError as exc:
                wrong[name] = [str(exc)]
        timeout_s = sent.get("timeout", DEFAULT_TIMEOUT_S)
        whole = isinstance(timeout_s, int) and not isinstance(timeout_s, bool)
        if not whole or not 1 <= timeout_s <= MAX_TIMEOUT_S:
            wrong["timeout"] = [f"Must be a number of seconds from 1 to {MAX_TIMEOUT_S}."]
        if wrong:
            raise ma.ValidationError(wrong)
        if len(checks) != 1:
            raise ma.ValidationError("Must have one of `log`, `port` and `http`.")
        return ReadyCheck(kind=kind, value=text, timeout_s=timeout_s)


def print_check(check: ReadyCheck | None) -> dict[str, Any] | None:
    """Write what shows that a program serves, as it is sent."""
    if check is None:
        return None
    said: dict[str, Any]
    match check["kind"]:
        case ReadyKind.LOG:
            said = {"log": check["value"]}
        case ReadyKind.PATTERN:
            said = {"log": {"pattern": check["value"]}}
        case ReadyKind.HTTP:
            said = {"http": check["value"]}
        case _:
            said = {"port": True}
    return {**said, "timeout": check["timeout_s"]}


def _read_log(value: object) -> tuple[ReadyKind, str]:
    if isinstance(value, dict) and list(value) == ["pattern"]:
        return ReadyKind.PATTERN, _require_text(value["pattern"])
    return ReadyKind.LOG, _require_text(value)


def _require_text(value: object) -> str:
    is_line = isinstance(value, str) and value.isprintable() and value.strip() != ""
    if not isinstance(value, str) or not is_line or len(value) > MAX_TEXT:
        raise ValueError(
            f'Must be a text of one line, or {{"pattern": ...}}, of at most {MAX_TEXT} characters.'
        )
    return value


def _read_port(value: object) -> tuple[ReadyKind, str]:
    if value is not True:
        raise ValueError(_NO_UDP)
    return ReadyKind.PORT, ""


def _read_http(value: object) -> tuple[ReadyKind, str]:
    if not isinstance(value, str) or len(value) > MAX_TEXT or not _PATH.fullmatch(value):
        raise ValueError(
            f"Must be a path like /health, without spaces, of at most {MAX_TEXT} characters."
        )
    return ReadyKind.HTTP, value


_READ = {"log": _read_log, "port": _read_port, "http": _read_http}
