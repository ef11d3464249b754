"""Secrets in what programs print: found and replaced, whole or in part."""

from collections.abc import Iterable, Iterator

SHORTEST_SECRET = 4
"""Shorter secrets, and shorter pieces of longer ones, are left: they are part of words."""

MASK = "********"


def mask(text: str, secrets: Iterable[str]) -> str:
    """Replace every secret in a text that begins with a line and may end anywhere.

    Of a secret of several lines each is one by itself, and at the beginning of the text its last
    ones are enough: the first may have been cut off. At the end of the text the beginning of a
    secret or of a line of it is enough: the program may not have printed the rest yet.
    """
    spans = {span for secret in secrets for span in _find(secret, text)}
    masked, end = [], 0
    for start, stop in sorted(spans):
        if stop - start < SHORTEST_SECRET:
            continue
        if start >= end:
            masked += [text[end:start], MASK]
        end = max(end, stop)
    return "".join([*masked, text[end:]])


def _find(secret: str, text: str) -> Iterator[tuple[int, int]]:
    begin = 0
    for line in secret.splitlines(keepends=True):
        if text.startswith(secret[begin:]):
            yield 0, len(secret) - begin
        if secret.startswith(text, begin):
            yield 0, len(text)
        begin += len(line)
    for piece in find_pieces(secret):
        start = text.find(piece)
        while start >= 0:
            yield start, start + len(piece)
            start = text.find(piece, start + len(piece))
        yield find_beginning(piece, text)


def find_pieces(secret: str) -> set[str]:
    """Find what of a secret is replaced wherever it is: all of it, and each of its lines."""
    # Programs may indent a line, and end it in another way.
    pieces = {secret, *(line.strip() for line in secret.splitlines())}
    return {piece for piece in pieces if len(piece) >= SHORTEST_SECRET}


def find_beginning(piece: str, text: str) -> tuple[int, int]:
    """Find the longest beginning of the piece that the text ends with."""
    last = text[-SHORTEST_SECRET:]
    stop = len(piece)
    while (at := piece.rfind(last, 0, stop)) >= 0:
        length = at + len(last)
        if text.endswith(piece[:length]):
            return len(text) - length, len(text)
        stop = length - 1
    return 0, 0
