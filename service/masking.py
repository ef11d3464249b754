"""Secrets in what programs print: found and replaced, whole or in part."""

from collections.abc import Iterable, Iterator

SHORTEST_SECRET = 4
"""Shorter secrets, and shorter pieces of longer ones, are left: they are part of words."""

MASK = "********"


def mask(text: str, secrets: Iterable[str]) -> str:
    """Replace every secret in a text that begins with a line and may end anywhere.

    A secret of several lines is also found without its first ones, which may have been cut off, and
    each of its lines by itself. At the end of the text the beginning of a secret is enough: a
    program that prints it may not have finished.
    """
    spans = {
        span
        for secret in secrets
        for piece in _split(secret)
        if len(piece) >= SHORTEST_SECRET
        for span in _find(piece, text)
    }
    masked, end = [], 0
    for start, stop in sorted(spans):
        if start >= end:
            masked += [text[end:start], MASK]
        end = max(end, stop)
    return "".join([*masked, text[end:]])


def _split(secret: str) -> set[str]:
    lines = secret.splitlines(keepends=True)
    endings = {"".join(lines[number:]) for number in range(len(lines))}
    # Programs may indent a line, and end it in another way.
    return endings | {line.strip() for line in lines}


def _find(piece: str, text: str) -> Iterator[tuple[int, int]]:
    start = text.find(piece)
    while start >= 0:
        yield start, start + len(piece)
        start = text.find(piece, start + 1)
    # The longest beginning of the piece that the text ends with.
    for length in range(min(len(piece), len(text)), SHORTEST_SECRET - 1, -1):
        if text.endswith(piece[:length]):
            yield len(text) - length, len(text)
            return
