"""What nodes say, read with care: it may be anything."""

import orjson

MAX_VALUES = 1_000_000
"""How many values one answer may have: an empty list takes three bytes there, and 64 of memory."""

MAX_TEXT = 1000
"""How many characters of a node's own words are repeated."""


def read_json(body: bytes) -> object:
    """Read JSON. Raises ValueError for what is none: NaN, too deep, half a character, too many."""
    if sum(map(body.count, (b",", b"[", b"{"))) > MAX_VALUES:
        raise ValueError("The answer has too many values.")
    value: object = orjson.loads(body)
    return value


def read_text(value: object) -> str:
    """Read a node's own words, to be repeated. Raises ValueError for what is no text."""
    if not isinstance(value, str):
        raise ValueError("A text is expected.")
    return value if len(value) <= MAX_TEXT else f"{value[:MAX_TEXT]}..."
