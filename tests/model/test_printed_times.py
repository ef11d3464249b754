"""Times of lines, and their ids: read as they are written, and nothing else."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.model.printed_lines import Mark, Position, parse_mark, print_mark
from service.model.printed_times import parse_time, print_time

TIMES = st.integers(0, 4_102_444_800 * 10**9)
NOON = int(datetime(2026, 1, 31, 12, tzinfo=UTC).timestamp()) * 10**9


@given(TIMES)
def test_a_time_is_read_as_it_is_written(time_ns):
    """To the nanosecond."""
    assert time_ns == parse_time(print_time(time_ns))


@given(TIMES)
def test_seconds_are_read_to_the_nanosecond(time_ns):
    """As no float could."""
    assert time_ns == parse_time(f"{time_ns // 10**9}.{time_ns % 10**9:09d}")


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-31T12:00:00Z",
        "2026-01-31t12:00:00z",
        "2026-01-31 12:00:00.000Z",
        "2026-01-31T13:00:00+01:00",
        "2026-01-31T13:00:00 01:00",
        "2026-01-31T11:30:00-00:30",
    ],
)
def test_a_time_may_be_written_otherwise(text):
    """In another zone, with a space, and with a plus that became one."""
    assert NOON == parse_time(text)


@pytest.mark.parametrize(
    "text",
    ["", "now", "10m", "2026-01-31", "2026-01-31T12:00:00", "2026-02-31T12:00:00Z", "-1", "1e9",
     "0001-01-01T00:00:00Z", "2026-01-31T12:00:00+99:00", "12345678901", "٣", "1.0000000001"],
)  # fmt: skip
def test_what_is_no_time_is_refused(text):
    """A number in other digits, a duration, a day that there is not."""
    with pytest.raises(ValueError, match="RFC 3339"):
        parse_time(text)


@given(st.from_regex(r"[a-f0-9]{12}", fullmatch=True), TIMES, st.integers(0, 999_999))
def test_the_id_of_a_line_is_read_as_it_is_written(container_id, time_ns, number):
    """With the number of the line among those of its time."""
    mark = Mark(container_id, Position(time_ns, number))

    assert mark == parse_mark(print_mark(mark))


@pytest.mark.parametrize("text", ["", "a", "a:", "a:b", ":1", "a:1.", "a:1\n", "a b:1", "a:1.1.1"])
def test_what_is_no_id_is_refused(text):
    """Such as the id of an event."""
    with pytest.raises(ValueError, match="id of a line"):
        parse_mark(text)
