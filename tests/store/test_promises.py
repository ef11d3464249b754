"""What is counted of nodes: every kind of hold is added up by the rule by which it is counted."""

import pytest

from service import deletions, instance_changes, instances, nodes, transfers
from service.model.ports import parse
from tests.store.test_races import kinds, race
from tests.support import AT_NOON, NOON, a_node, a_user, an_image, an_order, free_port, run_due

NOTHING = {"instances": 0, "memory_mib": 0, "cpu_milli": 0, "disk_mib": 0}
ONE = {"instances": 1, "memory_mib": 128, "cpu_milli": 1000, "disk_mib": 1126}
WRONG = {"instances": 9, "memory_mib": 9, "cpu_milli": 9, "disk_mib": 9}


@pytest.fixture
def place(store, memory_nodes):
    """A user, a node without limits, and an image."""
    return a_user(store), a_node(store, memory_nodes, ram="plenty"), an_image(store)


@pytest.fixture
def deploy(store, memory_nodes, place):
    """Deploy an instance of 1.1 GB on a port of its own, until it runs."""

    def deploy():
        ports = parse(f"80:{free_port()}")
        order = an_order(*place, ports=ports, primary=str(ports[0].host), disk_gb=1.1)
        instance_id = instances.deploy(store, order, origin=AT_NOON)[0]["_id"]
        run_due(store, memory_nodes)
        return instance_id

    return deploy


@pytest.fixture
def counted(store):
    """Read what nodes count, of which nothing is wrong."""

    def counted(*of_nodes):
        assert [] == list_miscounted(store)
        return [store.nodes.get(node["_id"])["allocated"] for node in of_nodes]

    return counted


def list_miscounted(store):
    """List the nodes that count something else than is held of them."""
    return store.transaction(lambda session: store.promises.list_miscounted(session=session))


def recount(store, node):
    """Count anew what is held of a node."""
    store.transaction(lambda session: store.promises.recount(node["_id"], session=session))


def test_instances_are_added_up_until_they_are_gone(store, memory_nodes, place, deploy, counted):
    """
    Also one that is being deleted.
    """
    deployed = deploy()
    there = counted(place[1])
    instances.delete(store, deployed, origin=AT_NOON)
    going = counted(place[1])
    run_due(store, memory_nodes)

    assert ([ONE], [ONE], [NOTHING]) == (there, going, counted(place[1]))


def test_what_suffices_for_before_and_after_a_change_is_added_up(
    store, memory_nodes, place, deploy, counted
):
    """
    While the change is open.
    """
    instance_id = deploy()
    instance_changes.edit(store, instance_id, {"memory_mib": 64, "cpu_milli": 2000}, origin=AT_NOON)
    during = counted(place[1])
    run_due(store, memory_nodes)

    smaller = {**ONE, "memory_mib": 64, "cpu_milli": 2000}
    assert ([{**ONE, "cpu_milli": 2000}], [smaller]) == (during, counted(place[1]))


@pytest.mark.heavy
def test_a_transfer_is_added_up_on_both_nodes(store, memory_nodes, place, deploy, counted):
    """
    Until it has ended.
    """
    instance_id, target = deploy(), a_node(store, memory_nodes)
    transfers.begin(store, instance_id, node_id=target["_id"], origin=AT_NOON)
    during = counted(place[1], target)
    run_due(store, memory_nodes)

    assert ([ONE, ONE], [NOTHING, ONE]) == (during, counted(place[1], target))


@pytest.mark.heavy
def test_what_is_kept_is_added_up(store, memory_nodes, place, deploy, counted):
    """
    As it is restored, and until it is gone when it is purged.
    """
    instance_id = deploy()
    instances.delete(store, instance_id, keep_s=60, origin=AT_NOON)
    kept = counted(place[1])
    deletions.restore(store, instance_id, {}, origin=AT_NOON)
    restored = counted(place[1])
    instances.delete(store, instance_id, keep_s=60, origin=AT_NOON)
    instances.delete(store, instance_id, purges=True, origin=AT_NOON)
    purging = counted(place[1])
    run_due(store, memory_nodes)

    assert ([ONE], [ONE], [ONE], [NOTHING]) == (kept, restored, purging, counted(place[1]))


def test_what_is_given_up_by_force_is_added_up_no_more(store, place, deploy, counted):
    """
    Without its node.
    """
    instances.delete_by_force(store, deploy(), origin=AT_NOON)

    assert [NOTHING] == counted(place[1])


def test_a_node_that_is_gone_holds_nothing(store, memory_nodes, deploy, place, counted):
    """
    Nor do the instances that were forgotten with it, on the node that they were to arrive on.
    """
    target = a_node(store, memory_nodes)
    transfers.begin(store, deploy(), node_id=target["_id"], origin=AT_NOON)

    nodes.delete(store, place[1]["_id"], force=True, now=NOON)

    assert [NOTHING] == counted(target)


@pytest.mark.heavy
def test_a_wrong_count_is_found_and_counted_anew(store, memory_nodes, place, deploy, counted):
    """
    Of all that is held at once, and of that node alone.
    """
    deploy(), instances.delete(store, deploy(), keep_s=60, origin=AT_NOON)
    source, idle = a_node(store, memory_nodes), a_node(store, memory_nodes)
    order = an_order(place[0], source, place[2], ports=parse("80:8080"), disk_gb=1.1)
    arriving = instances.deploy(store, order, origin=AT_NOON)[0]["_id"]
    run_due(store, memory_nodes)
    transfers.begin(store, arriving, node_id=place[1]["_id"], origin=AT_NOON)
    before = counted(place[1])
    for node in (place[1], idle):
        store.nodes.update(node["_id"], {"allocated": WRONG})

    found = list_miscounted(store)
    recount(store, place[1])

    three = {measure: 3 * amount for measure, amount in ONE.items()}
    wrong = {node.node_id: (node.counted, node.held) for node in found}
    assert ([three], {place[1]["_id"]: (WRONG, three), idle["_id"]: (WRONG, NOTHING)}) == (
        before,
        wrong,
    )
    assert ([idle["_id"]], three) == (
        [node.node_id for node in list_miscounted(store)],
        store.nodes.get(place[1]["_id"])["allocated"],
    )


@pytest.mark.heavy
def test_a_recount_misses_nothing(store, memory_nodes, place, deploy, counted):
    """
    No deploy, no transfer, and no deletion can pass it.
    """
    target = a_node(store, memory_nodes, ram="plenty")
    going, leaving = [deploy() for _ in range(4)], [deploy() for _ in range(4)]

    def act(number):
        match number % 4:
            case 0:
                ports = parse(f"80:{free_port()}")
                order = an_order(*place, ports=ports, primary=str(ports[0].host), disk_gb=1.1)
                instances.deploy(store, order, origin=AT_NOON)
            case 1:
                instances.delete_by_force(store, going[number // 4], origin=AT_NOON)
            case 2:
                instance_id = leaving[number // 4]
                transfers.begin(store, instance_id, node_id=target["_id"], origin=AT_NOON)
            case 3:
                recount(store, place[1])
                recount(store, target)

    outcomes = race(act, racers=16)
    run_due(store, memory_nodes)

    four = {measure: 4 * amount for measure, amount in ONE.items()}
    assert ({"done": 16}, [four, four]) == (kinds(outcomes), counted(place[1], target))
