"""Deploys that name no node, many of them at once on the real database."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from service import instances
from service.errors import Conflict, NoNodeFits
from service.model.placement import Prefer, Spread
from service.model.ports import parse
from tests.support import AT_NOON, a_node, a_user, an_image, an_order

RACERS = 50


def a_placement(**over):
    """Make a placement that asks for nothing."""
    nothing = {"tags": [], "labels": {}, "excluded": [], "spread": None}
    return {**nothing, "prefer": Prefer.MOST_ROOM, **over}


def make_orders(store, count, **over):
    """Make orders of so many users, for whichever node fits."""
    image = an_image(store)
    free = {"node_id": None, "ports": parse("80:auto", may_be_auto=True), "primary": None}
    owners = [a_user(store) for _ in range(count)]
    return [an_order(user, {"_id": ""}, image, **{**free, **over}) for user in owners]


def deploy_all(store, orders):
    """Deploy all at once; return what was deployed, and the errors."""
    start = Barrier(len(orders))

    def deploy(order):
        start.wait()
        try:
            return instances.deploy(store, order, origin=AT_NOON)[0]
        except Conflict as exc:
            return exc

    with ThreadPoolExecutor(len(orders)) as threads:
        outcomes = list(threads.map(deploy, orders))
    deployed = [each for each in outcomes if not isinstance(each, Exception)]
    return deployed, [each for each in outcomes if isinstance(each, Exception)]


@pytest.mark.heavy
def test_no_node_gets_more_than_it_has(store, memory_nodes):
    """Deploys at once fill all nodes to the last, and the rest are refused with the reason."""
    nodes = [a_node(store, memory_nodes, ram=f"{n * 128}M") for n in (2, 4, 8, 10, 16)]

    deployed, errors = deploy_all(store, make_orders(store, RACERS))

    promised = {n["_id"]: n["allocated"]["memory_mib"] for n in store.nodes.all()}
    assert {n["_id"]: n["capacity"]["memory_mib"] for n in nodes} == promised
    assert Counter(each["node_id"] for each in store.instances.all()) == Counter(
        {n["_id"]: n["capacity"]["memory_mib"] // 128 for n in nodes}
    )
    assert (40, 10) == (len(deployed), len(errors))
    assert {(NoNodeFits, (("capacity_exceeded", 5),))} == {
        (type(each), tuple(each.details["reasons"].items())) for each in errors
    }


@pytest.mark.heavy
def test_equal_nodes_get_equally_many(store, memory_nodes):
    """Each ends within one of the even share."""
    for _ in range(5):
        a_node(store, memory_nodes, ram="64G")

    deploy_all(store, make_orders(store, RACERS))

    counts = [node["allocated"]["instances"] for node in store.nodes.all()]
    assert (RACERS, True) == (sum(counts), 9 <= min(counts) <= max(counts) <= 11)


@pytest.mark.heavy
def test_no_host_port_is_given_twice(store, memory_nodes):
    """Where each node has ten ports, ten instances are on each, with all of them."""
    for _ in range(5):
        a_node(store, memory_nodes, port_range="5000-5009")

    deployed, errors = deploy_all(store, make_orders(store, RACERS))

    assert ([], RACERS) == (errors, len(deployed))
    for node in store.nodes.all():
        assert set(range(5000, 5010)) == store.occupancy.list_taken_ports(node["_id"])


@pytest.mark.heavy
def test_a_host_port_that_is_wanted_by_all_is_had_once_on_each_node(store, memory_nodes):
    """The others are told that it is taken everywhere."""
    for _ in range(5):
        a_node(store, memory_nodes)

    deployed, errors = deploy_all(store, make_orders(store, 12, ports=parse("80:8080")))

    assert 5 == len({each["node_id"] for each in deployed}) == len(deployed)
    assert [{"port_taken": 5}] * 7 == [each.details["reasons"] for each in errors]


@pytest.mark.heavy
def test_instances_of_one_user_are_kept_apart(store, memory_nodes):
    """Though they are deployed at once, and one node is much larger."""
    for ram in ("1G", "1G", "1G", "64G"):
        a_node(store, memory_nodes, ram=ram)
    [order] = make_orders(store, 1, placement=a_placement(spread=Spread.USER))

    deployed, _ = deploy_all(store, [order] * 8)

    assert [2, 2, 2, 2] == list(Counter(each["node_id"] for each in deployed).values())


@pytest.mark.parametrize(
    ("node", "order", "reason"),
    [
        ({"port_range": "5000-5000"}, {"ports": "80:auto,81:auto"}, "no_ports"),
        ({"port_range": "8080-8080"}, {"ports": "80:auto,81:8080"}, "no_ports"),
        ({"max_swap_mib": 0}, {"ports": "80:auto", "swap_mib": 64}, "not_supported"),
        ({"driver": "process"}, {"ports": "80:auto", "variables": {"A": "b"}}, "not_supported"),
    ],
)
def test_a_node_that_cannot_take_it_is_passed_over(store, memory_nodes, node, order, reason):
    """However much room it has; where there is no other, its reason is told."""
    order = {**order, "ports": parse(order["ports"], may_be_auto=True)}
    [order] = make_orders(store, 1, **order)
    passed = a_node(store, memory_nodes, ram="64G", **{"name": "passed", **node})

    with pytest.raises(NoNodeFits) as refused:
        instances.deploy(store, order, origin=AT_NOON)
    small = a_node(store, memory_nodes, ram="1G")
    instance, _ = instances.deploy(store, order, origin=AT_NOON)

    assert {reason: 1} == refused.value.details["reasons"]
    [told] = refused.value.details["nodes"]
    assert (passed["_id"], "passed", reason) == (told["id"], told["name"], told["reason"])
    assert small["_id"] == instance["node_id"]


def test_what_is_refused_leaves_nothing(store, memory_nodes, look):
    """No node, no instance and no operation is touched."""
    a_node(store, memory_nodes, schedulable=False)
    [order] = make_orders(store, 1)
    before = look()

    with pytest.raises(NoNodeFits):
        instances.deploy(store, order, origin=AT_NOON)

    assert before == look()
