"""What an instance holds on both nodes while it is being transferred, and which transfers are not
taken on, on nodes in memory and a real database."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from service import instance_changes, instances, nodes, operations, transfers
from service.errors import (
    CapacityExceeded,
    InstanceNotReady,
    InvalidInput,
    Maintenance,
    NodeNotEmpty,
    NodeOffline,
    NotFound,
    NotSupported,
    PortTaken,
)
from service.model.lifecycle import InstanceState, OperationKind, OperationStatus
from service.model.ports import parse
from tests.support import AT_NOON, NOON, a_node, a_user, an_image, an_order, run_due


@pytest.fixture
def here(store, memory_nodes):
    """The node that the instance is on."""
    return a_node(store, memory_nodes, ram="1024M")


@pytest.fixture
def there(store, memory_nodes):
    """The node that it goes to."""
    return a_node(store, memory_nodes, ram="1024M")


@pytest.fixture
def running(store, memory_nodes, here):
    """An instance that runs."""
    return an_instance(store, memory_nodes, here)


def an_instance(store, memory_nodes, node, **over):
    """Deploy an instance; answer its id."""
    order = an_order(a_user(store), node, an_image(store), **over)
    instance, _ = instances.deploy(store, order, origin=AT_NOON)
    run_due(store, memory_nodes)
    return instance["_id"]


def begin(store, instance_id, node):
    """Take on a transfer; answer its operation."""
    return transfers.begin(store, instance_id, node_id=node["_id"], origin=AT_NOON)[1]


def allocated(store, node):
    """Return what a node has promised."""
    return store.nodes.get(node["_id"])["allocated"]


def test_both_nodes_hold_what_it_needs(store, here, there, running):
    """Whichever it ends on has the room for it."""
    operation = begin(store, running, there)

    one = {"instances": 1, "memory_mib": 128, "cpu_milli": 1000, "disk_mib": 0}
    assert (one, one) == (allocated(store, here), allocated(store, there))
    assert {8080} == store.occupancy.list_taken_ports(there["_id"])
    assert (OperationKind.TRANSFER, OperationStatus.PENDING, here["_id"]) == (
        operation["kind"],
        operation["status"],
        operation["node_id"],
    )


def test_ports_that_are_taken_there_are_found_anew(store, memory_nodes, there, running):
    """The primary port follows its container's."""
    an_instance(store, memory_nodes, there, ports=parse("80:8080"))

    operation = begin(store, running, there)

    [pair] = operation["changes"]["port_map"]
    assert (80, True) == (pair["container"], 20000 <= pair["host"] <= 39999)
    assert (str(pair["host"]), pair["host"]) == (
        operation["changes"]["primary"],
        operation["changes"]["primary_port"],
    )


def test_nobody_else_gets_the_ports_that_are_held(store, memory_nodes, there, running):
    """They are as taken as those of an instance that is there."""
    begin(store, running, there)

    with pytest.raises(PortTaken):
        an_instance(store, memory_nodes, there, ports=parse("80:8080"))

    assert 1 == allocated(store, there)["instances"]


def test_nobody_changes_to_the_ports_that_are_held(store, memory_nodes, there, running):
    """Nor does an instance that is there already."""
    other = an_instance(store, memory_nodes, there, ports=parse("80:9090"), primary="9090")
    begin(store, running, there)

    with pytest.raises(PortTaken):
        instance_changes.edit(
            store, other, {"ports": parse("80:8080"), "primary": "8080"}, origin=AT_NOON
        )

    assert [9090] == store.instances.get(other)["ports"]


@pytest.mark.heavy
def test_deploys_and_transfers_race_for_a_port(store, memory_nodes, there):
    """Of many who want the same port at the same time, one gets it."""
    moving = [an_instance(store, memory_nodes, a_node(store, memory_nodes)) for _ in range(4)]
    order = an_order(a_user(store), there, an_image(store), ports=parse("80:8080"))

    def deploy(_):
        try:
            return instances.deploy(store, order, origin=AT_NOON)[0]["port_map"][0]["host"]
        except PortTaken:
            return None

    def transfer(instance_id):
        return begin(store, instance_id, there)["changes"]["port_map"][0]["host"]

    with ThreadPoolExecutor(8) as pool:
        found = [pool.submit(deploy, n) for n in range(4)]
        found += [pool.submit(transfer, each) for each in moving]
        got = [each.result() for each in found]

    hosts = [host for host in got if host is not None]
    assert len(set(hosts)) == len(hosts)
    assert 8080 in hosts


@pytest.mark.heavy
def test_fifty_at_once_never_pass_what_a_node_has(store, memory_nodes, there):
    """A node of 1024 MiB takes eight of 128."""
    moving = [
        an_instance(store, memory_nodes, a_node(store, memory_nodes, ram="4G")) for _ in range(12)
    ]

    def transfer(number):
        try:
            begin(store, moving[number % len(moving)], there)
        except (CapacityExceeded, InstanceNotReady):
            return False
        return True

    with ThreadPoolExecutor(16) as pool:
        began = sum(pool.map(transfer, range(50)))

    assert (8, 1024) == (began, allocated(store, there)["memory_mib"])


