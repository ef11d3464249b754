"""Two Docker Engines of the test's own, and workers that are killed while instances move."""

import os
import random
import subprocess
import sys
import time
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from service import drains, instances, transfer_targets
from service.app import make_drivers
from service.drivers.volume_archive import digest
from service.model.drains import DrainStatus
from service.model.lifecycle import InstanceState, OperationKind, OperationStatus, Power
from service.model.ports import parse
from tests.own_engine import OwnEngine
from tests.support import AT_NOON, a_node, a_user, an_image, an_order, eventually

pytestmark = [pytest.mark.fleet, pytest.mark.docker, pytest.mark.spawns, pytest.mark.timeout(900)]

IMAGE = "skyquay-test/python:1"
INSTANCES = 6
LEAST_KILLS = 4
LONG_S = 240.0
"""What a killed worker had begun goes on when its lease has run out."""
WRITES = """
[ -e written ] || {
    /bin/busybox dd if=/dev/urandom of=data bs=64k count=32
    /bin/busybox ln data hard
    /bin/busybox ln -s data soft
    /bin/busybox mkdir -p "odd name/empty"
    echo all is written | /bin/busybox tee written
}
exec sleep 3600
"""


@pytest.fixture(scope="module")
def engines():
    """Two engines that have the image."""
    with ExitStack() as stack:
        made = []
        for _ in range(2):
            # Short: the sockets in it may have 107 characters.
            folder = TemporaryDirectory(prefix="sq", ignore_cleanup_errors=True)
            own = OwnEngine(Path(stack.enter_context(folder)), publishes=True)
            stack.callback(own.stop)
            own.start()
            own.load(IMAGE)
            made.append(own)
        yield made


class Workers:
    """One worker at a time, which can be killed and followed by another."""

    def __init__(self, config, log):
        self._environ = {
            **os.environ,
            "SKYQUAY_MONGODB_URI": config.mongodb_uri,
            "SKYQUAY_DATABASE": config.database,
            "SKYQUAY_DATA_DIR": str(config.data_dir),
            "SKYQUAY_SECRET_KEY": "a secret key of the tests",
            "SKYQUAY_ALLOW_LOOPBACK_NODES": "1",
        }
        self._log = log
        self.kills = 0

    def start(self):
        """Start a worker."""
        skyquay = Path(sys.executable).with_name("skyquay")
        self._process = subprocess.Popen(
            [skyquay, "worker"], env=self._environ, stdout=self._log, stderr=self._log
        )

    def kill(self):
        """Kill it, as it is."""
        self._process.kill()
        self._process.wait(10)
        self.kills += 1


@pytest.fixture
def workers(config, tmp_path):
    """Make the workers; the last of them is killed at the end."""
    with (tmp_path / "workers.log").open("w") as log:
        made = Workers(config, log)
        made.start()
        yield made
        made.kill()


class Fleet:
    """A node for each engine, and instances that have written their files on the first."""

    def __init__(self, store, open_driver, engines):
        self._store = store
        self._open = open_driver
        self.source, self.target = (
            a_node(store, open_driver, driver="docker", name=name, address=own.url)
            for name, own in zip(("source", "target"), engines, strict=True)
        )
        self.before = {}

    def open(self, node):
        """Open the driver of a node."""
        return closing(self._open(node))

    def fill(self):
        """Deploy the instances, and sum up their files once they are written."""
        image = an_image(self._store, image=IMAGE, cmd=["sh", "-c", WRITES])
        user = a_user(self._store)
        for number in range(INSTANCES):
            port = 21000 + number
            order = an_order(user, self.source, image, ports=parse(f"80:{port}"),
                             primary=str(port), memory_mib=32, cpu_milli=100)  # fmt: skip
            self.before[instances.deploy(self._store, order, origin=AT_NOON)[0]["_id"]] = ""
        assert eventually(self._are_ready, timeout_s=LONG_S)
        with self.open(self.source) as driver:
            for name in self.before:
                assert eventually(lambda name=name: is_written(driver, name), timeout_s=60)
                self._change_power(name, OperationKind.STOP, Power.STOPPED)
                self.before[name] = digest(driver.read_volume(name))
                self._change_power(name, OperationKind.START, Power.RUNNING)

    def _change_power(self, name, kind, power):
        instances.change_power(self._store, name, kind, origin=AT_NOON)
        found = partial(self._store.instances.get, name)
        assert eventually(lambda: found()["power"] == power, timeout_s=60)

    def _are_ready(self):
        found = map(self._store.instances.get, self.before)
        return all(each["state"] == InstanceState.READY for each in found)

    def check_single(self):
        """Check that none runs twice, while no worker lives."""
        assert not self._list_running(self.source) & self._list_running(self.target)

    def _list_running(self, node):
        with self.open(node) as driver:
            return {name for name, each in driver.list().items() if each.power == Power.RUNNING}

    def require_moved(self):
        """Check that all run on the target, with all their files, and none is on the source."""
        with self.open(self.source) as driver:
            # What is left goes by operations of its own.
            assert eventually(lambda: not driver.list(), timeout_s=LONG_S)
        assert self.before.keys() == self._list_running(self.target)
        for name in self.before:
            found = self._store.instances.get(name)
            assert (self.target["_id"], Power.RUNNING) == (found["node_id"], found["power"])
            self._change_power(name, OperationKind.STOP, Power.STOPPED)
        with self.open(self.target) as driver:
            assert self.before == {name: digest(driver.read_volume(name)) for name in self.before}

    def clear(self):
        """Remove all instances from both engines."""
        for node in (self.source, self.target):
            with self.open(node) as driver:
                for name in self.before:
                    driver.remove(name)


def is_written(driver, name):
    """Look for what the program prints once it has written all of its files."""
    return "all is written" in driver.logs(name, tail=9)


@pytest.fixture
def fleet(store, config, engines, workers):
    """Both nodes, with all instances on the first."""
    made = Fleet(store, make_drivers(config, store), engines)
    made.fill()
    yield made
    made.clear()


def test_a_drain_ends_whatever_is_killed(store, workers, fleet):
    """All instances are moved, none ever runs twice, and no file is lost."""
    source_id = fleet.source["_id"]
    drains.start(store, source_id, at_once=2, origin=AT_NOON)

    def is_done():
        return drains.read(store, source_id)["status"] == DrainStatus.DONE

    chance = random.Random(18)
    while workers.kills < LEAST_KILLS and not is_done():
        time.sleep(chance.uniform(0.5, 4))
        workers.kill()
        fleet.check_single()
        workers.start()

    assert eventually(is_done, timeout_s=2 * LONG_S)
    assert workers.kills >= LEAST_KILLS
    fleet.require_moved()


def test_transfers_end_whatever_is_killed(store, workers, fleet):
    """Those to a node that is named, and those to whichever takes them."""
    targets = ("auto", fleet.target["_id"]) * 3
    begun = [
        transfer_targets.begin(store, name, node_id=node, origin=AT_NOON)[1]["_id"]
        for name, node in zip(fleet.before, targets, strict=True)
    ]

    def have_ended():
        ended = (OperationStatus.SUCCEEDED, OperationStatus.FAILED)
        return all(store.operations.get(each)["status"] in ended for each in begun)

    chance = random.Random(19)
    while workers.kills < LEAST_KILLS and not have_ended():
        time.sleep(chance.uniform(0.5, 4))
        workers.kill()
        fleet.check_single()
        workers.start()

    assert eventually(have_ended, timeout_s=2 * LONG_S)
    assert {OperationStatus.SUCCEEDED} == {store.operations.get(each)["status"] for each in begun}
    fleet.require_moved()
