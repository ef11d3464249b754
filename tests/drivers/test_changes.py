"""Changes of instances, carried out by a worker on nodes of the drivers themselves."""

import pytest

from service import instance_changes, instances
from service.drivers.skyportd import timing
from service.model.lifecycle import OperationStatus, Power
from service.model.ports import parse
from tests.drivers.test_contract import as_process, on_skyportd
from tests.support import AT_NOON, a_node, a_user, an_image, an_order, free_port, run_due

pytestmark = [pytest.mark.usefixtures("poll_soon"), pytest.mark.heavy]

RUNS = "exec sleep 600"
ENDS = "echo no level; exit 3"


class Place:
    """A node of a real driver, with an instance on it that runs."""

    def __init__(self, store, memory_nodes, driver):
        self.store, self.driver = store, driver
        host = free_port()
        node = a_node(store, memory_nodes)
        order = an_order(
            a_user(store), node, self.image(RUNS), ports=parse(f"{host}:{host}"), primary=host
        )
        self.instance_id = instances.deploy(store, order, origin=AT_NOON)[0]["_id"]
        self.work()

    def image(self, cmd):
        """Add an image that runs a line of shell."""
        return an_image(self.store, cmd=["sh", "-c", cmd])

    def work(self):
        """Carry out all that is due."""
        run_due(self.store, lambda node, authorize: Kept(self.driver))

    def edit(self, **order):
        """Change the instance, and carry that out; answer how the operation ended."""
        _, operation = instance_changes.edit(self.store, self.instance_id, order, origin=AT_NOON)
        self.work()
        return self.store.operations.get(operation["_id"])

    def look(self):
        """Return how the container is: its power, and its size."""
        described = self.driver.describe(self.instance_id)
        return self.driver.status(self.instance_id).power, described.memory_mib


class Kept:
    """A driver that its worker does not close."""

    def __init__(self, driver):
        self._driver = driver

    def __getattr__(self, name):
        """Look at the driver itself."""
        return getattr(self._driver, name)

    def close(self):
        """Leave it open."""


@pytest.fixture(
    params=[
        pytest.param(as_process, id="process", marks=pytest.mark.spawns),
        pytest.param(on_skyportd, id="skyportd"),
    ]
)
def place(request, store, memory_nodes, tmp_path):
    """A place with an instance that runs."""
    with request.param(tmp_path) as (driver, _, prints):
        place = Place(store, memory_nodes, driver)
        # Only the double of a daemon has one that prints.
        place.daemon = prints.args[0] if prints else None
        yield place
        driver.remove(place.instance_id)


def test_a_change_is_made(place):
    """The new container runs with what was wanted."""
    ended = place.edit(memory_mib=96)

    assert (OperationStatus.SUCCEEDED, None) == (ended["status"], ended["error"])
    assert (Power.RUNNING, 96) == place.look()


def test_what_was_stopped_is_changed_and_stays_so(place):
    """A suspended instance is not started by a change, whatever its node does at a creation."""
    instances.suspend(place.store, place.instance_id, origin=AT_NOON)
    place.work()

    ended = place.edit(memory_mib=96)

    assert OperationStatus.SUCCEEDED == ended["status"], ended["error"]
    assert (Power.STOPPED, 96) == place.look()


def test_a_change_that_fails_is_undone(place, monkeypatch):
    """What was there before runs again, with its old size."""
    monkeypatch.setattr(timing, "APPEAR_TIMEOUT_S", 0.2)  # the daemon says INSTALLING for ever
    image = place.image(ENDS)
    if place.daemon:
        place.daemon.missing_images.add(image["image"])

    ended = place.edit(image=image["_id"], memory_mib=96)

    assert OperationStatus.FAILED == ended["status"]
    assert (Power.RUNNING, 128) == place.look()
