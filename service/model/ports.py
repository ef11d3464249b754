"""Port maps as clients write them: ``container:host[,container:host...]``, each for TCP and UDP.

``container:auto`` asks for a free host port, ``25565-25567:auto`` for three that follow each other.
"""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from typing import NamedTuple, NotRequired, TypedDict

AUTO = 0
"""The host port of a mapping for which a free one is to be found."""

SAME = 0
"""The container port of a mapping that will be what its host port is, before that is found."""

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
    auto: NotRequired[bool]  # the host port was found, so it may be another
    offset: NotRequired[int]  # to the host port that begins its run
    same: NotRequired[bool]  # the container port is what the host port is
    name: NotRequired[str]  # as its image calls it, like the next
    env: NotRequired[str]  # the variable that tells it to the program


@dataclass(frozen=True, slots=True)
class PortMapping:
    """One port: what the program listens on inside, and what the node's users connect to."""

    container: int
    host: int
    auto: bool = field(default=False, compare=False)
    """Whether the host port was found, so that it may be another."""
    offset: int | None = field(default=None, compare=False)
    """How far its host port is to be behind that of the first of its run. None: it begins one."""
    same: bool = field(default=False, compare=False)
    """Whether the container port is what the host port is."""
    name: str = field(default="", compare=False)
    """What the image calls it, if that declares it."""
    env: str = field(default="", compare=False)
    """The variable that tells it to the program, if there is one."""

    def __str__(self) -> str:
        return f"{self.container}:{self.host or 'auto'}"


def to_pair(mapping: PortMapping) -> PortPair:
    """Make what is stored of a mapping that has a host port."""
    pair = PortPair(container=mapping.container, host=mapping.host)
    if mapping.auto:
        pair["auto"] = True
    if mapping.offset is not None:
        pair["offset"] = mapping.offset
    if mapping.same:
        pair["same"] = True
    if mapping.name:
        pair["name"] = mapping.name
    if mapping.env:
        pair["env"] = mapping.env
    return pair


def find_by_names(
    mappings: Iterable[PortMapping], before: Iterable[PortMapping]
) -> tuple[PortMapping, ...]:
    """Give the ports of an image the host ports that those of the same names had before.

    A run gets them only as a whole, where it is as far from its first port as it was.
    """
    known = {mapping.name: mapping for mapping in before if mapping.name}
    kept: list[PortMapping] = []
    for run in split_runs(mappings):
        had = [known[each.name].host for each in run if each.name in known]
        wanted = _place(run, had[0]) if had else run
        kept += wanted if [each.host for each in wanted] == had else run
    return tuple(kept)


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
    mappings: Iterable[PortMapping],
    before: Iterable[PortMapping],
    *,
    except_for: Collection[int] = (),
) -> tuple[PortMapping, ...]:
    """Give what is `auto` the host ports that the same container ports had before, if they had.

    Those that are to follow each other keep theirs only if these do so already, and none is one
    `except_for` which others are to be found. A port that has the
    same host port as before was found if it was found then.
    """
    before = tuple(before)
    known = {mapping.container: mapping for mapping in before}
    kept: list[PortMapping] = []
    for run in split_runs(mappings):
        had = [known[each.container] for each in run if each.container in known]
        wanted = _place(run, had[0].host) if run[0].host == AUTO and had else run
        if run[0].host == AUTO and any(mapping.host in except_for for mapping in wanted):
            wanted = run
        same = zip(run, had, strict=True) if had == wanted else ()
        kept += [
            replace(old, offset=new.offset, auto=old.auto and new.host == AUTO) for new, old in same
        ] or run
    return before if tuple(kept) == before else tuple(kept)


def release_run(mappings: Iterable[PortMapping], port: int) -> tuple[PortMapping, ...] | None:
    """Take the host ports from those that were found together with `port`.

    None where it is none of them, or somebody named it.
    """
    released: list[PortMapping] = []
    found = False
    for run in split_runs(mappings):
        has_it = any(mapping.host == port for mapping in run)
        if has_it and not all(mapping.auto for mapping in run):
            return None
        found |= has_it
        released += map(_unplace, run) if has_it else run
    return tuple(released) if found else None


def release_taken(
    mappings: Iterable[PortMapping], taken: Collection[int]
) -> tuple[PortMapping, ...]:
    """Take the host ports from each run that has one of those that are taken."""
    released: list[PortMapping] = []
    for run in split_runs(mappings):
        is_free = all(mapping.host not in taken for mapping in run)
        released += run if is_free else map(_unplace, run)
    return tuple(released)


def choose_free(
    mappings: Iterable[PortMapping], taken: Collection[int], among: PortRange, *, start: int
) -> tuple[PortMapping, ...] | None:
    """Find free host ports for the mappings that have none, from `start` on and around.

    Those that are to follow each other do. None when there are not enough of them.
    """
    runs = split_runs(mappings)
    held = {*taken, *(mapping.host for run in runs for mapping in run)}
    inside = {mapping.container for run in runs for mapping in run}
    chosen: list[PortMapping] = []
    for run in runs:
        if run[0].host == AUTO:
            avoid = held | inside if any(each.same for each in run) else held
            first = _find_free([each.offset or 0 for each in run], avoid, among, start)
            if first is None:
                return None
            chosen += _place(run, first)
            held.update(mapping.host for mapping in chosen)
        else:
            chosen += run
    return tuple(chosen)


def split_runs(mappings: Iterable[PortMapping]) -> list[list[PortMapping]]:
    """Put together what is to follow each other. All of a run have a host port, or none has."""
    runs: list[list[PortMapping]] = []
    for mapping in mappings:
        if mapping.offset is not None:
            runs[-1].append(mapping)
        else:
            runs.append([mapping])
    return runs


def _place(run: list[PortMapping], first: int) -> list[PortMapping]:
    placed = [replace(each, host=first + (each.offset or 0), auto=True) for each in run]
    return [replace(each, container=each.host) if each.same else each for each in placed]


def _unplace(mapping: PortMapping) -> PortMapping:
    container = SAME if mapping.same else mapping.container
    return replace(mapping, host=AUTO, container=container)


def _find_free(
    offsets: list[int], held: Collection[int], among: PortRange, start: int
) -> int | None:
    """Find a port that is free with those behind it by the `offsets`, all of the range."""
    starts = among.last - among.first + 1 - max(offsets)
    for step in range(starts):
        first = among.first + (start + step) % starts
        if not any(first + offset in held for offset in offsets):
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
    return [PortMapping(port, AUTO, offset=port - first or None) for port in ports]


def _check_port(port: int) -> int:
    if not 1 <= port <= 65535:
        raise ValueError(f"The port {port} is not between 1 and 65535.")
    return port
