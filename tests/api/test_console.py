"""The files of the console: what they may do, and what they call."""

import re
from pathlib import Path

import pytest

import service.api.console
from tests.support import SPEC

FILES = sorted(Path(service.api.console.__file__).with_name("console_page").iterdir())
SOURCES = {path.name: path.read_text() for path in FILES}
MOST_LINES = 1500


def read_status(api, path):
    """Return the status of a file, without a key."""
    with api.flask.get(path) as answer:
        return answer.status_code


def test_it_needs_no_key(api):
    """
    Everybody may load the page and its parts: they hold nothing but the program.
    """
    paths = ["/console", "/console/", *(f"/console/{name}" for name in SOURCES)]

    assert dict.fromkeys(paths, 200) == {path: read_status(api, path) for path in paths}


@pytest.mark.parametrize("path", ["/console/nothing.js", "/console/%2e%2e/console.py"])
def test_nothing_else_is_served(api, path):
    """
    What is not a file of the page is a 404.
    """
    assert 404 == read_status(api, path)


def test_it_may_do_little(api):
    """
    It runs its own scripts, calls its own origin, and can make nothing of text but text.
    """
    with api.flask.get("/console/") as answer:
        policy = dict(
            part.strip().partition(" ")[::2]
            for part in answer.headers["Content-Security-Policy"].split(";")
        )

    assert {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self'",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
        "require-trusted-types-for": "'script'",
        "trusted-types": "'none'",
    } == policy


def test_scripts_are_called_scripts(api):
    """
    Browsers run no module whose type is guessed.
    """
    with api.flask.get("/console/app.js") as answer:
        kind = answer.headers["Content-Type"]

    assert "text/javascript; charset=utf-8" == kind


def test_it_stays_small():
    """
    All of it can be read in an hour.
    """
    lines = sum(len(text.splitlines()) for text in SOURCES.values())

    assert lines < MOST_LINES


def test_each_module_says_what_it_is():
    """
    Each begins with a comment: the one thing that it does.
    """
    assert [] == [
        name for name, text in SOURCES.items() if name.endswith(".js") and text[:3] != "// "
    ]


def test_it_names_no_other_host():
    """
    There is no address in it but the name of SVG.
    """
    found = {each for text in SOURCES.values() for each in re.findall(r"https?://[\w./]+", text)}

    assert {"http://www.w3.org/2000/svg"} == found


def test_it_calls_the_public_api_alone():
    """
    Each path that it calls is one of the OpenAPI document.
    """
    known = {re.sub(r"\{\w+\}", "*", path) for path in SPEC["paths"]}
    called = {
        re.sub(r"\$\{\w+(\.\w+)*\}", "*", path)
        for text in SOURCES.values()
        for path in re.findall(r"[\"`](/api/[^\"`?]*)[\"`]", text)
    }
    variable = {"/api/instances/*/*", "/api/operations/*/*"}  # which of several

    assert "/api/instances" in called
    assert set() == called - known - variable
