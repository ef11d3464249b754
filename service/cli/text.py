"""Text of others, as it may be printed."""


def printable(text: str) -> str:
    """Write text so that nothing of it commands a terminal."""
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)
