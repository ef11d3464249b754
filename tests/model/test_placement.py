"""Which nodes fit an instance, and which of them is best."""

import random

import pytest

from service.errors import CapacityExceeded, Maintenance
from service.model.documents import Capacity, new_node
from service.model.lifecycle import NodeStatus
from service.model.node_warnings import TRIAL_AFTER
from service.model.placement import ALONE, CROWDED, Fit, Prefer, UnfitReason, Wish, judge, sort
from tests.support import NOON

WISH = Wish(memory_mib=128, cpu_milli=500)


def a_node(name="n", *, memory_mib=1024, cpu_milli=None, allocated=None, **over):
    """Make a node that is Online, with 1 GiB."""
    capacity = Capacity(memory_mib=memory_mib, cpu_milli=cpu_milli, disk_mib=None)
    fields = {"tags": ["EU", "ssd"], "max_instances": None, "port_range": None}
    made = new_node(name, name=name, driver="memory", capacity=capacity, now=NOON)
    promised = {"memory_mib": 0, "cpu_milli": 0, "disk_mib": 0, "instances": 0, **(allocated or {})}
    return {**made, **fields, "status": NodeStatus.ONLINE, "allocated": promised, **over}


@pytest.mark.parametrize(
    ("node", "wish", "refusal", "reason"),
    [
        ({}, {"exclude": frozenset({"n"})}, None, UnfitReason.EXCLUDED),
        ({}, {"tags": frozenset({"eu", "gpu"})}, None, UnfitReason.TAG),
        ({"labels": {"zone": "b"}}, {"labels": {"zone": "a"}}, None, UnfitReason.LABEL),
        ({"status": NodeStatus.OFFLINE}, {}, None, UnfitReason.OFFLINE),
        ({"status": NodeStatus.UNCONFIGURED}, {}, None, UnfitReason.OFFLINE),
        ({"unanswered": TRIAL_AFTER}, {}, None, UnfitReason.OFFLINE),
        ({}, {}, Maintenance("Closed."), UnfitReason.MAINTENANCE),
        ({}, {}, CapacityExceeded("Full."), UnfitReason.CAPACITY_EXCEEDED),
        ({"port_range": "5000-5001"}, {"free_ports": 3}, None, UnfitReason.NO_PORTS),
    ],
)
def test_a_node_that_does_not_fit_says_why(node, wish, refusal, reason):
    """Each reason has its code."""
    found = judge(a_node(**node), Wish(128, 500, **wish), refusal=refusal)

    assert reason == found.reason


@pytest.mark.parametrize("tags", ["EU, ssd", ["eu", "SSD"], "ssd,eu,"])
def test_tags_are_a_list_or_a_text_with_commas(tags):
    """Their letter case does not matter."""
    wish = Wish(128, 500, tags=frozenset({"Eu", "ssd"}))

    assert isinstance(judge(a_node(tags=tags), wish), Fit)


def test_what_a_full_node_lacks_is_told():
    """The numbers are those of the error."""
    refusal = CapacityExceeded("Full.", requestedMib=128, allocatedMib=1024, capacityMib=1024)

    assert refusal.details == judge(a_node(), WISH, refusal=refusal).details


@pytest.mark.parametrize(
    ("node", "score"),
    [
        ({}, 0.875),
        ({"allocated": {"memory_mib": 512, "instances": 4}}, 0.375),
        ({"cpu_milli": 1000}, 0.5),
        ({"max_instances": 10, "allocated": {"instances": 7}}, 0.2),
        ({"memory_mib": None}, 0.5),
        ({"memory_mib": None, "allocated": {"instances": 3}}, 0.2),
    ],
)
def test_the_score_is_the_least_share_that_is_left(node, score):
    """With the instance on it; of a node without a limit its instances count."""
    assert score == pytest.approx(judge(a_node(**node), WISH).score)


def test_fewest_instances_pass_over_room():
    """A small node with few instances is better then than a large one with many."""
    wish = Wish(128, 500, prefer=Prefer.FEWEST_INSTANCES)
    small = judge(a_node(memory_mib=256, allocated={"instances": 1}), wish)
    large = judge(a_node(memory_mib=99999, allocated={"instances": 2}), wish)

    assert small.score > large.score


def test_an_instance_beside_which_it_should_not_be_outweighs_all_room():
    """However full the other node is."""
    apart = judge(a_node(allocated={"memory_mib": 896, "instances": 7}), WISH)
    beside = judge(a_node(), WISH, crowd=1)

    assert apart.score > beside.score


def test_nearly_equal_nodes_are_in_random_order_before_the_others():
    """Those who choose at once do not all choose one of them."""
    equal = [judge(a_node(f"n{n}"), WISH) for n in range(9)]
    fuller = judge(a_node("full", allocated={"memory_mib": 128, "instances": 1}), WISH)

    firsts, lasts = set(), set()
    for seed in range(99):
        ranked = sort([fuller, *equal], chance=random.Random(seed))
        firsts.add(ranked[0].node["name"])
        lasts.add(ranked[-1].node["name"])

    assert ({f"n{n}" for n in range(9)}, {"full"}) == (firsts, lasts)


def test_a_node_with_more_of_the_same_is_not_nearly_as_good():
    """However near its score is."""
    full = judge(a_node("full", allocated={"memory_mib": 896, "instances": 7}), WISH)
    beside = judge(a_node("beside", memory_mib=99999), WISH, crowd=1)
    ranked = [sort([full, beside], slack=9, chance=random.Random(seed)) for seed in range(20)]

    assert {"full"} == {each[0].node["name"] for each in ranked}


def test_those_who_met_choose_among_more():
    """A node that is one instance fuller, and none that is two."""
    fits = [
        judge(a_node(f"n{n}", allocated={"memory_mib": 128 * n, "instances": n}), WISH)
        for n in range(5)
    ]

    def choose(slack):
        ranked = (sort(fits, slack=slack, chance=random.Random(seed)) for seed in range(99))
        return {each[0].node["name"] for each in ranked}

    assert [{"n0"}, {"n0", "n1"}] == [choose(ALONE), choose(CROWDED)]
