"""Answers as text: strict JSON, with datetimes as RFC 3339."""

from typing import Any

import orjson

_OPTIONS = orjson.OPT_UTC_Z | orjson.OPT_NON_STR_KEYS


def encode(body: Any) -> bytes:
    """Write JSON. Datetimes become RFC 3339."""
    return orjson.dumps(body, option=_OPTIONS)
