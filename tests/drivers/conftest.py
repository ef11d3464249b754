"""A fixture for the tests of several drivers."""

import pytest

from service.drivers.skyportd import console, timing


@pytest.fixture
def poll_soon(monkeypatch):
    """Look at a daemon in hundredths of seconds, as fast as its double is."""
    monkeypatch.setattr(timing, "STEADY_S", 0.05)
    monkeypatch.setattr(timing, "POLL_S", 0.02)
    monkeypatch.setattr(console, "QUIET_S", 0.2)
