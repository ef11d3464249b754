"""Cursors: a place in a list as a text that clients send back, and cannot make up.

A cursor is signed together with the list that it was made for: neither another list's nor one that
was changed is taken for a place in this one.
"""

import base64
import binascii
import hashlib
import hmac
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from service.errors import InvalidInput

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SIGNATURE_BYTES = 16


def seal(secret: str, listed: str, place: tuple[Any, ...]) -> str:
    """Make the cursor of a place: texts and times, which keep their milliseconds."""
    values = [
        {"ms": (value - _EPOCH) // timedelta(milliseconds=1)}
        if isinstance(value, datetime)
        else value
        for value in place
    ]
    body = orjson.dumps(values)
    return base64.urlsafe_b64encode(_sign(secret, listed, body) + body).decode().rstrip("=")


def unseal(secret: str, listed: str, cursor: str) -> tuple[Any, ...]:
    """Find the place that a cursor is of. Raises InvalidInput for one that is not of this list."""
    try:
        sealed = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
    except (binascii.Error, ValueError):
        sealed = b""
    signature, body = sealed[:_SIGNATURE_BYTES], sealed[_SIGNATURE_BYTES:]
    if not hmac.compare_digest(signature, _sign(secret, listed, body)):
        raise InvalidInput(
            "The cursor is not one of this list.",
            cursor=["Must be from the `Link` of a page with the same filters and sort."],
        )
    return tuple(
        _EPOCH + timedelta(milliseconds=value["ms"]) if isinstance(value, dict) else value
        for value in orjson.loads(body)
    )


def _sign(secret: str, listed: str, body: bytes) -> bytes:
    text = listed.encode() + b"\0" + body
    return hmac.digest(secret.encode(), text, hashlib.sha256)[:_SIGNATURE_BYTES]
