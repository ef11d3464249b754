"""A daemon of skyportd that ends between Docker's create and start, and is started again."""

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from service import instances, operations
from service.drivers import ContainerSpec
from service.drivers.skyportd import timing
from service.drivers.skyportd.uptime import find_start
from service.errors import NodeFailure, NodeUnreachable
from service.instances import make_id
from service.model.lifecycle import InstanceState, OperationStatus, Power
from service.model.ports import parse
from tests.fake_skyportd import Container
from tests.support import AT_NOON, NOON, eventually, run_due

pytestmark = pytest.mark.usefixtures("retry_now")


@pytest.fixture
def daemon(daemon):
    """A daemon that runs for hours already, and is well."""
    daemon.age(7200)
    return daemon


@pytest.fixture
def spec():
    """What should run."""
    ports = parse("80:21001")
    return ContainerSpec(
        instance_id=make_id(), image="registry.example.org/java:21", cmd=None, env={},
        memory_mib=512, cpu_milli=1000, ports=ports, primary=ports[0],
        install=(("https://files.example.org/server.jar", "server.jar"),),
    )  # fmt: skip


def create(driver, spec):
    """Create the instance."""
    return driver.create(spec, checkpoint=lambda: None)


def end_midway(daemon, driver, spec, *, ago):
    """Have the daemon end before it starts the container, so many seconds before its restart."""
    daemon.die_before_start = True
    with pytest.raises(NodeFailure):
        create(driver, spec)
    daemon.age(ago)
    daemon.restart()
    return daemon.containers[spec.instance_id].cid


def test_a_container_that_nobody_will_start_is_made_anew(daemon, driver, spec):
    """The state says INSTALLING for ever; the daemon's start after the container tells why."""
    first = end_midway(daemon, driver, spec, ago=120)

    again = create(driver, spec)

    assert (Power.RUNNING, 2, False) == (
        again.power,
        len(daemon.creations),
        first == again.container_id,
    )


def test_a_state_file_that_was_repaired_is_no_refusal(daemon, driver, spec):
    """It knows nothing of the instance: the container is made anew all the same."""
    end_midway(daemon, driver, spec, ago=120)
    daemon.repair_states()

    assert Power.RUNNING == create(driver, spec).power


def test_what_cannot_be_told_yet_is_not_waited_for(daemon, driver, spec):
    """A daemon that tells whole minutes may be older than the container: it is asked again."""
    end_midway(daemon, driver, spec, ago=5)

    with pytest.raises(NodeUnreachable, match="known in a minute"):
        create(driver, spec)

    assert 1 == len(daemon.creations)


def test_its_first_measurement_tells_its_start(daemon, driver, spec):
    """The daemon measures its machine every ten seconds, the first time ten after its start."""
    end_midway(daemon, driver, spec, ago=5)
    daemon.age(12)

    assert Power.RUNNING == create(driver, spec).power


def test_a_container_that_is_still_installed_is_waited_for(daemon, driver, spec):
    """The daemon runs for longer than the container is there: nothing is touched."""
    daemon.install_s = 1.0
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(create, driver, spec)
        assert eventually(lambda: spec.instance_id in daemon.containers)
        second = create(driver, spec)
        assert first.result().container_id == second.container_id

    assert (1, True) == (len(daemon.creations), daemon.is_alive)


def test_a_container_that_starts_while_it_is_looked_at_is_left_alone(daemon, driver, spec):
    """Docker says that it is made, and then the daemon that it is READY: it was started between."""
    container = Container(spec.instance_id, {"Id": spec.instance_id})
    daemon.containers[spec.instance_id] = container
    daemon.states[spec.instance_id] = {"state": "INSTALLING", "containerId": None}
    inspect = ("GET", f"/instances/{spec.instance_id}")
    answer = daemon.answer

    def start(method, path, body):
        if path.startswith("/state/") and daemon.calls.count(inspect) == 2:
            container.status = "running"
            daemon.states[spec.instance_id] = {"state": "READY", "containerId": container.cid}
        return answer(method, path, body)

    daemon.answer = start

    assert (container.cid, []) == (create(driver, spec).container_id, daemon.creations)


def test_a_daemon_that_tells_nothing_is_believed(daemon, driver, spec, monkeypatch):
    """Without statistics a creation that is under way has all its time, as any other."""
    end_midway(daemon, driver, spec, ago=120)
    daemon.stats_error = True
    monkeypatch.setattr(timing, "INSTALL_TIMEOUT_S", 0.3)

    with pytest.raises(NodeFailure, match="did not start"):
        create(driver, spec)


# When it was started

