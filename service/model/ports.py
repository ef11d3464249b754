"""Port maps as clients write them: ``container:host[,container:host...]``, each for TCP and UDP.

``container:auto`` asks for a free host port, ``25565-25567:auto`` for three that follow each other.
"""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from typing import NamedTuple, TypedDict

AUTO = 0
"""The host port of a mapping for which a free one is to be found."""

MAX_MAPPINGS = 100
"""How many mappings one instance may have."""

_MAPPING = re.compile(r"(\d{1,5}):(\d{1,5})", re.ASCII)
_AUTO = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?:auto", re.ASCII)
_RANGE = re.compile(r"(\d{1,5})-(\d{1,5})", re.ASCII)
_PORT = re.compile(r"\d{1,5}", re.ASCII)


class PortPair(TypedDict):
    """One published port, TCP and UDP."""

    container: int
    host: int


@dataclass(frozen=True, slots=True)
class PortMapping:
    """One port: what the program listens on inside, and what the node's users connect to."""

    container: int
    host: int
    follows: bool = field(default=False, compare=False)
    """Whether its host port is to be the one after that of the mapping before it."""

    def __str__(self) -> str:
        return f"{self.container}:{self.host or 'auto'}"


class PortRange(NamedTuple):
    """The host ports, first and last, among which free ones are found."""

    first: int
    last: int

    def __str__(self) -> str:
        return f"{self.first}-{self.last}"


DEFAULT_RANGE = PortRange(20000, 39999)


def parse(text: str, *, may_be_auto: bool = False) -> tuple[PortMapping, ...]:
    """Read ``"80:8080,443:8443"``. No text is no ports. ``auto`` is a port only where it may be.

    Raises ValueError with a sentence for people: a part that is no pair, a port outside
    1..65535, and a host or container port that stands twice, which no node can serve.
    """
    parts = [part.strip() for part in text.split(",")] if text.strip() else []
    if len(parts) > MAX_MAPPINGS:
        raise ValueError(f"At most {MAX_MAPPINGS} port mappings are allowed.")
    mappings: list[PortMapping] = []
    for part in parts:
        match = _AUTO.fullmatch(part) if may_be_auto else None
        mappings += [_parse_mapping(part)] if match is None else _parse_auto(match)
    if len(mappings) > MAX_MAPPINGS:
        raise ValueError(f"At most {MAX_MAPPINGS} port mappings are allowed.")
    for side in ("host", "container"):
        numbers = [getattr(mapping, side) for mapping in mappings]
        for number in numbers:
            if number != AUTO and numbers.count(number) > 1:
                raise ValueError(f"The {side} port {number} is given twice.")
    return tuple(mappings)


def parse_range(text: str) -> PortRange:
    """Read ``"20000-39999"``. Raises ValueError with a sentence for people."""
    match = _RANGE.fullmatch(text.strip())
    if match is None:
        raise ValueError("Must be the first and the last port, like 20000-39999.")
    found = PortRange(_check_port(int(match[1])), _check_port(int(match[2])))
    if found.first > found.last:
        raise ValueError("The first port must not be greater than the last.")
    return found


def keep_hosts(
    mappings: Iterable[PortMapping], before: Iterable[PortMapping]
) -> tuple[PortMapping, ...]:
    """Give what is `auto` the host ports that the same container ports had before, if they had.

    Those that are to follow each other keep theirs only if these do so already.
    """
    hosts = {mapping.container: mapping.host for mapping in before}
    kept: list[PortMapping] = []
    for run in _split_runs(mappings):
        first = hosts.get(run[0].container, AUTO)
        had = [hosts.get(mapping.container) for mapping in run]
        is_kept = run[0].host == AUTO and had == list(range(first, first + len(run)))
        kept += _place(run, first) if is_kept else run
    return tuple(kept)


def choose_free(
    mappings: Iterable[PortMapping], taken: Collection[int], among: PortRange, *, start: int
) -> tuple[PortMapping, ...] | None:
    """Find free host ports for the mappings that have none, from `start` on and around.

    Those that are to follow each other do. None when there are not enough of them.
    """
    runs = _split_runs(mappings)
    held = {*taken, *(mapping.host for run in runs for mapping in run)}
    chosen: list[PortMapping] = []
    for run in runs:
        if run[0].host == AUTO:
            first = _find_free(len(run), held, among, start)
            if first is None:
                return None
            chosen += _place(run, first)
            held.update(range(first, first + len(run)))
        else:
            chosen += run
    return tuple(chosen)


def _split_runs(mappings: Iterable[PortMapping]) -> list[list[PortMapping]]:
    """Put together what is to follow each other. All of a run have a host port, or none has."""
    runs: list[list[PortMapping]] = []
    for mapping in mappings:
        if mapping.follows:
            runs[-1].append(mapping)
        else:
            runs.append([mapping])
    return runs


def _place(run: list[PortMapping], first: int) -> list[PortMapping]:
    return [replace(mapping, host=first + step) for step, mapping in enumerate(run)]


def _find_free(size: int, held: Collection[int], among: PortRange, start: int) -> int | None:
    """Find the first of so many ports that are free and follow each other."""
    starts = among.last - among.first + 2 - size
    for step in range(starts):
        first = among.first + (start + step) % starts
        if not any(port in held for port in range(first, first + size)):
            return first
    return None


def parse_primary(primary: str | int | None, mappings: tuple[PortMapping, ...]) -> PortMapping:
    """Find the mapping that `primary` means: a host port (25565 or "25565") or a pair.

    Without it that is the first. Raises ValueError when it is none of `mappings`.
    """
    if primary is None:
        return mappings[0]
    text = str(primary).strip()
    if _PORT.fullmatch(text):
        found = [mapping for mapping in mappings if mapping.host == int(text)]
    else:
        meant = parse(text, may_be_auto=True)
        found = [mapping for mapping in mappings if meant == (mapping,)]
    if not found:
        raise ValueError(f"{text!r} is none of the host ports in 'ports'.")
    return found[0]


def print_map(pairs: Iterable[PortPair]) -> str:
    """Write stored port mappings as `parse` reads them."""
    return ",".join([f"{pair['container']}:{pair['host']}" for pair in pairs])


def _parse_mapping(text: str) -> PortMapping:
    match = _MAPPING.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not of the form container:host, like 80:8080.")
    return PortMapping(container=_check_port(int(match[1])), host=_check_port(int(match[2])))


def _parse_auto(match: re.Match[str]) -> list[PortMapping]:
    first = _check_port(int(match[1]))
    last = _check_port(int(match[2] or match[1]))
    if first > last:
        raise ValueError(f"{match[0]!r} ends before it begins.")
    ports = range(first, last + 1)
    return [PortMapping(port, AUTO, follows=port > first) for port in ports]


def _check_port(port: int) -> int:
    if not 1 <= port <= 65535:
        raise ValueError(f"The port {port} is not between 1 and 65535.")
    return port
