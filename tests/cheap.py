"""Fixtures that make cheap or quick what many tests do, and none of them is about."""

from functools import cache

import argon2
import bcrypt
import pytest
from werkzeug.routing import Rule

from service import app, users
from service.drivers.skyportd import console, timing
from service.worker import watch


@pytest.fixture(scope="session", autouse=True)
def cheap_hashes():
    """Hash passwords with little effort: thousands of users are made."""
    before = users._hasher, users._nobodys_hash
    users._hasher = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    cheap = bcrypt.hashpw(b"nobody", bcrypt.gensalt(4)).decode()
    users._nobodys_hash = lambda: cheap
    yield
    users._hasher, users._nobodys_hash = before


@pytest.fixture(scope="session", autouse=True)
def cheap_apps():
    """Compile each route once, and look up the version once: hundreds of apps have the same."""
    compile_rule, version = Rule.compile, app.version
    compiled = {}

    def look_up(rule):
        key = (rule.rule, rule.subdomain, rule.host, repr(rule.defaults), rule.merge_slashes)
        if key not in compiled:
            compile_rule(rule)
            compiled[key] = {
                name: getattr(rule, name)
                for name in ("_parts", "_trace", "_converters", "arguments")
            } | {name: getattr(rule, name).__func__ for name in ("_build", "_build_unknown")}
            return
        for name, value in compiled[key].items():
            setattr(rule, name, value.__get__(rule) if callable(value) else value)

    Rule.compile, app.version = look_up, cache(version)
    yield
    Rule.compile, app.version = compile_rule, version


@pytest.fixture(scope="session", autouse=True)
def brief_reads():
    """Have whoever follows a node look often whether it is to leave: its test waits for that."""
    before = watch.READ_S
    watch.READ_S = 0.05
    yield
    watch.READ_S = before


@pytest.fixture
def poll_soon(monkeypatch):
    """Look at a daemon in hundredths of seconds, as fast as its double is."""
    monkeypatch.setattr(timing, "STEADY_S", 0.05)
    monkeypatch.setattr(timing, "POLL_S", 0.02)
    monkeypatch.setattr(console, "QUIET_S", 0.2)
