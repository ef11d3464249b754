"""What a value must be to be stored, and sent to anybody."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

MAX_DEPTH = 32
MAX_PATH = 80

MAX_SIZE = 2**20
"""How large a record may be, in characters. A document of the database has room for 16 times it."""

MAX_INTEGER = 2**63 - 1


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


def require(*holds: bool) -> None:
    """Raise ValueError for a value that a node cannot have meant, and nobody could store."""
    if not all(holds):
        raise ValueError("A value of the node's is not what it should be.")


def list_unstorable(taken: Mapping[str, Any]) -> Iterator[str]:
    """Find what no document can hold. Without recursion, for what is nested thousands deep."""
    size = 0
    waiting: list[tuple[str, Any, int]] = [(name, value, 0) for name, value in taken.items()]
    while waiting and size <= MAX_SIZE:
        path, value, depth = waiting.pop()
        size += 1
        if depth > MAX_DEPTH:
            yield f"{path}: Is nested too deeply."
        elif isinstance(value, dict):
            for name, inner in value.items():
                # Names are of any length, and there are as many paths as values.
                inside = f"{path[:MAX_PATH]}.{name[:MAX_PATH]}"
                waiting += ((inside, name, depth), (inside, inner, depth + 1))
        elif isinstance(value, list):
            waiting += ((f"{path}.{n}", inner, depth + 1) for n, inner in enumerate(value))
        elif isinstance(value, str):
            size += len(value)
            if "\0" in value or not is_text(value):
                yield f"{path}: Is no text."
        elif isinstance(value, int) and abs(value) > MAX_INTEGER:
            yield f"{path}: Is too large a number."
        elif isinstance(value, float) and not math.isfinite(value):
            yield f"{path}: Is no number."
    if size > MAX_SIZE:
        yield "Is too large."
