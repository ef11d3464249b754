"""What a container printed since its last start, out of one log of all its starts."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from service.drivers.docker.client import Client
from service.drivers.last_output import read_last_lines

MAX_LINES = 2000
"""Of how many lines, from the end, is looked. Docker reads them from its file's end."""

MARGIN = timedelta(seconds=1)
"""How long a program may have printed before the engine says that it has started it."""


def read(engine: Client, reference: str, container: Mapping[str, Any]) -> str:
    """Read the last lines of this start, MAX_LINES and MAX_LOG_BYTES at the most.

    The engine has just said what the container is.
    """
    printed = engine.logs(reference, tail=MAX_LINES, since=find_begin(container["State"]))
    return read_last_lines(printed, MAX_LINES)


def find_begin(state: Mapping[str, Any]) -> datetime | None:
    """Find a moment after the last line of the start before, and before the first of this one.

    What a program prints first may bear a time before that of its start, and what it printed last
    one after its end: half of what was in between is for each. None: it was started once.
    """
    ended, started = _parse(state["FinishedAt"]), _parse(state["StartedAt"])
    if ended is None or started is None or ended >= started:
        return None
    return max(ended + (started - ended) / 2, started - MARGIN)


def _parse(text: str) -> datetime | None:
    moment = datetime.fromisoformat(text).astimezone(UTC)
    return moment if moment.year > 1 else None
