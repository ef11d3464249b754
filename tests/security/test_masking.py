"""Secrets in what programs print, whole and in pieces."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.drivers import MAX_LOG_BYTES
from service.security.masking import MASK, SHORTEST_SECRET, mask
from service.worker.observation import explain
from tests.support import DEPLOY, a_deploy, an_image, run_due

SECRET = "correct-horse-battery-staple" * 3
PEM = "-begin-\nfirst line\nabc\nxyz\n-end-"


@pytest.mark.parametrize(
    ("printed", "shown"),
    [
        ("it is hunter2, yes\n", "it is ********, yes\n"),
        ("hunter2hunter2\n", "****************\n"),
        ("hunter2", "********"),
        ("it is hunt", "it is ********"),
        ("it is hun", "it is hun"),
        ("it is hunt\n", "it is hunt\n"),
        ("no secret\n", "no secret\n"),
        ("", ""),
    ],
)
def test_a_secret_is_masked(printed, shown):
    """
    A secret is replaced wherever it is, and its beginning at the end, where the rest may follow.
    """
    assert shown == mask(printed, ["hunter2"])


@pytest.mark.parametrize(
    ("printed", "shown"),
    [
        (f"{PEM}\n", "********\n"),
        ("first line\nabc\nxyz\n-end-\n", "********\n"),
        ("abc\nxyz\n-end-\n", "********\n"),
        ("-begin-\nfirst l", "********"),
        ("first l", "********"),
        ("  first line\r\n", "  ********\r\n"),
    ],
)
def test_a_secret_of_several_lines_is_masked(printed, shown):
    """
    Of a secret of several lines each ending is replaced, and each line.
    """
    assert shown == mask(printed, [PEM])


def test_secrets_that_overlap_are_masked():
    """
    Two secrets that share characters leave nothing of either.
    """
    assert "<********>" == mask("<abcdefgh>", ["abcdef", "defgh"])


@pytest.mark.parametrize(
    "secret",
    ["aaaa", "a" * 4096, "a\n" * 2048, "aaaa\n" * 819, "\n".join(map(str, range(1000, 1800)))],
)
def test_no_secret_takes_long(secret):
    """
    Whatever a secret repeats, a whole log is masked in seconds, where it could be hours.
    """
    text = secret * (MAX_LOG_BYTES // len(secret))
    started = time.monotonic()

    shown = mask(text, [secret])

    assert secret not in shown
    assert time.monotonic() - started < 20


def test_short_secrets_are_left():
    """
    What is shorter than SHORTEST_SECRET cannot be told from words.
    """
    assert "an abc" == mask("an abc", ["abc", ""])


@given(
    secret=st.lists(st.text("abc", min_size=1, max_size=9), min_size=1, max_size=4).map("\n".join),
    before=st.text("XY\n", max_size=9),
    after=st.text("XY\n", max_size=9),
    data=st.data(),
)
def test_no_cut_shows_a_secret(secret, before, after, data):
    """
    Wherever a text is cut, at the beginning of a line and anywhere, no piece of a secret is left.
    """
    printed = before + secret + after
    starts = [0, *(match.end() for match in re.finditer("\n", printed))]
    start = data.draw(st.sampled_from(starts))
    end = data.draw(st.integers(start, len(printed)))

    shown = mask(printed[start:end], [secret])

    assert not re.search(rf"[abc]{{{SHORTEST_SECRET}}}", shown), (printed[start:end], shown)


@pytest.fixture
def printing(api, store, place, memory_nodes):
    """A deployed instance with secret variables; answers its id and its container."""
    secret = {"type": "text", "default": "", "required": False, "secret": True}
    user, node, _ = place
    image = an_image(store, variables={"PASSWORD": secret})
    body = a_deploy(user, node, image, variables={"PASSWORD": SECRET})
    instance_id = api.post(DEPLOY, body).json["Id"]
    run_due(store, memory_nodes)
    return instance_id, memory_nodes(node).containers[instance_id]


@pytest.mark.parametrize("seen", range(1, len(SECRET), 7))
def test_the_bound_of_a_log_shows_no_secret(api, printing, seen):
    """
    Where the bound of a log falls into a secret, the rest of its line is not answered.
    """
    instance_id, container = printing
    line = f"password={SECRET}\n"
    after = "y" * (MAX_LOG_BYTES - seen - 2) + "\n"
    container.log = line + after

    answer = api.get(f"/api/instances/{instance_id}/logs").json

    assert [after.strip()] == answer["lines"]


def test_what_is_half_printed_shows_no_secret(api, printing):
    """
    A program that has not yet printed all of a secret shows nothing of it.
    """
    instance_id, container = printing
    container.log = f"password={SECRET[:-2]}"

    assert [f"password={MASK}"] == api.get(f"/api/instances/{instance_id}/logs").json["lines"]


def test_why_a_container_ended_shows_no_secret(store, printing, memory_nodes):
    """
    The last lines in an instance's error are masked before anything is taken from their ends.
    """
    instance_id, container = printing
    instance = store.instances.get(instance_id)
    instance["variables"]["PASSWORD"] = "  padded  secret  "
    container.log = "it is   padded  secret  "

    reason = explain(memory_nodes(store.nodes.get(instance["node_id"])), instance, "It ended.")

    assert f"It ended.\nIts last lines:\nit is {MASK}" == reason