def refuse(kind, store, instance_id, node, **details):
    """See that a transfer is not taken on, and nothing is held for it."""
    with pytest.raises(kind) as refused:
        transfers.begin(store, instance_id, node_id=node, origin=AT_NOON)

    assert details.keys() <= refused.value.details.keys()
    assert store.instances.get(instance_id).get("arrival") is None


def test_it_goes_to_no_unknown_node(store, running):
    """The answer names the field."""
    refuse(NotFound, store, running, "nowhere", nodeId=1)


def test_it_does_not_go_where_it_is(store, here, running):
    """The answer names the field."""
    refuse(InvalidInput, store, running, here["_id"], nodeId=1)


@pytest.mark.parametrize("which", ["here", "there"])
def test_both_nodes_must_be_up(store, here, there, running, which):
    """One that is down could neither give its files nor take them."""
    down = {"here": here, "there": there}[which]
    store.nodes.update(down["_id"], {"status": "Offline"})

    refuse(NodeOffline, store, running, there["_id"])


def test_a_node_in_maintenance_takes_none(store, there, running):
    """Transfers are no way around it."""
    store.nodes.change(there["_id"], {"schedulable": False})

    refuse(Maintenance, store, running, there["_id"])


def test_a_node_without_room_takes_none(store, memory_nodes, running):
    """The answer has the numbers."""
    small = a_node(store, memory_nodes, ram="100M")

    refuse(CapacityExceeded, store, running, small["_id"], requestedMib=1)


def test_files_are_copied_between_nodes_of_one_kind(store, there, running):
    """What a node of another driver would make of them nobody knows."""
    store.nodes.change(there["_id"], {"driver": "skyportd"})

    refuse(NotSupported, store, running, there["_id"], nodeId=1)


@pytest.mark.parametrize("which", ["source", "target"])
def test_podman_copies_no_files(store, there, running, which):
    """It does not say who they belong to."""
    instance = store.instances.get(running)
    node_id = there["_id"] if which == "target" else instance["node_id"]
    report = {**store.nodes.get(node_id)["report"], "engine": "podman 4.3.1"}
    store.nodes.change(node_id, {"report": report})

    refuse(NotSupported, store, running, there["_id"], nodeId=1)


def test_what_failed_stays(store, there, running):
    """It may have no container, and no files that are whole."""
    store.instances.move(running, InstanceState.INSTALLING, now=NOON)
    store.instances.move(running, InstanceState.FAILED, now=NOON)

    refuse(InstanceNotReady, store, running, there["_id"])


def test_one_transfer_at_a_time(store, memory_nodes, there, running):
    """The second is told of the first."""
    begin(store, running, there)

    with pytest.raises(InstanceNotReady):
        begin(store, running, a_node(store, memory_nodes))


def test_no_change_meanwhile(store, there, running):
    """Neither during a transfer, nor a transfer during a change."""
    operation = begin(store, running, there)
    with pytest.raises(InstanceNotReady):
        instance_changes.edit(store, running, {"memory_mib": 256}, origin=AT_NOON)
    operations.cancel(store, operation["_id"], now=NOON)
    instance_changes.edit(store, running, {"memory_mib": 256}, origin=AT_NOON)

    refuse(InstanceNotReady, store, running, there["_id"])


def test_one_that_never_began_gives_everything_back(store, there, running):
    """A cancellation leaves the instance as it was."""
    operation = begin(store, running, there)

    operations.cancel(store, operation["_id"], now=NOON)

    assert {"instances": 0, "memory_mib": 0, "cpu_milli": 0, "disk_mib": 0} == allocated(
        store, there
    )
    assert store.instances.get(running)["arrival"] is None
    assert OperationStatus.CANCELLED == store.operations.get(operation["_id"])["status"]


@pytest.mark.parametrize("delete", [instances.delete, instances.delete_by_force])
def test_a_deletion_gives_everything_back(store, memory_nodes, here, there, running, delete):
    """On both nodes."""
    begin(store, running, there)

    delete(store, running, origin=AT_NOON)
    run_due(store, memory_nodes)

    nothing = {"instances": 0, "memory_mib": 0, "cpu_milli": 0, "disk_mib": 0}
    assert (nothing, nothing) == (allocated(store, here), allocated(store, there))
    assert not memory_nodes[here["_id"]].containers


def test_a_node_that_something_comes_to_stays(store, there, running):
    """It is not empty."""
    begin(store, running, there)

    with pytest.raises(NodeNotEmpty):
        nodes.delete(store, there["_id"], now=NOON)


def test_a_node_that_is_forgotten_leaves_nothing_held(store, here, there, running):
    """What was on its way from it to another is forgotten there too."""
    begin(store, running, there)

    nodes.delete(store, here["_id"], force=True, now=NOON)

    assert {"instances": 0, "memory_mib": 0, "cpu_milli": 0, "disk_mib": 0} == allocated(
        store, there
    )
