"""What `--quick` leaves out, and what keeps it quick."""

from collections.abc import Iterator, Set
from typing import Any

import pytest
from pymongo import monitoring

LEFT_OUT = frozenset({"docker", "heavy", "spawns"})
"""Marks of tests that `make test` runs, and a quick run does not."""

COMMANDS = 200
"""How many commands a test of a quick run may send to the database.

One that sends half as many is marked `heavy` already: on a busy machine it may have to repeat some.
"""

UNCOUNTED = frozenset({"database_name", "store"})
"""Fixtures that send more or fewer of them by what the test before left in the database."""


class Selection:
    """Deselects tests with these marks, and of those with a database all examples but the first."""

    def __init__(self, left_out: Set[str]) -> None:
        self._left_out = left_out
        self._seen: set[str] = set()

    def _has_place(self, item: pytest.Item) -> bool:
        if any(mark.name in self._left_out for mark in item.iter_markers()):
            return False
        if "mongod_uri" not in getattr(item, "fixturenames", ()):
            return True
        function = item.nodeid.partition("[")[0]
        is_first = function not in self._seen
        self._seen.add(function)
        return is_first

    @pytest.hookimpl(trylast=True)  # of what other options select, it takes the first
    def pytest_collection_modifyitems(
        self, config: pytest.Config, items: list[pytest.Item]
    ) -> None:
        """Keep what has a place in a quick run."""
        kept, deselected = [], []
        for item in items:
            (kept if self._has_place(item) else deselected).append(item)
        config.hook.pytest_deselected(items=deselected)
        items[:] = kept


class CommandLimit(monitoring.CommandListener):
    """Fails a test that sends too many commands to the database.

    Commands count and not seconds, so that a test fails everywhere or nowhere. Whoever waits for
    changes asks for more of them again and again: that does not count.
    """

    def __init__(self, limit: int = COMMANDS) -> None:
        self._limit = limit
        self._sent = 0

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        """Count it."""
        if event.command_name != "getMore":
            self._sent += 1

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        """Was counted."""

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        """Was counted."""

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[Any]) -> Iterator[None]:
        """Count nothing of what other tests of the worker have as well."""
        before = self._sent
        result = yield
        if fixturedef.scope == "session" or fixturedef.argname in UNCOUNTED:
            self._sent = before
        return result

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self) -> None:
        """Begin to count."""
        self._sent = 0

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self) -> Iterator[None]:
        """Compare."""
        result = yield
        if self._sent > self._limit:
            pytest.fail(
                f"It sent {self._sent} commands to the database, and a test of `make quick` sends "
                f"{self._limit} at the most: mark it with `heavy`.",
                pytrace=False,
            )
        return result
