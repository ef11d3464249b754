"""Lines out of what a Docker Engine sends of a log, however it is cut on its way."""

import itertools
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.drivers import ENGINE_LINE_BYTES
from service.drivers.docker.log_frames import Pieces
from service.drivers.log_lines import (
    MARGIN_NS,
    MAX_LOG_LINE_BYTES,
    Splitter,
    go_on_after,
    keep_last,
)
from service.model.printed_lines import LogLine, Position, Stream

NOON_NS = 1769860800 * 10**9
TIME = b"2026-01-31T12:00:00.%09dZ "


def frame(text, *, source=1, time=0):
    """Frame a piece as the engine does."""
    piece = TIME % time + text
    return struct.pack(">BxxxL", source, len(piece)) + piece


def read(sent, *, is_terminal=False):
    """Read the lines of what is sent."""
    return list(Pieces(is_terminal=is_terminal).read_lines(sent))


def cut(text, places):
    """Cut bytes at these places."""
    ends = [0, *sorted(place % (len(text) + 1) for place in places), len(text)]
    return [text[begin:end] for begin, end in itertools.pairwise(ends)]


LONG = b"y" * (2 * ENGINE_LINE_BYTES + 5)
PIECES = [LONG[:ENGINE_LINE_BYTES], LONG[ENGINE_LINE_BYTES : 2 * ENGINE_LINE_BYTES], b"yyyyy\n"]


def test_lines_have_their_times_and_streams():
    """Each line has its own."""
    sent = frame(b"out\n", time=5) + frame(b"err\r\n", source=2, time=7)

    assert read([sent]) == [
        LogLine("out", Position(NOON_NS + 5, 0), Stream.STDOUT),
        LogLine("err", Position(NOON_NS + 7, 0), Stream.STDERR),
    ]


def test_lines_of_one_time_are_numbered():
    """So each of them can be named."""
    sent = frame(b"a\n") + frame(b"b\n") + frame(b"c\n", time=1)

    assert [(0, 0), (0, 1), (1, 0)] == [
        (line.position.time_ns - NOON_NS, line.position.number) for line in read([sent])
    ]


@given(st.lists(st.integers(0, 10**6), max_size=20), st.booleans())
def test_cuts_change_nothing(places, is_terminal):
    """Wherever the network cuts, long lines are whole, and their times are taken out."""
    texts = [b"one\n", *PIECES, b"\n", b"caf\xc3\xa9\n", b"end"]
    pieces = [frame(text, time=at) for at, text in enumerate(texts)]
    if is_terminal:
        pieces = [piece[8:] for piece in pieces]

    lines = read(cut(b"".join(pieces), places), is_terminal=is_terminal)

    assert ["one", LONG.decode(), "", "café", "end"] == [line.text for line in lines]
    assert [0, 1, 4, 5, 6] == [line.position.time_ns - NOON_NS for line in lines]


def test_a_line_that_its_program_did_not_end_is_one():
    """What the next run prints is another one."""
    sent = frame(b"end", time=1) + frame(b"begin\n", time=2)

    assert ["end", "begin"] == [line.text for line in read([sent])]


def test_short_pieces_are_parts_of_a_line():
    """Where the engine says nothing of runs, what has no end goes on in the next piece."""
    sent = [frame(b"be", time=1), frame(b"gin", time=2), frame(b"\n", time=3), frame(b"end")]

    lines = list(Pieces(is_terminal=False, ends_runs=False).read_lines(sent))

    assert [("begin", False), ("end", True)] == [(line.text, line.is_cut) for line in lines]
    assert NOON_NS + 1 == lines[0].position.time_ns


def test_a_line_that_has_not_all_come_can_be_left_out():
    """By whoever reads it later."""
    sent = [frame(b"one\n"), frame(PIECES[0], time=1)]

    lines = Pieces(is_terminal=False).read_lines(sent, with_rest=False)

    assert ["one"] == [line.text for line in lines]