NODE_TIME = datetime(2026, 11, 23, 19, 19, 29, tzinfo=UTC)
DATE = "Mon, 23 Nov 2026 19:19:29 GMT"


def samples(*ago_s):
    """Make measurements of so many seconds before."""
    times = [NODE_TIME - timedelta(seconds=ago) for ago in ago_s]
    return [{"timestamp": f"{time:%Y-%m-%dT%H:%M:%S}.764Z"} for time in times]


@pytest.mark.parametrize(
    ("uptime", "total_stats", "earliest_s", "latest_s"),
    [
        ("0m", [], 60, -1),
        ("20m", [], 21 * 60, 20 * 60 - 1),
        ("3h", [], 181 * 60, 180 * 60 - 1),
        ("2d 1h 1m", [], (2 * 1440 + 62) * 60, (2 * 1440 + 61) * 60 - 1),
        ("0m", samples(95, 85, 75, 21, 11, 1), 33.236, -1),
        ("0m", samples(20, 10), 32.236, -1),
        ("5m", samples(*range(390, 0, -10)), 6 * 60, 5 * 60 - 1),
        ("5m", samples(*range(900, 340, -10), *range(328, 0, -10)), 340.236, 5 * 60 - 1),
        ("0m", [{"timestamp": "never"}, None, {}], 60, -1),
        ("0m", None, 60, -1),
    ],
)
def test_a_start_lies_between_two_times(uptime, total_stats, earliest_s, latest_s):
    """The uptime leaves a minute; a gap in what was measured, three seconds."""
    found = find_start({"uptime": uptime, "totalStats": total_stats}, DATE)

    assert (earliest_s, latest_s) == tuple(
        round((NODE_TIME - bound).total_seconds(), 3) for bound in found
    )


@pytest.mark.parametrize(
    ("stats", "date"),
    [
        ({}, DATE),
        ({"uptime": 7}, DATE),
        ({"uptime": "soon"}, DATE),
        ({"uptime": "99999999999d"}, DATE),
        ({"uptime": "0m"}, ""),
        ({"uptime": "0m"}, "yesterday"),
    ],
)
def test_what_tells_no_start_is_none(stats, date):
    """Nothing is concluded from it."""
    assert find_start(stats, date) is None


# Cancelling and deleting meanwhile


@pytest.fixture
def stuck(store, daemon, ordered):
    """An instance whose daemon ended midway and is back, a moment later."""
    open_driver, order = ordered
    instance, deploy = instances.deploy(store, order, origin=AT_NOON)
    daemon.die_before_start = True
    run_due(store, open_driver)
    daemon.age(5)
    daemon.restart()
    store.operations.retry_now_on_node(order["node_id"])
    run_due(store, open_driver)
    return open_driver, instance["_id"], deploy["_id"]


def test_a_deployment_whose_end_is_open_is_put_off(store, stuck):
    """It holds no thread, and everybody can get at it."""
    deploy = store.operations.get(stuck[2])

    assert OperationStatus.PENDING == deploy["status"]


@pytest.mark.heavy
def test_it_is_deployed_once_the_restart_is_certain(store, stuck, daemon):
    """However often it was put off before."""
    open_driver, instance_id, deploy_id = stuck
    for _ in range(8):
        store.operations.retry_now(deploy_id)
        run_due(store, open_driver)
    daemon.age(60)
    store.operations.retry_now(deploy_id)

    run_due(store, open_driver)

    assert InstanceState.READY == store.instances.get(instance_id)["state"]


def test_it_can_be_cancelled_at_once(store, stuck):
    """Nothing is waited for."""
    cancelled = operations.cancel(store, stuck[2], now=NOON)

    assert (OperationStatus.CANCELLED, InstanceState.FAILED) == (
        cancelled["status"],
        store.instances.get(stuck[1])["state"],
    )


def test_a_cancelled_one_holds_the_node_no_longer_than_needed(store, stuck):
    """Two leases, and the wait before the attempt that does not come: not a minute more."""
    operations.cancel(store, stuck[2], now=NOON)

    [node] = store.nodes.all()
    held_s = (node["deploying"]["until"] - store.server_time()).total_seconds()
    assert held_s <= 2 * 30 + 2


def test_it_can_be_deleted_at_once(store, stuck, daemon):
    """Its container is there, so that none can appear later; and the node is free again."""
    open_driver, instance_id, _ = stuck
    node_id = store.instances.get(instance_id)["node_id"]
    began = time.monotonic()
    instances.delete(store, instance_id, origin=AT_NOON)

    run_due(store, open_driver)

    assert (None, {}, None) == (
        store.instances.find(instance_id),
        daemon.containers,
        store.nodes.get(node_id)["deploying"],
    )
    assert time.monotonic() - began < 20
