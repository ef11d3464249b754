"""Deletions that are undone while others do the same, or the opposite, on the real database."""

import pytest

from service import deletions, instances, nodes, transfers
from service.errors import NotFound, NotRestorable, PortTaken
from service.model.lifecycle import InstanceState
from service.model.ports import parse
from tests.store.test_races import RACERS, kinds, race
from tests.support import AT_NOON, FAR, a_node, a_user, an_image, an_order, run_due

pytestmark = pytest.mark.heavy


@pytest.fixture
def node(store, memory_nodes):
    """A node with room for many."""
    return a_node(store, memory_nodes, ram="64")


@pytest.fixture
def order(store, node):
    """An order for an instance there."""
    return an_order(a_user(store), node, an_image(store))


@pytest.fixture
def running(store, memory_nodes, order):
    """An instance that runs."""
    instance, _ = instances.deploy(store, order, origin=AT_NOON)
    run_due(store, memory_nodes)
    return instance["_id"]


def keep(store, instance_id):
    """Delete it so that it can be restored."""
    return instances.delete(store, instance_id, keep_s=60, origin=AT_NOON)


def restore(store, instance_id, **order):
    """Undo that."""
    return deletions.restore(store, instance_id, order, origin=AT_NOON)


def agree(store, memory_nodes, node, instance_id):
    """Find one instance at the most, once, whose place is counted, and whose container is so."""
    run_due(store, memory_nodes)
    homes = [home.find(instance_id) for home in (store.instances, store.deleted)]
    found = [each for each in homes if each is not None]
    allocated = store.nodes.get(node["_id"])["allocated"]
    assert (len(found), 128 * len(found)) == (allocated["instances"], allocated["memory_mib"])
    powers = {name: c.power for name, c in memory_nodes[node["_id"]].containers.items()}
    assert {each["_id"]: each["power"] for each in found} == powers
    return found


def test_many_restore_it_once(store, memory_nodes, node, running):
    """The others are told that it is not deleted."""
    keep(store, running)

    outcomes = race(lambda _: restore(store, running))

    assert {"done": 1, "NotRestorable": RACERS - 1} == kinds(outcomes)
    [found] = agree(store, memory_nodes, node, running)
    assert InstanceState.READY == found["state"]


def test_many_delete_it_once(store, memory_nodes, node, running):
    """The others do not find it any more."""
    outcomes = race(lambda _: keep(store, running))

    assert {"done": 1, "NotFound": RACERS - 1} == kinds(outcomes)
    [found] = agree(store, memory_nodes, node, running)
    assert InstanceState.DELETED == found["state"]


def test_deletions_and_restorations_cross(store, memory_nodes, node, running):
    """Whoever comes last, it is in one place, with one container that does as that says."""
    acts = (keep, restore)

    outcomes = race(lambda number: acts[number % 2](store, running))

    errors = [each for each in outcomes if isinstance(each, Exception)]
    assert [] == [each for each in errors if not isinstance(each, (NotFound, NotRestorable))]
    assert 1 == len(agree(store, memory_nodes, node, running))


@pytest.mark.parametrize("turn", range(5))
def test_a_restoration_and_a_purge_cross(store, memory_nodes, node, running, turn):
    """Either it is restored, and stays, or it is purged, and nobody was told otherwise."""
    keep(store, running)
    kept = store.deleted.get(running)

    def act(number):
        if number % 2:
            return restore(store, running)
        return deletions.purge(store, kept, now=FAR)

    outcomes = race(act, racers=10)

    restored = [each for each in outcomes if isinstance(each, tuple)]
    purged = [each for each in outcomes if each is True]
    assert 1 == len(restored) + len(purged)
    assert bool(restored) == bool(agree(store, memory_nodes, node, running))


def test_one_of_many_gets_the_port_again(store, memory_nodes, node, order):
    """Those that had one after the other are all kept; the others are told that it is taken."""
    kept = []
    for _ in range(5):
        instance, _ = instances.deploy(store, order, origin=AT_NOON)
        run_due(store, memory_nodes)
        kept.append(instance["_id"])
        keep(store, instance["_id"])
        run_due(store, memory_nodes)

    outcomes = race(lambda number: restore(store, kept[number]), racers=5)

    assert {"done": 1, "PortTaken": 4} == kinds(outcomes)
    assert (1, 4) == (len(store.instances.all()), len(store.deleted.all()))


def test_deploys_and_restorations_never_share_a_port(store, memory_nodes, order, running):
    """Whoever is first has it."""
    keep(store, running)

    def act(number):
        if number % 2:
            return restore(store, running)
        return instances.deploy(store, order, origin=AT_NOON)

    outcomes = race(act, racers=10)

    refused = [each for each in outcomes if isinstance(each, Exception)]
    assert 9 == len(refused)
    assert [] == [each for each in refused if not isinstance(each, (PortTaken, NotRestorable))]
    run_due(store, memory_nodes)
    assert [[8080]] == [each["ports"] for each in store.instances.all()]


@pytest.mark.parametrize("turn", range(5))
def test_a_transfer_and_a_restoration_never_share_a_port(
    store, memory_nodes, node, order, running, turn
):
    """The one that comes first has it; no index knows of both."""
    elsewhere = a_node(store, memory_nodes, ram="64")
    keep(store, running)
    run_due(store, memory_nodes)
    other, _ = instances.deploy(store, {**order, "node": elsewhere["_id"]}, origin=AT_NOON)
    run_due(store, memory_nodes)

    def act(number):
        if number % 2:
            return restore(store, running)
        return transfers.begin(store, other["_id"], node_id=node["_id"], origin=AT_NOON)

    race(act, racers=2)
    run_due(store, memory_nodes)

    held = [port for each in store.instances.list_on(node["_id"]) for port in each["ports"]]
    assert len(held) == len({*held})
    assert 8080 in held


def test_auto_ports_are_found_at_once(store, memory_nodes, node, order):
    """As many as had the same port one after the other are all restored, each with its own."""
    order = {**order, "ports": parse("80:auto", may_be_auto=True), "primary": None}
    kept = []
    for _ in range(10):
        instance, _ = instances.deploy(store, order, origin=AT_NOON)
        kept.append(instance["_id"])
        keep(store, instance["_id"])
        run_due(store, memory_nodes)

    outcomes = race(lambda number: restore(store, kept[number]), racers=10)

    assert {"done": 10} == kinds(outcomes)
    ports = [port for each in store.instances.all() for port in each["ports"]]
    assert 10 == len(set(ports)) == len(ports)


def test_a_node_is_not_forgotten_under_a_restoration(store, memory_nodes, node, running):
    """By force it goes with all that it has, whichever of both comes first."""
    keep(store, running)

    def act(number):
        if number % 2:
            return restore(store, running)
        return nodes.delete(store, node["_id"], force=True, now=FAR)

    outcomes = race(act, racers=6)

    errors = [each for each in outcomes if isinstance(each, Exception)]
    assert [] == [each for each in errors if not isinstance(each, (NotFound, NotRestorable))]
    assert ([], []) == (store.instances.all(), store.deleted.all())
    assert None is store.nodes.find(node["_id"])