@pytest.mark.parametrize(
    ("time", "expected_ns"),
    [
        (b"2026-01-31T12:00:00Z", NOON_NS),
        (b"2026-01-31T13:30:00+01:30", NOON_NS),
        (b"2026-01-31T12:00:00.5Z", NOON_NS + 500_000_000),
        (b"2026-01-31T11:00:00.000000007-01:00", NOON_NS + 7),
    ],
)
@pytest.mark.parametrize("is_terminal", [True, False])
def test_times_may_be_written_otherwise(time, expected_ns, is_terminal):
    """In another zone, and less exactly."""
    piece = time + b" text\n"
    sent = piece if is_terminal else struct.pack(">BxxxL", 1, len(piece)) + piece

    (line,) = read([sent[:9], sent[9:]], is_terminal=is_terminal)

    assert ("text", expected_ns) == (line.text, line.position.time_ns)


def test_both_streams_may_print_a_long_line_at_once():
    """Their pieces are not mixed up."""
    sent = b"".join(
        frame(piece, source=source, time=source) for piece in PIECES for source in (1, 2)
    )

    assert [(LONG.decode(), "stdout"), (LONG.decode(), "stderr")] == [
        (line.text, line.stream) for line in read([sent])
    ]


def test_what_has_no_times_is_read_without():
    """A log driver of another kind may send lines as they are."""
    assert [LogLine("one"), LogLine("two")] == read([b"one\ntwo\n"], is_terminal=True)


def test_what_is_no_frame_is_no_log():
    """A length that no engine sends is not waited for."""
    with pytest.raises(ValueError, match="frame"):
        read([b"\x01\x00\x00\x00\xff\xff\xff\xff"])


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=9))
def test_a_splitter_heeds_no_cuts(printed, places):
    """Lines are the same wherever what is printed is cut."""
    splitter, whole = Splitter(), Splitter()
    lines = [line for piece in cut(printed, places) for line in splitter.feed(piece)]

    assert [*whole.feed(printed), *whole.flush()] == [*lines, *splitter.flush()]


def test_a_long_line_is_cut_between_characters():
    """And the next one is whole."""
    splitter = Splitter()

    (long, short) = splitter.feed(b"x" + "é".encode() * MAX_LOG_LINE_BYTES + b"\nshort\n")

    assert ("x" + "é" * (MAX_LOG_LINE_BYTES // 2 - 1), True) == (long.text, long.is_cut)
    assert ("short", False) == (short.text, short.is_cut)


def line(time_ns, number=0):
    """Make a line of that time."""
    return LogLine(f"{time_ns}.{number}", Position(time_ns, number))


def test_a_line_that_was_written_late_is_not_lost():
    """Of two lines the later one may be written down first."""
    log = [line(1), line(3), line(2), line(4)]

    assert [line(2), line(4)] == list(go_on_after(log, Position(3, 0)))


def test_a_line_that_was_written_early_is_not_read_twice():
    """It was read before the one that is gone on after."""
    log = [line(1), line(3), line(2), line(4)]

    assert [line(4)] == list(go_on_after(log, Position(2, 0)))


def test_lines_of_the_same_time_are_told_apart():
    """They are known by their numbers."""
    log = [line(1), line(1, 1), line(1, 2)]

    assert [line(1, 2)] == list(go_on_after(log, Position(1, 1)))


@pytest.mark.parametrize("after", [[], [None]])
def test_after_a_line_that_is_there_no_more_all_later_ones_come(after):
    """The log may have been cut: that is known at its end, or when nothing more comes."""
    log = [line(1), line(5), line(6), *after]

    assert [line(5), line(6)] == [each for each in go_on_after(log, Position(4, 0)) if each]


def test_many_lines_after_one_that_is_gone_are_not_held_back():
    """Only so many are kept until it is known."""
    endless = (line(number) for number in range(10, MARGIN_NS))

    assert line(10) == next(go_on_after(endless, Position(4, 0)))


def test_the_last_lines_are_kept_within_bounds():
    """Neither too many nor too long."""
    lines = [LogLine(str(number)) for number in range(100)]

    assert lines[-3:] == keep_last(lines, 3, 1000)
    assert lines[-2:] == keep_last(lines, 50, 8)
