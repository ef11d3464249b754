"""How instances are transferred, or stay where they were, on nodes in memory, with a database."""

from contextlib import suppress
from copy import copy
from datetime import datetime

import pytest

from service import instances, nodes, operations, transfers
from service.errors import NodeRefused
from service.model.lifecycle import InstanceState, NodeStatus, OperationKind, OperationStatus, Power
from service.model.ports import parse
from service.worker.carry_out import MAX_ATTEMPTS, carry_out
from service.worker.job import claim
from service.worker.reconcile import PURSUE_AGAIN_AFTER, reconcile
from tests.support import AT_NOON, NOON, a_node, a_user, an_image, an_order, run_due

FILES = ["world", "späße", "logs/latest"]
NOTHING = {"instances": 0, "memory_mib": 0, "cpu_milli": 0, "disk_mib": 0}
ONE = {"instances": 1, "memory_mib": 128, "cpu_milli": 1000, "disk_mib": 0}


class Fleet:
    """Two nodes, an instance that runs on the first, and what becomes of it."""

    def __init__(self, store, memory_nodes, *, pulls=False):
        self.store, self.drivers = store, memory_nodes
        self.source = a_node(store, memory_nodes, ram="1024M")["_id"]
        self.target = a_node(store, memory_nodes, ram="1024M")["_id"]
        self.here, self.there = memory_nodes[self.source], memory_nodes[self.target]
        self.here.pulls = self.there.pulls = pulls
        self.image = an_image(store)
        node = store.nodes.get(self.source)
        order = an_order(a_user(store), node, self.image, ports=parse("80:8080"))
        self.instance = instances.deploy(store, order, origin=AT_NOON)[0]["_id"]
        run_due(store, memory_nodes)
        self.here.volumes[self.instance] += FILES
        self.operation = None
        self.most_running = 1
        """At any time, as far as it was looked at: after each call of a node."""

    def begin(self):
        """Take on the transfer."""
        self.operation = transfers.begin(
            self.store, self.instance, node_id=self.target, origin=AT_NOON
        )[1]["_id"]

    def work(self, drivers=None):
        """Carry out all that is due."""
        return run_due(self.store, drivers or self.drivers)

    def one_turn(self):
        """Carry out one operation that is due."""
        job = claim(
            self.store,
            self.store.claims.look(),
            node_operations=4,
            lease_s=30.0,
            now=lambda: NOON,
        )
        carry_out(job, self.drivers)

    def settle(self):
        """Let all nodes answer and time pass, and work until nothing is left to do."""
        for each in (self.here, self.there):
            each.faults.behave()
        for _ in range(3):
            for node_id in (self.source, self.target):
                if self.store.nodes.find(node_id) is None:
                    continue
                self.store.nodes.update(node_id, {"status": NodeStatus.ONLINE})
                self.store.operations.retry_now_on_node(node_id)
            self.work()
            for node_id in (self.source, self.target):
                node = self.store.nodes.find(node_id)
                if node is not None:
                    reconcile(self.store, self.drivers, node, now=NOON + 2 * PURSUE_AGAIN_AFTER)

    def ended(self):
        """Return how the transfer ended."""
        return self.store.operations.get(self.operation)["status"]

    def count_running(self):
        """Count the containers of the instance that run."""
        return sum(
            container.power == Power.RUNNING
            for node in (self.here, self.there)
            for container in node.containers.values()
        )

    def check_agreement(self, *, runs=True):
        """See that the instance is on one node with all of its files, and nothing is left over."""
        assert 1 == self.most_running
        document = self.store.instances.get(self.instance)
        at, other = (
            (self.here, self.there)
            if document["node_id"] == self.source
            else (self.there, self.here)
        )
        assert [self.instance] == list(at.containers)
        assert {self.instance: FILES} == at.volumes
        power = Power.RUNNING if runs else Power.STOPPED
        assert (power, power) == (at.containers[self.instance].power, document["power"])
        assert ({}, {}) == (other.containers, other.volumes)
        assert document["state"] == InstanceState.READY
        assert document.get("arrival") is None
        assert document["ports"] == [pair["host"] for pair in document["port_map"]]
        allocated = {
            each: self.store.nodes.get(each)["allocated"] for each in (self.source, self.target)
        }
        assert {at.node_id: ONE, other.node_id: NOTHING} == allocated
        assert at.containers[self.instance].spec.primary.host == document["primary_port"]
        wanted = OperationStatus.SUCCEEDED if at is self.there else None
        assert wanted in (None, self.ended())
        return at is self.there


