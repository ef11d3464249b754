"""JSON by orjson: strict, fast, and datetimes as RFC 3339."""

from typing import Any

import orjson
from flask import Response
from flask.json.provider import JSONProvider

_OPTIONS = orjson.OPT_UTC_Z | orjson.OPT_NON_STR_KEYS


class OrjsonProvider(JSONProvider):
    """What Flask itself writes and reads JSON with."""

    def dumps(self, obj: Any, **kwargs: Any) -> str:
        """Write JSON text."""
        return orjson.dumps(obj, option=_OPTIONS).decode()

    def loads(self, s: str | bytes, **kwargs: Any) -> Any:
        """Read JSON text. Refuses NaN, lone surrogates and what is no UTF-8."""
        return orjson.loads(s)


def json_answer(body: Any, status: int) -> Response:
    """Make an answer of what JSON can say."""
    return Response(
        orjson.dumps(body, option=_OPTIONS), status=status, content_type="application/json"
    )
