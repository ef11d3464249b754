"""Secrets in what programs print, replaced while it comes."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from service.security.masking import MASK, SHORTEST_SECRET, find_beginning, find_pieces

MAX_LINE = 256 * 1024
"""How long a line may become of which others are a part, because a secret goes over their ends."""

Span = tuple[int, int]


class MaskedLine(NamedTuple):
    """A line with its secrets replaced."""

    text: str
    lines: int
    """Of how many of the program's lines it is made: a secret of several lines becomes one."""


class StreamMask:
    """Makes of what comes in pieces what `mask` makes of the whole.

    The longest end that may be the beginning of a secret is held back, and no more.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        found = {secret for secret in secrets if secret}
        self._pieces = {piece for secret in found for piece in find_pieces(secret)}
        self._rests = {rest for secret in found for rest in _list_rests(secret)}
        """What a text may begin with, if something before it was cut off."""
        self._line, self._lines = "", 0
        """What is there of the next line."""
        self._held = ""
        self._is_open = False
        """Whether the last line has not come to its end."""
        self._begin()

    @property
    def holds(self) -> bool:
        """Return whether something is held back."""
        return bool(self._held or self._line)

    def feed(self, text: str) -> Iterator[MaskedLine]:
        """Take in what comes next; yield the lines that are complete."""
        self._held += text
        self._is_open = not text.endswith("\n") if text else self._is_open
        spans: list[Span] = []
        if self._is_beginning:
            if any(_is_longer(rest, self._held) for rest in self._rests):
                return
            spans = [(0, len(rest)) for rest in self._rests if self._held.startswith(rest)]
        yield from self._release(self._find_end(), spans)

    def flush(self) -> Iterator[MaskedLine]:
        """Yield what is held back, as if there came nothing more: what may be a secret is replaced.

        What comes after it must begin with a line, of which the first may be the rest of a secret.
        """
        text = self._held
        spans = [find_beginning(piece, text) for piece in self._pieces]
        if self._is_beginning:
            spans += [(0, len(rest)) for rest in self._rests if text.startswith(rest)]
            spans += [(0, len(text)) for rest in self._rests if rest.startswith(text)]
        yield from self._release(len(text), spans)
        self._lines += self._is_open
        if self._line or self._lines:
            yield self._end_line()
        self._begin()

    def _begin(self) -> None:
        self._is_beginning, self._is_open = True, False
        self._search_from = dict.fromkeys(self._pieces, 0)
        self._masked_to = 0

    def _find_end(self) -> int:
        """Find where the longest end of what is held begins that may be a part of a secret."""
        held, found = self._held, len(self._held)
        for piece in self._pieces:
            at = held.find(piece[0], max(0, len(held) - len(piece)), found)
            while at >= 0 and not piece.startswith(held[at:]):
                at = held.find(piece[0], at + 1, found)
            if at >= 0:
                found = at
        return found

    def _release(self, until: int, spans: list[Span]) -> Iterator[MaskedLine]:
        """Replace secrets in what is held up to there, and hold it no more.

        All that begin before it are known by now.
        """
        if not until:
            return
        held = self._held
        for piece in self._pieces:
            at = held.find(piece, self._search_from[piece])
            while 0 <= at < until:
                spans.append((at, at + len(piece)))
                self._search_from[piece] = at + len(piece)
                at = held.find(piece, at + len(piece))
            self._search_from[piece] = max(0, self._search_from[piece] - until)
        merged = [(0, self._masked_to)]
        for start, stop in sorted(spans):
            if stop - start < SHORTEST_SECRET:
                continue
            before, end = merged[-1]
            if start < end:
                merged[-1] = before, max(end, stop)
            else:
                merged.append((start, stop))
        at = 0
        for number, (start, stop) in enumerate(merged):
            yield from self._show(held[at:start])
            at = min(stop, until)
            self._line += MASK if number else ""  # that of the first is there already
            self._lines += held.count("\n", start, at)
        yield from self._show(held[at:until])
        self._masked_to = max(0, merged[-1][1] - until)
        self._held = held[until:]
        self._is_beginning = False

    def _show(self, text: str) -> Iterator[MaskedLine]:
        *ended, rest = text.split("\n")
        for part in ended:
            self._line += part
            self._lines += 1
            yield self._end_line()
        self._line += rest
        if len(self._line) > MAX_LINE:
            yield self._end_line()

    def _end_line(self) -> MaskedLine:
        line = MaskedLine(self._line, self._lines)
        self._line, self._lines = "", 0
        return line


def _list_rests(secret: str) -> Iterator[str]:
    begin = 0
    for line in secret.splitlines(keepends=True):
        yield secret[begin:]
        begin += len(line)


def _is_longer(rest: str, text: str) -> bool:
    """Return whether a text may become one that begins with the rest of a secret."""
    return len(rest) > len(text) and rest.startswith(text)