@pytest.fixture
def fleet(store, memory_nodes):
    """Two nodes and an instance."""
    return Fleet(store, memory_nodes)


@pytest.mark.heavy
def test_it_runs_on_the_other_node_with_its_files(fleet):
    """And nothing is left on the first."""
    fleet.begin()

    fleet.work()

    assert OperationStatus.SUCCEEDED == fleet.ended()
    assert fleet.check_agreement()
    copied = fleet.store.operations.get(fleet.operation)["transfer"]["bytes_copied"]
    assert copied > sum(map(len, FILES))


@pytest.mark.heavy
def test_it_comes_back(fleet):
    """A node that an instance left takes it again."""
    fleet.begin()
    fleet.work()

    transfers.begin(fleet.store, fleet.instance, node_id=fleet.source, origin=AT_NOON)
    fleet.work()

    assert not fleet.check_agreement()


@pytest.mark.heavy
def test_a_stopped_one_stays_stopped(fleet):
    """A transfer starts nothing."""
    instances.change_power(fleet.store, fleet.instance, OperationKind.STOP, origin=AT_NOON)
    fleet.work()
    fleet.begin()

    fleet.work()

    assert fleet.check_agreement(runs=False)


@pytest.mark.heavy
def test_a_suspended_one_stays_stopped(fleet):
    """On both nodes, all the time."""
    instances.suspend(fleet.store, fleet.instance, origin=AT_NOON)
    fleet.begin()

    fleet.work()

    assert fleet.check_agreement(runs=False)


@pytest.mark.heavy
def test_wishes_that_come_meanwhile_are_granted_at_its_end(fleet):
    """Whoever suspends it while it is transferred finds it stopped, there."""
    fleet.begin()
    instances.suspend(fleet.store, fleet.instance, origin=AT_NOON)

    fleet.work()

    assert fleet.check_agreement(runs=False)


@pytest.mark.heavy
def test_a_program_that_does_not_start_there_runs_here(fleet):
    """The transfer failed, and is undone."""
    fleet.there.short_lived_images.add(fleet.image["image"])
    fleet.begin()

    fleet.work()

    assert OperationStatus.FAILED == fleet.ended()
    assert not fleet.check_agreement()
    assert "ended as soon" in fleet.store.operations.get(fleet.operation)["error"]


def test_a_pull_that_fails_stops_nothing(store, memory_nodes):
    """An image that cannot be fetched there costs the running program not a moment."""
    fleet = Fleet(store, memory_nodes, pulls=True)
    fleet.there.refused_pull = "no such image"
    fleet.begin()

    fleet.work()

    assert (OperationStatus.FAILED, 1) == (fleet.ended(), fleet.here.created)
    assert not fleet.check_agreement()
    steps = fleet.store.operations.get(fleet.operation)["steps"]
    assert ["pull"] == [step["name"] for step in steps]


@pytest.mark.heavy
def test_files_that_differ_are_no_transfer(fleet):
    """A node that says that it wrote down what it did not is found out."""
    fleet.begin()
    write, fleet_there = fleet.there.write_volume, fleet.there

    def forgetful(instance_id, archive, **options):
        write(instance_id, archive, **options)
        fleet_there.volumes[instance_id].pop()

    for _ in range(MAX_ATTEMPTS + 1):
        run_due(fleet.store, Wrapped(fleet, {"write_volume": forgetful}))
        fleet.store.operations.retry_now(fleet.operation)
    fleet.work()

    assert OperationStatus.FAILED == fleet.ended()
    assert "differ" in fleet.store.operations.get(fleet.operation)["error"]
    assert not fleet.check_agreement()


@pytest.mark.heavy
def test_a_target_that_falls_silent_is_left(fleet):
    """The program does not wait for ever to run again; what is left there goes when it answers."""
    fleet.begin()
    fleet.there.faults.silence()
    for _ in range(MAX_ATTEMPTS + 1):
        fleet.work()
        fleet.store.operations.retry_now(fleet.operation)
    fleet.work()

    assert OperationStatus.FAILED == fleet.ended()
    assert 1 == fleet.count_running()
    fleet.settle()
    assert not fleet.check_agreement()


