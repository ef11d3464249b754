"""Secrets in what programs print, replaced while it comes."""

import re
import time
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.security.masking import MASK, SHORTEST_SECRET, mask
from service.security.stream_masking import MAX_LINE, MaskedLine, StreamMask

# Few letters, so that secrets overlap, repeat and begin with one another.
SECRETS = st.lists(
    st.one_of(st.text("ab\n", max_size=12), st.text("abc \r\n", min_size=4, max_size=9)), max_size=3
)


@st.composite
def cut_texts(draw):
    """Draw secrets, a text with parts of them, and places where it is cut."""
    secrets = draw(SECRETS)
    part = st.one_of(
        st.text("abc \n", max_size=9),
        *(
            st.tuples(st.just(each), st.integers(0, 12), st.integers(0, 12)).map(
                lambda it: it[0][min(it[1:]) : max(it[1:])]
            )
            for each in secrets
        ),
        *(st.just(each) for each in secrets),
    )
    text = "".join(draw(st.lists(part, max_size=8)))
    places = sorted(draw(st.lists(st.integers(0, len(text)), max_size=12)))
    ends = [0, *places, len(text)]
    pieces = [text[begin:end] for begin, end in pairwise(ends)]
    return secrets, text, pieces


def join(lines):
    """Join lines to a text."""
    return "".join(f"{line.text}\n" for line in lines)


def feed(masked, pieces):
    """Feed pieces one by one; return the lines."""
    return [line for piece in pieces for line in masked.feed(piece)]


@pytest.mark.slow
@settings(max_examples=2000)
@given(cut_texts())
def test_what_comes_in_pieces_is_masked_as_the_whole(drawn):
    """For all secrets, texts and ways of cutting."""
    secrets, text, pieces = drawn
    masked = StreamMask(secrets)

    lines = [*feed(masked, pieces), *masked.flush()]

    whole = mask(text, secrets)
    assert (whole if whole.endswith("\n") or not whole else f"{whole}\n") == join(lines)
    assert text.count("\n") + (text[-1:] not in ("\n", "")) == sum(each.lines for each in lines)


@given(
    secret=st.lists(st.text("abc", min_size=1, max_size=9), min_size=1, max_size=4).map("\n".join),
    before=st.text("XY\n", max_size=9),
    after=st.text("XY\n", max_size=9),
    data=st.data(),
)
def test_no_pause_shows_a_secret(secret, before, after, data):
    """What is held back may be asked for after any line: no piece of a secret is in it."""
    masked = StreamMask([secret])
    shown = ""
    for line in (before + secret + after).splitlines(keepends=True):
        shown += join(masked.feed(line))
        if data.draw(st.booleans()):
            shown += join(masked.flush())
    shown += join(masked.flush())

    assert not re.search(rf"[abc]{{{SHORTEST_SECRET}}}", shown), shown


def test_a_secret_that_is_printed_a_character_at_a_time_is_masked():
    """Nothing of it is shown before it is known to be no secret."""
    masked = StreamMask(["hunter2"])

    assert [] == feed(masked, "it is hunter2, hunter")
    assert [MaskedLine(f"it is {MASK}, hunter9", 1)] == feed(masked, "9\n")
    assert not masked.holds


def test_a_line_that_cannot_be_of_a_secret_is_not_held_back():
    """Only what may be one is."""
    masked = StreamMask(["-begin-\nabc\nxyz\n-end-"])

    assert [MaskedLine("no", 1)] == feed(masked, ["no\n"])
    assert [] == feed(masked, ["-begin-\n", "abc\n"])
    assert masked.holds
    assert [MaskedLine(MASK, 1), MaskedLine("abc", 1), MaskedLine("no", 1)] == feed(
        masked, ["no\n"]
    )


def test_a_secret_of_several_lines_becomes_one_line():
    """Which says of how many it is made."""
    masked = StreamMask(["-begin-\nabc\nxyz\n-end-"])

    assert [MaskedLine(f"<{MASK}>", 4)] == feed(masked, ["<-begin-\nabc\n", "xyz\n-end->\n"])


@pytest.mark.parametrize("secret", ["abab", "a" * 4096, "ab\n" * 1365, "\n".join("abcd" * 900)])
def test_what_is_held_back_is_bounded(secret):
    """Whatever a program that knows its secret prints; nor does it take long."""
    masked = StreamMask([secret, secret[1:]])
    started = time.process_time()
    for _ in range(100):
        for line in masked.feed(f"{secret}a"):
            assert len(line.text) <= MAX_LINE + len(secret) + len(MASK)
        assert len(masked._held) <= len(secret)
        assert len(masked._line) <= MAX_LINE

    assert time.process_time() - started < 20
