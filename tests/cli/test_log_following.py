"""`skyquay instances logs --follow`: lines on a real server, on this machine, and over drops."""

import json

import pytest
from click.testing import CliRunner

from service import cli
from service.cli import live, over_http
from service.cli.failures import Exit
from service.drivers import log_lines
from service.model.lifecycle import InstanceState, Power
from tests.cli.doubles import serving
from tests.support import eventually

BEGINNING = b"retry: 1000\n\n:\n\n"
END = b'event: end\ndata: {"reason": "stopped", "message": "The program does not run."}\n\n'


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    """Lose no time."""
    monkeypatch.setattr(log_lines, "STOPPED_S", 0.1)
    monkeypatch.setattr(live, "TRY_EVERY_S", 0.01)


def line(number):
    """Make the frame of a line."""
    return f'id: c:{number}\ndata: {{"line": "line {number}", "stream": "stdout"}}\n\n'.encode()


def at(double, *words):
    """Follow a log at a server."""
    words = ("--url", double.url, "--key", "k", "instances", "logs", "-f", "i-1", *words)
    return CliRunner().invoke(cli.main, words)


@pytest.fixture
def stopped(store, here, ready):
    """An instance that has printed two lines, and does not run."""
    # With a server, its worker may be the one that deploys.
    assert eventually(lambda: store.instances.get(ready)["state"] == InstanceState.READY)
    here.containers[ready].log = "one\ntwo\n"
    here.containers[ready].power = Power.STOPPED
    return ready


@pytest.mark.heavy
def test_a_log_is_followed_on_a_server(live_server, stopped):
    """To its end, which is on standard error."""
    outcome = CliRunner().invoke(
        cli.main, ["instances", "logs", "--follow", "--timestamps", "--tail", "1", stopped],
        env={"SKYQUAY_URL": live_server.url, "SKYQUAY_KEY": live_server.key},
    )  # fmt: skip

    assert (0, "2026-01-31T12:00:01.000000000Z two\n", "The program does not run.\n") == (
        outcome.exit_code,
        outcome.stdout,
        outcome.stderr,
    )


@pytest.mark.heavy
def test_a_log_is_followed_on_this_machine(config, stopped, monkeypatch, memory_nodes):
    """Without a server."""
    monkeypatch.setattr("service.app.make_drivers", lambda *_: memory_nodes)
    outcome = CliRunner().invoke(
        cli.main, ["instances", "logs", "-f", "--since", "1769860801", stopped],
        env={"SKYQUAY_MONGODB_URI": config.mongodb_uri, "SKYQUAY_DATABASE": config.database,
             "SKYQUAY_SECRET_KEY": config.secret_key},
    )  # fmt: skip

    assert (0, "two\n") == (outcome.exit_code, outcome.stdout)


def test_a_drop_is_gone_on_after():
    """With the id of the last line, so that none comes twice."""
    cut_off = ("events", BEGINNING + line(1) + line(2) + b"id: c:3\ndata: {")
    with serving(cut_off, ("hang_up",), ("events", BEGINNING + line(3) + END)) as double:
        outcome = at(double)

        ids = [headers.get("Last-Event-ID") for _, _, headers, _ in double.seen]
    assert (0, "line 1\nline 2\nline 3\n") == (outcome.exit_code, outcome.stdout)
    assert (None, {"c:2"}) == (ids[0], set(ids[1:]))
    assert "The connection broke; going on.\n" in outcome.stderr


def test_a_key_that_is_revoked_meanwhile_ends_the_command():
    """That is no drop."""
    problem = {"error": "No.", "code": "unauthorized", "details": {}}
    with serving(("events", line(1)), ("json", 401, problem)) as double:
        outcome = at(double)

    assert (Exit.UNAUTHORIZED, "line 1\n") == (outcome.exit_code, outcome.stdout)


def test_a_server_that_stays_away_ends_the_command(monkeypatch):
    """In the end."""
    monkeypatch.setattr(live, "PATIENCE_S", 0.05)
    with serving(("events", line(1)), ("hang_up",)) as double:
        outcome = at(double)

    assert (Exit.UNREACHABLE, "line 1\n") == (outcome.exit_code, outcome.stdout)


def test_a_server_that_is_not_there_is_an_error_at_once():
    """Nothing is there to go on with."""
    with serving(("hang_up",)) as double:
        outcome = at(double)

    assert (Exit.UNREACHABLE, "") == (outcome.exit_code, outcome.stdout)


def test_silence_is_a_drop(monkeypatch):
    """The server says something each 15 seconds."""
    monkeypatch.setattr(over_http, "SILENCE_S", 0.1)
    with serving(("trickle", line(1)), ("events", line(2) + END)) as double:
        outcome = at(double)

    assert "line 1\nline 2\n" == outcome.stdout


def test_a_node_that_fails_is_a_failure():
    """The reason is said."""
    end = b'event: end\ndata: {"reason": "node_unreachable", "message": "No answer."}\n\n'
    with serving(("events", end)) as double:
        outcome = at(double)

    assert (Exit.UNREACHABLE, "Error: No answer.\n") == (outcome.exit_code, outcome.stderr)


def test_lines_are_json_for_programs():
    """One each."""
    with serving(("events", line(1) + END)) as double:
        outcome = at(double, "--json")

    assert {"line": "line 1", "stream": "stdout"} == json.loads(outcome.stdout)