@pytest.mark.heavy
def test_a_target_that_may_run_it_is_waited_for_whatever_it_says(fleet):
    """An engine that says no to all has started it: it is not started here as well."""
    fleet.begin()

    def start_and_fall_ill(*args, **options):
        fleet.there.power(*args, **options)
        fleet.there.faults.refuse()
        raise NodeRefused(fleet.target, "no")

    fleet.work(Wrapped(fleet, {"power": start_and_fall_ill}))
    instances.change_power(fleet.store, fleet.instance, OperationKind.START, origin=AT_NOON)
    for _ in range(MAX_ATTEMPTS + 1):
        fleet.work()
        fleet.store.operations.retry_now(fleet.operation)

    assert OperationStatus.PENDING == fleet.ended()
    assert Power.STOPPED == fleet.here.containers[fleet.instance].power
    fleet.settle()
    assert OperationStatus.FAILED == fleet.ended()
    assert not fleet.check_agreement()


@pytest.mark.heavy
def test_a_source_that_goes_down_after_the_copy_is_not_waited_for(fleet):
    """What is left there goes when it answers again, and never runs."""
    fleet.begin()
    drivers = Wrapped(fleet, {"source goes down": True})

    fleet.work(drivers)
    assert OperationStatus.SUCCEEDED == fleet.ended()
    assert Power.RUNNING == fleet.there.containers[fleet.instance].power
    assert Power.STOPPED == fleet.here.containers[fleet.instance].power

    fleet.settle()
    assert fleet.check_agreement()


class Killed(BaseException):
    """The worker was killed."""


class Wrapped:
    """Opens nodes of which something special becomes, and never lets two programs run."""

    def __init__(self, fleet, special=None, *, kill_at=None, then=None):
        self.fleet, self.special = fleet, special or {}
        self.kill_at, self.then = kill_at, then
        self.calls = 0
        self.did = False

    def __call__(self, node, *, authorize=lambda: None):
        """Open a node."""
        return _Driver(self, node["_id"], self.fleet.drivers(node, authorize=authorize))

    def call(self, node_id, name, work, args, options):
        """Make a call, and perhaps die after it, which is before the next one."""
        self.calls += 1
        number = self.calls  # what it calls in its turn is counted too
        result = self.make(node_id, name, work, args, options)
        self.fleet.most_running = max(self.fleet.most_running, self.fleet.count_running())
        if number == self.kill_at:
            self.strike()
        return result

    def make(self, node_id, name, work, args, options):
        """Make a call as the test wants it."""
        if node_id == self.fleet.target and name in self.special:
            return self.special[name](*args, **options)
        if node_id is None:
            return work(*args, **options)
        copied = self.fleet.store.operations.get(self.fleet.operation)["node_id"] != node_id
        if copied and "source goes down" in self.special and node_id == self.fleet.source:
            self.fleet.here.faults.silence()
        return work(*args, **options)

    def strike(self):
        """Do what is to be done at this moment."""
        self.did = True
        if self.then is None:
            raise Killed
        self.then()


class _Driver:
    def __init__(self, wrapped, node_id, driver):
        self._wrapped, self._node_id, self._driver = wrapped, node_id, driver

    def __getattr__(self, name):
        found = getattr(self._driver, name)
        if not callable(found) or name in ("close", "reach", "authorize"):
            return found
        return lambda *args, **options: self._wrapped.call(
            self._node_id, name, found, args, options
        )


def expire_leases(database):
    """Let the worker's lease run out."""
    long_ago = datetime(2000, 1, 1)
    database["operations"].update_many(
        {"lease": {"$ne": None}}, {"$set": {"lease.until": long_ago}}
    )


MOMENTS = range(1, 60)
"""The calls of nodes and the writes of a transfer are fewer."""


class _Claims:
    """The store's claims, each write of which is a moment too."""

    def __init__(self, claims, drivers):
        self._claims, self._drivers = claims, drivers

    def __getattr__(self, name):
        found = getattr(self._claims, name)
        if name in ("look", "take", "renew"):
            return found

        def call(*args, **options):
            # Within a transaction nobody else writes, and a kill is as one before it.
            if options.get("session") is not None:
                return found(*args, **options)
            return self._drivers.call(None, name, found, args, options)

        return call


def each_moment(store, memory_nodes, strike, *, spoil=False):
    """Do something after each call of a node and each write, to a new fleet; yield it then."""
    for moment in MOMENTS:
        fleet = Fleet(store, memory_nodes, pulls=True)
        if spoil:
            fleet.there.short_lived_images.add(fleet.image["image"])
        fleet.begin()
        then = None if strike is None else (lambda fleet=fleet: strike(fleet))
        drivers = Wrapped(fleet, kill_at=moment, then=then)
        watched = copy(store)
        watched.claims = _Claims(store.claims, drivers)
        with suppress(Killed):
            run_due(watched, drivers)
        yield fleet
        if not drivers.did:
            return
        _forget(store)
    raise AssertionError("There are more moments than were tried.")


