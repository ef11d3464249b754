"""Commands for what users have, and may have, and for suspending them."""

import pytest
from click.testing import CliRunner

from service import cli
from tests.support import a_user


@pytest.fixture
def skyquay(config, store, monkeypatch):
    """Run `skyquay users` on the test's database."""
    monkeypatch.setenv("SKYQUAY_MONGODB_URI", config.mongodb_uri)
    monkeypatch.setenv("SKYQUAY_DATABASE", config.database)
    return lambda *words: CliRunner().invoke(cli.main, ["users", *words])


@pytest.mark.heavy
def test_a_quota_is_set_and_shown(skyquay, store):
    """What is not given stays; `none` takes a limit away."""
    user_id = a_user(store)["_id"]

    skyquay("quota", user_id, "--memory", "2G", "--instances", "3")
    changed = skyquay("quota", user_id, "--cpu", "1.5", "--instances", "none")
    shown = skyquay("usage", user_id)

    assert (0, 0) == (changed.exit_code, shown.exit_code)
    assert [
        ["instances", "0", "-", "-"],
        ["memory", "0", "2048", "0", "B"],
        ["cpu", "0", "1.5", "0"],
        ["disk", "0", "-", "0", "B"],
        ["ports", "0", "-", "-"],
    ] == [line.split() for line in shown.stdout.splitlines()]


def test_a_quota_of_nothing_is_an_error(skyquay, store):
    """It says how a quota is shown."""
    outcome = skyquay("quota", a_user(store)["_id"])

    assert (2, True) == (outcome.exit_code, "`users usage` shows" in outcome.output)


def test_a_limit_that_is_none_is_named(skyquay, store):
    """As the API names it."""
    outcome = skyquay("quota", a_user(store)["_id"], "--memory", "much")

    assert (1, True) == (outcome.exit_code, "quota.memory" in outcome.output)


@pytest.mark.heavy
def test_what_exceeds_a_quota_is_warned_of(skyquay, store):
    """Beside the table."""
    user = a_user(store)
    store.users.change(user["_id"], {"used": {**user["used"], "ports": 7}})

    skyquay("quota", user["_id"], "--ports", "1")

    shown = skyquay("usage", user["_id"])
    assert "The quota of host ports is exceeded: 7 of 1.\n" in shown.stderr


def test_without_a_user_it_is_one_s_own(skyquay):
    """A key of the command line's own is limited to nobody."""
    outcome = skyquay("usage")

    assert (1, True) == (outcome.exit_code, "no such user" in outcome.output)


@pytest.mark.heavy
def test_a_user_is_suspended_and_let_run(skyquay, store):
    """Each says that it is done."""
    user_id = a_user(store)["_id"]

    outcomes = [
        (skyquay(act, user_id).output, store.users.get(user_id)["suspended"])
        for act in ("suspend", "unsuspend")
    ]

    assert [("Suspended.\n", True), ("Unsuspended.\n", False)] == outcomes
