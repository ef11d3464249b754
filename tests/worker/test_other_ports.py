"""Host ports that something else on a node has, and what is deployed there instead."""

from contextlib import suppress
from datetime import timedelta

import pytest

from service import instances, port_choice, probing
from service.drivers import NodeDriver
from service.model.held_ports import FORGOTTEN_AFTER, MOST
from service.model.lifecycle import InstanceState, OperationKind, OperationStatus, Power
from service.model.ports import parse
from service.worker.carry_out import Job, carry_out
from service.worker.other_ports import MOST as MOST_TRIES
from tests.support import AT_NOON, NOON, a_node, a_user, an_image, an_order, run_due

LATER = NOON + FORGOTTEN_AFTER


class Killed(BaseException):
    """The worker's process ends here."""


@pytest.fixture
def node(store, memory_nodes):
    """A node that is Online and has ten host ports to find."""
    node = a_node(store, memory_nodes)
    return store.nodes.update(node["_id"], {"port_range": "30000-30009"})


@pytest.fixture
def here(memory_nodes, node):
    """The node itself."""
    return memory_nodes[node["_id"]]


@pytest.fixture
def deploy(store, node):
    """Deploys an instance on these ports, and returns its id and its operation's."""

    def take_on(ports, primary=None):
        mappings = parse(ports, may_be_auto=True)
        order = an_order(a_user(store), node, an_image(store), ports=mappings, primary=primary)
        instance, operation = instances.deploy(store, order, origin=AT_NOON)
        return instance["_id"], operation["_id"]

    return take_on


def held(store, node):
    """The ports of the node that are known to be held."""
    return [each["port"] for each in store.nodes.get(node["_id"]).get("held_ports", [])]


def hosts(store, instance_id):
    """The host ports of an instance, in their order."""
    return [pair["host"] for pair in store.instances.get(instance_id)["port_map"]]


def only(here, *free):
    """Have other programs hold all ports of the node's range but these."""
    here.held_ports = set(range(30000, 30010)) - set(free)


def test_other_ports_are_found(store, memory_nodes, node, here, deploy):
    """What was found and is in use is left for others, in the document and on the node."""
    instance_id, operation_id = deploy("80:auto")
    [before] = hosts(store, instance_id)
    here.held_ports = {before}

    run_due(store, memory_nodes)

    after = store.instances.get(instance_id)
    [host] = hosts(store, instance_id)
    container = here.containers[instance_id]
    assert (InstanceState.READY, Power.RUNNING) == (after["state"], after["power"])
    assert host != before
    assert ([host], host, str(host)) == (after["ports"], after["primary_port"], after["primary"])
    assert [host] == [mapping.host for mapping in container.spec.ports]
    assert host == container.spec.primary.host
    assert [before] == held(store, node)
    steps = store.operations.get(operation_id)["steps"]
    expected = ["create", "start", "ports", "create", "start"]
    assert expected == [step["name"] for step in steps]


def test_the_files_stay(store, memory_nodes, here, deploy):
    """The volume that an installation filled is the one that the program gets."""
    instance_id, _ = deploy("80:auto")
    here.held_ports = set(hosts(store, instance_id))
    here.volumes[instance_id] = ["world.dat"]

    run_due(store, memory_nodes)

    assert ["world.dat"] == here.volumes[instance_id]


def test_what_is_to_follow_each_other_moves_together(store, memory_nodes, here, deploy):
    """The others of a run move with the one that is in use; other ports stay."""
    instance_id, _ = deploy("80-82:auto,90:auto")
    before = hosts(store, instance_id)
    here.held_ports = {before[1]}

    run_due(store, memory_nodes)

    after = hosts(store, instance_id)
    assert [after[0], after[0] + 1, after[0] + 2] == after[:3]
    assert before[1] not in after
    assert before[3] == after[3]


def test_a_primary_port_that_stays_is_as_it_was_sent(store, memory_nodes, here, deploy):
    """Only what moves is said anew."""
    instance_id, _ = deploy("80:auto,81:4000", primary="4000")
    here.held_ports = {hosts(store, instance_id)[0]}

    run_due(store, memory_nodes)

    after = store.instances.get(instance_id)
    assert (InstanceState.READY, "4000", 4000) == (
        after["state"],
        after["primary"],
        after["primary_port"],
    )


def test_a_port_that_was_named_fails(store, memory_nodes, node, here, deploy):
    """The error says which port it is; the container is not removed for it."""
    instance_id, operation_id = deploy("80:8080")
    here.held_ports = {8080}

    run_due(store, memory_nodes)

    after = store.instances.get(instance_id)
    assert (InstanceState.FAILED, "Host port 8080 is in use on the node by another program.") == (
        after["state"],
        after["error"],
    )
    assert [8080] == hosts(store, instance_id) == held(store, node)
    assert OperationStatus.FAILED == store.operations.get(operation_id)["status"]
    assert instance_id in here.containers


@pytest.mark.heavy
def test_it_ends_where_none_is_free(store, memory_nodes, here, deploy):
    """A node on which every port is in use is not asked for ever."""
    instance_id, operation_id = deploy("80:auto")
    only(here)

    run_due(store, memory_nodes)

    steps = [step["name"] for step in store.operations.get(operation_id)["steps"]]
    after = store.instances.get(instance_id)
    assert InstanceState.FAILED == after["state"]
    assert f"Host port {after['primary_port']} is in use" in after["error"]
    assert MOST_TRIES == steps.count("ports")