def _forget(store):
    for node in store.nodes.all():
        nodes.delete(store, node["_id"], force=True, now=NOON)


@pytest.mark.slow
@pytest.mark.parametrize("spoil", [False, True])
def test_whoever_takes_over_ends_it(store, memory_nodes, database, spoil):
    """A worker that is killed at any call leaves nothing that runs twice, and loses nothing."""
    for fleet in each_moment(store, memory_nodes, None, spoil=spoil):
        expire_leases(database)
        fleet.work(Wrapped(fleet))
        expire_leases(database)
        fleet.settle()

        assert fleet.check_agreement() is not spoil


@pytest.mark.slow
def test_a_cancellation_after_a_crash(store, memory_nodes, database):
    """What may run on the target is ended before the program runs where it was."""
    for fleet in each_moment(store, memory_nodes, None):
        if fleet.ended() in (OperationStatus.PENDING, OperationStatus.RUNNING):
            operations.cancel(fleet.store, fleet.operation, now=NOON)
        expire_leases(database)
        fleet.work(Wrapped(fleet))
        fleet.settle()

        moved = fleet.check_agreement()
        wanted = OperationStatus.SUCCEEDED if moved else OperationStatus.CANCELLED
        assert wanted == fleet.ended()


@pytest.mark.slow
@pytest.mark.parametrize("spoil", [False, True])
@pytest.mark.parametrize("which", ["here", "there"])
def test_a_node_that_falls_silent_at_any_moment(store, memory_nodes, which, spoil):
    """It ends on one node or the other, once both answer."""
    for fleet in each_moment(
        store, memory_nodes, lambda it: getattr(it, which).faults.silence(), spoil=spoil
    ):
        for _ in range(2 * MAX_ATTEMPTS):
            fleet.store.operations.retry_now(fleet.operation)
            if not fleet.work(Wrapped(fleet)):
                break  # nothing is due any more
        fleet.settle()

        fleet.check_agreement()


@pytest.mark.slow
def test_a_cancellation_at_any_moment(store, memory_nodes):
    """It is undone, or done already."""

    def cancel(fleet):
        if fleet.ended() in (OperationStatus.PENDING, OperationStatus.RUNNING):
            operations.cancel(fleet.store, fleet.operation, now=NOON)

    for fleet in each_moment(store, memory_nodes, cancel):
        fleet.work(Wrapped(fleet))
        fleet.settle()

        moved = fleet.check_agreement()
        wanted = OperationStatus.SUCCEEDED if moved else OperationStatus.CANCELLED
        assert wanted == fleet.ended()


@pytest.mark.slow
@pytest.mark.parametrize("delete", [instances.delete, instances.delete_by_force])
def test_a_deletion_at_any_moment(store, memory_nodes, delete):
    """Nothing is left on either node, and nothing is held."""

    def strike(fleet):
        if fleet.store.instances.find(fleet.instance) is not None:
            delete(fleet.store, fleet.instance, origin=AT_NOON)

    for fleet in each_moment(store, memory_nodes, strike):
        if fleet.store.instances.find(fleet.instance) is not None and fleet.ended() not in (
            OperationStatus.SUPERSEDED,
        ):
            strike(fleet)  # the last one, which nothing struck
        fleet.settle()

        assert fleet.store.instances.find(fleet.instance) is None
        assert [{}] * 4 == [
            fleet.here.containers,
            fleet.here.volumes,
            fleet.there.containers,
            fleet.there.volumes,
        ]
        assert [NOTHING] * 2 == [
            fleet.store.nodes.get(each)["allocated"] for each in (fleet.source, fleet.target)
        ]


@pytest.mark.slow
def test_a_target_that_is_forgotten_at_any_moment(store, memory_nodes):
    """The instance is where it was, or is forgotten with the node that it was on by then."""

    def forget(fleet):
        nodes.delete(fleet.store, fleet.target, force=True, now=NOON)

    for fleet in each_moment(store, memory_nodes, forget):
        if fleet.store.instances.find(fleet.instance) is None:
            continue
        for _ in range(2 * MAX_ATTEMPTS):
            fleet.store.operations.retry_now(fleet.operation)
            fleet.work()

        document = fleet.store.instances.get(fleet.instance)
        if document["node_id"] == fleet.source:
            assert Power.RUNNING == fleet.here.containers[fleet.instance].power
            assert (FILES, None) == (
                fleet.here.volumes[fleet.instance],
                document["arrival"],
            )
            assert ONE == fleet.store.nodes.get(fleet.source)["allocated"]
