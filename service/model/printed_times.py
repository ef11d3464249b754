"""Times of lines that programs print, to the nanosecond (pure)."""

import re
from datetime import UTC, datetime

TIME_RULE = "Must be a time of RFC 3339, as 2026-01-31T12:00:00Z, or seconds since 1970."

_RFC3339 = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)
_SECONDS = re.compile(r"(\d{1,10})(?:\.(\d{1,9}))?", re.ASCII)


def parse_time(text: str) -> int:
    """Read a time; return its nanoseconds since 1970. Raises ValueError."""
    if match := _SECONDS.fullmatch(text):
        return int(match[1]) * 10**9 + _parse_fraction(match[2])
    # In a query that nobody encoded, a plus became a space.
    if not (match := _RFC3339.fullmatch(re.sub(r" (\d\d:\d\d)$", r"+\1", text))):
        raise ValueError(TIME_RULE)
    zone = match[4].upper().replace("Z", "+00:00")
    try:
        seconds = datetime.fromisoformat(f"{match[1]}T{match[2]}{zone}").timestamp()
    except (ValueError, OverflowError):
        raise ValueError(TIME_RULE) from None
    if seconds < 0:
        raise ValueError(TIME_RULE)
    return int(seconds) * 10**9 + _parse_fraction(match[3])


def print_time(time_ns: int) -> str:
    """Write a time as RFC 3339 has it, in UTC, with all its nanoseconds."""
    seconds, fraction = divmod(time_ns, 10**9)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{fraction:09d}Z"


def _parse_fraction(digits: str | None) -> int:
    return int((digits or "").ljust(9, "0"))
