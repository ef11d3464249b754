"""The ports that images declare, on the wire."""

from collections.abc import Iterable, Sequence
from operator import methodcaller

import marshmallow as ma

from service.contract import answers, program_fields
from service.contract.answers import Answer
from service.contract.base import Request
from service.model.container import parse_env
from service.model.documents import ImagePort

MOST = 20
MOST_OFFSET = 1000

SAMPLE = [{"name": "game"}, {"name": "query", "offset": 1, "env": "QUERY_PORT"}]

DESCRIPTION = (
    "What its program listens on. An instance whose owner names no ports gets them all: free host "
    "ports of its node, those with an `offset` so far behind the first, which is the primary one."
)

_RESERVED = {"PRIMARY_PORT", "TZ"}


class DeclaredPort(Request[ImagePort]):
    """A port that an image's program listens on."""

    name = ma.fields.String(
        required=True,
        validate=ma.validate.Regexp(
            r"[a-z][a-z0-9-]{0,31}$", error="Must be a word of lower-case letters, digits and -."
        ),
        metadata={"description": "What it is called.", "sample": "query"},
    )
    offset = ma.fields.Integer(
        strict=True,
        validate=ma.validate.Range(1, MOST_OFFSET),
        metadata={
            "description": "How far its host port is behind that of the first; anywhere if absent.",
            "sample": 1,
        },
    )
    container = ma.fields.Integer(
        strict=True,
        validate=ma.validate.Range(1, 65535),
        metadata={"description": "The port inside; the same as the host port if absent."},
    )
    env = program_fields.variable_name()
    """The variable that tells the program the port to listen on, as `PRIMARY_PORT` does."""


class DeclaredPortAnswer(Answer[ImagePort]):
    """A port that an image's program listens on."""

    name = answers.text("query")
    offset = answers.integer(1, of=methodcaller("get", "offset"), optional=True)
    container = answers.integer(25566, of=methodcaller("get", "container"), optional=True)
    env = answers.text("QUERY_PORT", of=methodcaller("get", "env"), optional=True)


def find_problems(
    ports: Sequence[ImagePort], *, variables: Iterable[str], env: Iterable[str]
) -> dict[int, dict[str, list[str]]]:
    """Find what is wrong with ports together: by their place, the sentences for each field."""
    taken = {*variables, *parse_env(env), *_RESERVED}
    problems: dict[int, dict[str, list[str]]] = {}
    for field in ("name", "offset", "container", "env"):
        values = [port.get(field) for port in ports]
        for at, value in enumerate(values):
            if value is not None and values.count(value) > 1:
                problems.setdefault(at, {})[field] = [f"{value!r} is given twice."]
    for at, port in enumerate(ports):
        if port.get("env") in taken:
            problems.setdefault(at, {})["env"] = ["The image has this variable already."]
    if ports and "offset" in ports[0]:
        problems.setdefault(0, {})["offset"] = ["The first port has none: others follow it."]
    return problems
