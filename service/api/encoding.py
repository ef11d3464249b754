"""Answers in JSON: see contract/json_text."""

from typing import Any

import orjson
from flask import Response
from flask.json.provider import JSONProvider

from service.contract.answers import Answer, Source
from service.contract.json_text import encode


class OrjsonProvider(JSONProvider):
    """What Flask itself writes and reads JSON with."""

    def dumps(self, obj: Any, **kwargs: Any) -> str:
        """Write JSON text."""
        return encode(obj).decode()

    def loads(self, s: str | bytes, **kwargs: Any) -> Any:
        """Read JSON text. Refuses NaN, lone surrogates and what is no UTF-8."""
        return orjson.loads(s)


def json_answer(body: Any, status: int) -> Response:
    """Make an answer of what JSON can say."""
    return Response(encode(body), status=status, content_type="application/json")


def encode_around(schema: type[Answer[Source]], source: Source, *names: str) -> tuple[bytes, bytes]:
    """Write an answer, but for these fields, which follow one another: what is before and after.

    They are neither the first field nor the last. What is before ends where the first one's value
    begins.
    """
    shaped = schema.shape(source)
    every = list(shaped)
    at = every.index(names[0])
    before = encode({each: shaped[each] for each in every[:at]})
    after = encode({each: shaped[each] for each in every[at + len(names) :]})
    return before[:-1] + b"," + encode(names[0]) + b":", b"," + after[1:]
