"""What a value must be to be stored, and sent to anybody."""


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
