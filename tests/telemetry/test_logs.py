"""What a person at a terminal sees of the log."""

import io
import json
import logging
import os
import pty
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
import structlog

from service.config import Config
from service.telemetry import logs
from tests.support import DEPLOY, a_deploy, run_due

ROOT = Path(__file__).resolve().parent.parent.parent
CLOCK = re.compile(r"^\d\d:\d\d:\d\d ", re.MULTILINE)
WARNS = (
    "import logging; from service.cli.context import read_config; read_config();"
    "logging.getLogger('x').warning('hello')"
)


@pytest.fixture
def terminal():
    """Log as text at a level; answers what was logged. The logging is as it was afterwards."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    written = io.StringIO()

    def log_at(level_name):
        logs.set_up(Config(log_format="text", log_level=level_name))
        root.handlers[0].setStream(written)
        return written.getvalue

    yield log_at
    root.handlers[:] = before
    root.setLevel(level)


def deploy(api, store, place, open_driver):
    """Deploy an instance, and carry it out; answers its id."""
    instance_id = api.post(DEPLOY, a_deploy(*place)).json["Id"]
    run_due(store, open_driver)
    return instance_id


def test_a_deploy_is_one_short_line(api, store, place, memory_nodes, terminal):
    """
    What was printed before it, such as the first key, stays in sight.
    """
    told = terminal("INFO")

    instance_id = deploy(api, store, place, memory_nodes)

    assert f"deploy {instance_id} succeeded\n" == CLOCK.sub("", told())


def test_a_deploy_that_fails_says_why(api, store, place, memory_nodes, terminal):
    """
    The first line of the reason is in the same line.
    """
    told = terminal("INFO")
    memory_nodes(place[1]).faults.refuse("There is no such image.\nLook for it.")

    instance_id = deploy(api, store, place, memory_nodes)

    lines = CLOCK.sub("", told()).splitlines()
    assert [f"deploy {instance_id} failed: There is no such image."] == lines


def test_everything_is_told_at_debug(api, store, place, memory_nodes, terminal):
    """
    Requests and all moves have their lines at the level DEBUG.
    """
    told = terminal("DEBUG")

    instance_id = deploy(api, store, place, memory_nodes)

    assert f"deploy {instance_id} running" in told()
    assert "route=/api/instances/deploy" in told()


def test_a_warning_has_all_fields(terminal):
    """
    What is wrong can be looked up: by its request, and by where it was noticed.
    """
    told = terminal("INFO")

    logging.getLogger("service.x").warning("odd", extra={"request_id": "r1", "error": None})

    assert "[warning] odd [service.x] error=None request_id=r1\n" == CLOCK.sub("", told())


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (ValueError("x"), "ValueError('x')"),
        (b"x", "b'x'"),
        (datetime(2026, 1, 2), "datetime.datetime(2026, 1, 2, 0, 0)"),
        (2**70, 2**70),
        ("\ud800", "\ud800"),
        ("é\x9b31m\u2028", "é\x9b31m\u2028"),
        ({1: None}, {"1": None}),
    ],
)
def test_a_json_line_says_what_json_cannot(logged, value, written):
    """
    Any value is written, as its `repr` where JSON has none, and in ASCII: it controls no terminal.
    """
    logging.getLogger("service.x").warning("odd", extra={"value": value})

    assert written == json.loads(logged.getvalue())["value"]
    assert logged.getvalue().isascii()


def test_a_json_line_has_what_is_bound_and_what_is_given(logged):
    """
    What is given wins over what is bound, and the time is UTC.
    """
    with structlog.contextvars.bound_contextvars(request_id="r1", kind="bound"):
        logging.getLogger("service.x").warning("odd %s", 1, extra={"kind": "given", "n": None})

    line = json.loads(logged.getvalue())
    assert datetime.fromisoformat(line.pop("timestamp")).tzinfo == UTC
    assert {
        "event": "odd 1", "kind": "given", "request_id": "r1",
        "level": "warning", "logger": "service.x", "n": None,
    } == line  # fmt: skip


@pytest.mark.spawns
@pytest.mark.parametrize(("no_color", "is_plain"), [("", False), ("1", True)])
def test_no_color_is_heeded(no_color, is_plain):
    """
    A terminal gets colors, unless NO_COLOR is set to anything.
    """
    seen, screen = pty.openpty()
    subprocess.run(
        [sys.executable, "-c", WARNS],
        env={"PYTHONPATH": str(ROOT), "NO_COLOR": no_color},
        stderr=screen,
        check=True,
    )
    os.close(screen)
    with open(seen, "rb", buffering=0) as output:
        told = output.read(4096).decode()

    assert (True, is_plain) == ("hello" in told, "\x1b[" not in told)
