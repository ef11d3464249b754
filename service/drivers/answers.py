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


def is_text(value: object) -> bool:
    """Return whether it is a text that can be stored."""
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:  # half a character
        return False
    return True


def is_whole(value: object, lowest: int = 0, highest: int = 2**53) -> bool:
    """Return whether it is a whole number that can be stored and sent to anybody."""
    return isinstance(value, int) and not isinstance(value, bool) and lowest <= value <= highest
