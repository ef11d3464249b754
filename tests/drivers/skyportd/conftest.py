"""Fixtures of the tests of skyportd: the double of a node daemon, and its driver."""

import pytest

from service.app import make_drivers
from service.drivers.skyportd import timing
from service.drivers.skyportd.daemon import Skyportd
from service.security.vault import Vault
from tests.fake_skyportd import FakeSkyportd
from tests.support import a_node, a_user, an_image, an_order


@pytest.fixture
def retry_now(poll_soon, monkeypatch):
    """Wait for the daemon in tenths of seconds, not in minutes."""
    monkeypatch.setattr(timing, "APPEAR_TIMEOUT_S", 0.5)
    monkeypatch.setattr(timing, "SETTLE_TIMEOUT_S", 0.5)
    monkeypatch.setattr(timing, "GLITCH_S", 0.3)
    monkeypatch.setattr(timing, "CHECKPOINT_EVERY_S", 0.1)


@pytest.fixture
def daemon():
    """A daemon that is well."""
    with FakeSkyportd() as daemon:
        yield daemon


@pytest.fixture
def driver(daemon):
    """Its driver."""
    driver = Skyportd(
        "node", base_url=daemon.url, key=daemon.key, connect_timeout_s=1, read_timeout_s=2
    )
    yield driver
    driver.close()


@pytest.fixture
def ordered(store, config, daemon):
    """The drivers, and an order for an instance on a node of this daemon."""
    open_driver = make_drivers(config)
    node = a_node(
        store, open_driver, driver="skyportd", address="127.0.0.1", port=daemon.port,
        api_key=daemon.key, vault=Vault(config.secret_key),
    )  # fmt: skip
    order = an_order(a_user(store), node, an_image(store))
    return open_driver, order
