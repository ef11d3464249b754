"""Port maps as clients write them: ``container:host[,container:host...]``, each for TCP and UDP."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypedDict

MAX_MAPPINGS = 100
"""How many mappings one instance may have."""

_MAPPING = re.compile(r"(\d{1,5}):(\d{1,5})", re.ASCII)
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

    def __str__(self) -> str:
        return f"{self.container}:{self.host}"


def parse(text: str) -> tuple[PortMapping, ...]:
    """Read ``"80:8080,443:8443"``. No text is no ports.

    Raises ValueError with a sentence for people: a part that is no pair, a port outside
    1..65535, and a host or container port that stands twice, which no node can serve.
    """
    parts = [part.strip() for part in text.split(",")] if text.strip() else []
    if len(parts) > MAX_MAPPINGS:
        raise ValueError(f"At most {MAX_MAPPINGS} port mappings are allowed.")
    mappings = tuple(_parse_mapping(part) for part in parts)
    for side in ("host", "container"):
        numbers = [getattr(mapping, side) for mapping in mappings]
        for number in numbers:
            if numbers.count(number) > 1:
                raise ValueError(f"The {side} port {number} is given twice.")
    return mappings


def parse_primary(primary: str | int, mappings: tuple[PortMapping, ...]) -> PortMapping:
    """Find the mapping that `primary` means: a host port (25565 or "25565") or a pair.

    Raises ValueError when it is none of `mappings`.
    """
    text = str(primary).strip()
    if _PORT.fullmatch(text):
        found = [mapping for mapping in mappings if mapping.host == int(text)]
    else:
        found = [mapping for mapping in mappings if mapping == _parse_mapping(text)]
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
    container, host = int(match[1]), int(match[2])
    for port in (container, host):
        if not 1 <= port <= 65535:
            raise ValueError(f"The port {port} is not between 1 and 65535.")
    return PortMapping(container=container, host=host)
