"""Server-sent events, read as the HTML standard says."""

import json
from collections.abc import Iterator
from typing import Any, NamedTuple


class Frame(NamedTuple):
    """One event, or with no data the mere id to go on after."""

    id: str
    event: str
    data: str

    @property
    def told(self) -> Any:
        """What the data says in JSON."""
        return json.loads(self.data)


def read_frames(pieces: Iterator[bytes]) -> Iterator[Frame]:
    """Take a stream apart, however it comes in pieces."""
    rest = b""
    for piece in pieces:
        *frames, rest = (rest + piece).split(b"\n\n")
        for frame in frames:
            fields: dict[str, list[str]] = {"id": [], "event": [], "data": []}
            for line in frame.decode().split("\n"):
                name, _, value = line.partition(":")
                fields.get(name, []).append(value.removeprefix(" "))
            if any(fields.values()):
                yield Frame(*("\n".join(each) for each in fields.values()))
