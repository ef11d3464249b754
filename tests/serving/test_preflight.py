"""What `make run` looks for before it installs anything."""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from service.serving import preflight
from tests.support import need

pytestmark = pytest.mark.spawns

ROOT = Path(__file__).resolve().parent.parent.parent
EVERYTHING = "curl libcurl4 python3-venv"


@pytest.fixture
def taken():
    """An address that another program has."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"


def look(*words, **env):
    """Run it as the Makefile does, in a Python without our packages; answer status and output."""
    done = subprocess.run(
        [sys.executable, "-S", "-B", "-m", "service.serving.preflight", *words],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "SKYQUAY_LISTEN": "127.0.0.1:0", **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_a_machine_that_has_everything_is_let():
    """
    Nothing is said where nothing is missing.
    """
    need("curl")

    assert (0, "") == look()


@pytest.mark.parametrize("as_word", [True, False])
def test_a_taken_address_is_said(taken, as_word):
    """
    One sentence has the address and all ways to choose another.
    """
    status, told = look(taken) if as_word else look(SKYQUAY_LISTEN=taken)

    assert 1 == status
    assert told == (
        f"Error: Cannot serve on {taken}: Address already in use; choose another address with "
        "--listen, SKYQUAY_LISTEN, or `make run LISTEN=HOST:PORT`.\n"
    )


def test_what_is_missing_is_one_command(monkeypatch):
    """
    A bare Debian is told everything at once.
    """

    def refuse(name):
        raise OSError(name)

    monkeypatch.setattr(preflight.shutil, "which", lambda program: None)
    monkeypatch.setattr(preflight, "find_spec", lambda module: None)
    monkeypatch.setattr(preflight.ctypes, "CDLL", refuse)
    monkeypatch.setattr(preflight.platform, "machine", lambda: "x86_64")

    told = preflight.find_problem("127.0.0.1:0")

    assert f'Error: Something is missing: run "apt-get install {EVERYTHING}".' == told


def test_a_database_of_your_own_needs_no_library(monkeypatch):
    """
    The library is the private database's.
    """
    monkeypatch.setattr(preflight.ctypes, "CDLL", lambda name: 1 / 0)
    monkeypatch.setenv("SKYQUAY_MONGODB_URI", "mongodb://db.example.org")

    told = preflight.find_problem("127.0.0.1:0")

    assert "libcurl4" not in (told or "")


@pytest.fixture
def checkout(tmp_path):
    """What `make run` reads, in a folder of its own, where nothing is installed."""
    for name in ("Makefile", "pyproject.toml", "requirements-embedded.lock"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "service", tmp_path / "service")
    return tmp_path


def test_make_run_tries_the_address_before_it_installs(checkout, taken):
    """
    Who finds the address taken has not waited for an installation.
    """
    done = subprocess.run(
        [need("make"), "run", f"LISTEN={taken}"],
        cwd=checkout,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (2, True) == (done.returncode, f"Cannot serve on {taken}" in done.stderr)
    assert "Installing" not in done.stdout
    assert not (checkout / ".venv").exists()


def test_make_run_hands_the_address_on(checkout):
    """
    What is installed already is started at the address that make is given.
    """
    skyquay = checkout / ".venv" / "bin" / "skyquay"
    skyquay.parent.mkdir(parents=True)
    skyquay.write_text('#!/bin/sh\necho "$@"\n')
    skyquay.chmod(0o755)
    skyquay.with_name("python").touch()
    (checkout / ".venv" / "installed").touch()

    done = subprocess.run(
        [need("make"), "--no-print-directory", "run", "LISTEN=127.0.0.1:8081"],
        cwd=checkout,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert "up --listen 127.0.0.1:8081\n" == done.stdout
