"""When a daemon of skyportd was started, by the clock of its own machine.

It gives its uptime in whole minutes only. But it measures the load of its machine every ten
seconds, and keeps what it measured over its end: where a measurement is missing it was not running.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from itertools import pairwise

SAMPLE_EVERY = timedelta(seconds=10)
"""How often the daemon measures, and how long after its start for the first time."""

SLACK = timedelta(seconds=3)
"""How much later than it should be a measurement may come."""

_SECOND = timedelta(seconds=1)
_MINUTE = timedelta(minutes=1)
_UNITS = {"d": 24 * 60 * _MINUTE, "h": 60 * _MINUTE, "m": _MINUTE}
_UPTIME = re.compile(r"\d{1,6}[dhm]( \d{1,6}[dhm])*")


def find_start(stats: Mapping[str, object], date: str) -> tuple[datetime, datetime] | None:
    """Return the earliest and the latest time at which the daemon may have been started.

    `stats` is what GET /stats answered, and `date` the header of that answer. None when they do not
    tell.
    """
    now, uptime = _parse_date(date), _parse_uptime(stats.get("uptime"))
    if now is None or uptime is None:
        return None
    earliest, latest = now - uptime - _MINUTE, now - uptime + _SECOND  # both are cut off
    samples = sorted(_read_samples(stats.get("totalStats")))
    for before, sample in pairwise([datetime.min.replace(tzinfo=UTC), *samples]):
        is_first = sample - before > SAMPLE_EVERY + SLACK
        if is_first and earliest <= sample - SAMPLE_EVERY <= latest + SLACK:
            return max(earliest, sample - SAMPLE_EVERY - SLACK), latest
    return earliest, latest


def parse_time(text: object) -> datetime | None:
    """Read a time as Docker and JavaScript print it. None for anything else."""
    try:
        time = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return time if time.tzinfo else None


def _parse_date(text: str) -> datetime | None:
    try:
        return parsedate_to_datetime(text)
    except ValueError:
        return None


def _parse_uptime(text: object) -> timedelta | None:
    if not isinstance(text, str) or not _UPTIME.fullmatch(text):
        return None
    return sum((int(part[:-1]) * _UNITS[part[-1]] for part in text.split(" ")), timedelta())


def _read_samples(samples: object) -> list[datetime]:
    found = (
        parse_time(sample.get("timestamp"))
        for sample in (samples if isinstance(samples, list) else ())
        if isinstance(sample, dict)
    )
    return [time for time in found if time is not None]
