"""Server-sent events for commands, read as the HTML standard says. A drop is gone on after."""

import math
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing
from typing import Any, NamedTuple

import click

from service.cli.connection import Connection
from service.cli.failures import Exit, Failure, Unreachable

PATIENCE_S = 60.0
"""For how long it is tried to go on after a drop, such as while the server is replaced."""

TRY_EVERY_S = 1.0


class Event(NamedTuple):
    """A server-sent event."""

    id: str
    name: str
    data: str


def follow(
    api: Connection, operation: str, *, query: Mapping[str, Any], last: str = "end", **names: str
) -> Generator[Event, None, None]:
    """Follow what an operation sends, until the event of that name, also over drops.

    Raises what calls raise, for the first one at once.
    """
    last_id, began, until = "", False, math.inf
    while True:
        try:
            with closing(api.stream(operation, query=query, last_id=last_id, **names)) as pieces:
                for event in read_events(pieces):
                    began, until = True, math.inf
                    last_id = event.id or last_id
                    yield event
                    if event.name == last:
                        return
        except Failure as exc:
            if not began or exc.exit_code != Exit.UNREACHABLE or time.monotonic() > until:
                raise
        if time.monotonic() > until:
            raise Unreachable("The connection breaks each time.")
        if until == math.inf:
            until = time.monotonic() + PATIENCE_S
            missing = "" if last_id else " Some of it may be missing, or come again."
            click.echo(f"The connection broke; going on.{missing}", err=True)
        began = True
        time.sleep(TRY_EVERY_S)


def read_events(pieces: Iterator[bytes]) -> Iterator[Event]:
    """Take a stream apart, however it comes in pieces."""
    rest = b""
    for piece in pieces:
        *blocks, rest = (rest + piece).split(b"\n\n")
        for block in blocks:
            fields: dict[str, list[str]] = {"id": [], "event": [], "data": []}
            for line in block.decode(errors="replace").split("\n"):
                name, _, value = line.partition(":")
                if name in fields:
                    fields[name].append(value.removeprefix(" "))
            if fields["data"]:
                yield Event(*("\n".join(each) for each in fields.values()))
