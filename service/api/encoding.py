"""JSON by orjson: strict, fast, and datetimes as RFC 3339."""

from typing import Any

import orjson
from flask import Response
from flask.json.provider import JSONProvider

from service.contract.answers import Answer, Source

_OPTIONS = orjson.OPT_UTC_Z | orjson.OPT_NON_STR_KEYS


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


def encode(body: Any) -> bytes:
    """Write JSON. Datetimes become RFC 3339."""
    return orjson.dumps(body, option=_OPTIONS)


def encode_around(schema: type[Answer[Source]], source: Source, name: str) -> tuple[bytes, bytes]:
    """Write an answer, but for the value of the field `name`: what is before that and after it.

    It is neither the first field nor the last.
    """
    shaped = schema.shape(source)
    names = list(shaped)
    at = names.index(name)
    before = encode({each: shaped[each] for each in names[:at]})
    after = encode({each: shaped[each] for each in names[at + 1 :]})
    return before[:-1] + b"," + encode(name) + b":", b"," + after[1:]