def test_it_ends_where_the_range_has_no_others(store, memory_nodes, node, here, deploy):
    """The error is that the port is in use, and the operation has ended."""
    store.nodes.update(node["_id"], {"port_range": "30000-30000"})
    instance_id, operation_id = deploy("80:auto")
    here.held_ports = {30000}

    run_due(store, memory_nodes)

    after = store.instances.get(instance_id)
    assert (InstanceState.FAILED, "Host port 30000 is in use on the node by another program.") == (
        after["state"],
        after["error"],
    )
    assert OperationStatus.FAILED == store.operations.get(operation_id)["status"]


def test_what_is_held_is_not_found_for_an_hour(store, node):
    """And then again, though nobody looked."""
    store.held_ports.record(node["_id"], 30000, now=NOON)
    known = store.nodes.get(node["_id"])

    def lowest(now):
        return port_choice.list_free(store, known, count=1, consecutive=False, now=now)

    assert [30001] == lowest(LATER - timedelta(seconds=1))
    assert [30000] == lowest(LATER)


def test_a_probe_forgets_what_is_old(store, memory_nodes, node):
    """What was found lately stays."""
    store.held_ports.record(node["_id"], 30000, now=NOON)
    store.held_ports.record(node["_id"], 30001, now=LATER - timedelta(seconds=1))

    probing.probe(store, memory_nodes, store.nodes.get(node["_id"]), now=LATER)

    assert [30001] == held(store, node)


@pytest.mark.heavy
def test_the_newest_are_known(store, node):
    """A port that is found again is new, and a node has a bounded number of them."""
    for port in (*range(1, MOST + 2), 5):
        store.held_ports.record(node["_id"], port, now=NOON)

    known = held(store, node)
    assert [5, MOST + 1, MOST] == known[:3]
    assert MOST == len(known) == len(set(known))


@pytest.mark.parametrize(
    ("kind", "state"),
    [(OperationKind.START, InstanceState.READY), (OperationKind.RESTART, InstanceState.READY)],
)
def test_every_start_that_is_refused_is_learned_from(
    store, memory_nodes, node, here, deploy, kind, state
):
    """What was deployed keeps its ports, which players know; the next deploy avoids them."""
    instance_id, _ = deploy("80:auto")
    run_due(store, memory_nodes)
    before = hosts(store, instance_id)
    instances.change_power(store, instance_id, OperationKind.STOP, origin=AT_NOON)
    run_due(store, memory_nodes)
    here.held_ports = set(before)

    instances.change_power(store, instance_id, kind, origin=AT_NOON)
    run_due(store, memory_nodes)

    after = store.instances.get(instance_id)
    assert (state, before) == (after["state"], hosts(store, instance_id))
    assert before == held(store, node)
    assert "is in use on the node" in after["error"]


@pytest.mark.parametrize("call", ["discard", "create"])
@pytest.mark.parametrize("before", [True, False])
def test_a_worker_that_dies_leaves_it_to_another(
    store, memory_nodes, here, deploy, monkeypatch, call, before
):
    """Wherever it ends, the document and the container have the same ports at the end."""
    instance_id, operation_id = deploy("80:auto")
    here.held_ports = set(hosts(store, instance_id))
    times = iter([False, True] if call == "create" else [True])
    whole = getattr(type(here), call)

    def dies(self, *args, **options):
        last = next(times, False)
        if last and before:
            raise Killed
        answer = whole(self, *args, **options)
        if last:
            raise Killed
        return answer

    monkeypatch.setattr(type(here), call, dies)
    operation = store.claims.take("a-token", lease_s=30)
    with suppress(Killed):
        carry_out(Job(store, operation, lease_s=30, now=lambda: NOON), memory_nodes)
    store.operations._collection.update_one({"_id": operation_id}, {"$set": {"lease": None}})

    run_due(store, memory_nodes)

    after = store.instances.get(instance_id)
    assert (InstanceState.READY, Power.RUNNING) == (after["state"], after["power"])
    spec = here.containers[instance_id].spec
    assert hosts(store, instance_id) == [mapping.host for mapping in spec.ports]
    assert not here.held_ports & set(after["ports"])


def test_a_worker_that_lost_its_lease_changes_nothing(store, memory_nodes, here, deploy):
    """What another worker does with the operation is not touched."""
    instance_id, operation_id = deploy("80:auto")
    before = hosts(store, instance_id)
    here.held_ports = set(before)
    operation = store.claims.take("a-token", lease_s=30)
    job = Job(store, operation, lease_s=30, now=lambda: NOON)
    whole: NodeDriver = here.discard

    class Late:
        """A node at which the removal takes so long that somebody took the operation over."""

        def __call__(self, node, **options):
            driver = memory_nodes(node, **options)
            driver.discard = self.discard
            return driver

        def discard(self, *args, **options):
            whole(*args, **options)
            taken = {"lease.token": "another"}
            store.operations._collection.update_one({"_id": operation_id}, {"$set": taken})

    carry_out(job, Late())

    assert before == hosts(store, instance_id)
    assert OperationStatus.RUNNING == store.operations.get(operation_id)["status"]
