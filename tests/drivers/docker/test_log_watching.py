"""Lines that an engine leaves out, or sends again: they are noticed by their times."""

import pytest

from service.drivers.docker import log_watching
from service.drivers.docker.log_watching import Watch
from service.model.printed_lines import LogLine, Position

SECOND = 10**9


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Take a few bytes for much."""
    monkeypatch.setattr(log_watching, "FEW_BYTES", 100)


def line(seconds, size=60):
    """Make a line that was printed then."""
    return LogLine("x" * size, Position(int(seconds * SECOND), 0))


def watch(sent, *, last=None, after=None):
    """Take in what is sent; return what is found of each."""
    watched = Watch(lambda: [last] if last else [], after)
    return [watched.finds_break(each) for each in sent], watched


def test_lines_that_are_left_out_are_noticed():
    """In much output, a pause that was not waited for is none."""
    found, watched = watch([line(1), line(1.1), line(7)])

    assert ([False, False, True], line(1.1).position) == (found, watched.last)


def test_a_pause_that_was_waited_for_is_one():
    """The program had nothing to print."""
    found, _ = watch([line(1), line(1.1), None, line(7)])

    assert not any(found)


def test_a_pause_in_little_output_is_one():
    """As in what was printed long ago."""
    found, _ = watch([line(1, 5), line(7, 5), line(70, 5)])

    assert not any(found)


def test_lines_that_come_again_are_noticed():
    """Also in little output; but what is written down a moment late is in order."""
    assert [False, False, True] == watch([line(7), line(6.5), line(1)])[0]


def test_lines_that_do_not_come_are_noticed():
    """When there is a later one, and it still did not come a while after that was known."""
    found, _ = watch([line(1), None, None], last=line(2))

    assert [False, False, True] == found


def test_a_line_that_comes_meanwhile_is_in_order():
    """It was on its way."""
    found, _ = watch([line(1), None, line(2)], last=line(2))

    assert not any(found)


def test_where_there_is_none_silence_is_in_order():
    """However long it is."""
    found, _ = watch([line(1), *[None] * 9], last=line(1))

    assert not any(found)


def test_a_first_line_that_does_not_come_is_noticed():
    """There is nothing before it."""
    assert [False, True] == watch([None, None], last=line(1))[0]
