"""Nodes ranked for an instance, of those in the database."""

from dataclasses import replace

import pytest

from service import instances, placement
from service.errors import InvalidInput
from service.model.lifecycle import NodeStatus
from service.model.placement import UnfitReason, Wish
from service.model.ports import parse
from service.placement import Beside, rank
from service.store.capacity import find_refusal, takes_one
from tests.support import AT_NOON, a_node, a_user, an_image, an_order

WISH = Wish(memory_mib=128, cpu_milli=1000)


def names(found):
    """List the names of the nodes."""
    return [each.node["name"] for each in found]


def reasons(ranking):
    """Return why each node does not fit, by its name."""
    return {each.node["name"]: each.reason for each in ranking.unfit}


def test_the_emptiest_is_first(store, memory_nodes):
    """By the memory that each has left."""
    for name, ram in (("small", "1G"), ("large", "8G"), ("middle", "4G")):
        a_node(store, memory_nodes, name=name, ram=ram)

    assert ["large", "middle", "small"] == names(rank(store, WISH).fits)


def test_those_that_do_not_fit_are_listed_with_the_reason(store, memory_nodes):
    """None is left out."""
    a_node(store, memory_nodes, name="closed", ram="8G", schedulable=False)
    a_node(store, memory_nodes, name="full", ram="64M")
    down = a_node(store, memory_nodes, name="down", ram="8G")
    other = a_node(store, memory_nodes, name="other", ram="8G")
    store.nodes.update(down["_id"], {"status": NodeStatus.OFFLINE})

    ranking = rank(store, WISH, exclude=[other["_id"]])

    assert [] == ranking.fits
    assert {
        "closed": UnfitReason.MAINTENANCE, "full": UnfitReason.CAPACITY_EXCEEDED,
        "down": UnfitReason.OFFLINE, "other": UnfitReason.EXCLUDED,
    } == reasons(ranking)  # fmt: skip


@pytest.mark.parametrize(
    "node",
    [
        {}, {"ram": "128M"}, {"ram": "127M"}, {"schedulable": False}, {"max_instances": 1},
        {"processor": "1", "cpu_overallocate": 0}, {"processor": "0.9", "cpu_overallocate": 0},
        {"ram": "8G", "processor": "many", "cpu_overallocate": 0},
    ],
)  # fmt: skip
@pytest.mark.parametrize("deployed", [False, True])
def test_a_node_is_judged_as_the_database_judges_it(
    store, memory_nodes, mongo_client, node, deployed
):
    """What a node that was read refuses is what a deploy would be refused."""
    made = a_node(store, memory_nodes, **node)
    size = {"memory_mib": WISH.memory_mib, "cpu_milli": WISH.cpu_milli}
    if deployed:
        store.transaction(
            lambda session: store.nodes.reserve(
                made["_id"], **size, even_if_full=True, session=session
            )
        )

    [read] = store.nodes.list_for_placement()
    found = store.nodes._collection.find_one(takes_one(**size))

    assert (found is None) == (find_refusal(read, **size) is not None)


def test_a_node_that_is_not_to_be_seen_is_not_ranked(store, memory_nodes):
    """A key that is limited to some nodes learns of no others."""
    seen = a_node(store, memory_nodes, name="seen")
    a_node(store, memory_nodes, name="hidden", schedulable=False)

    ranking = rank(store.within(node_ids=[seen["_id"]]), WISH)

    assert (["seen"], []) == (names(ranking.fits), ranking.unfit)


def test_secrets_are_not_read(store, memory_nodes):
    """What is ranked has no keys of nodes, and no certificates."""
    a_node(store, memory_nodes)

    [fit] = rank(store, WISH).fits

    assert set() == {"secret", "pending_secret", "tls", "configure_key"} & fit.node.keys()


@pytest.mark.parametrize("field", ["user_id", "image_id"])
def test_instances_of_one_are_kept_apart(store, memory_nodes, field):
    """A node without any of the user's, or of the image, is before a larger one."""
    user, image = a_user(store), an_image(store)
    large = a_node(store, memory_nodes, name="large", ram="64G")
    a_node(store, memory_nodes, name="small", ram="1G")
    instance, _ = instances.deploy(store, an_order(user, large, image), origin=AT_NOON)

    ranking = rank(store, WISH, apart_from=Beside(field, instance[field]))

    assert ["small", "large"] == names(ranking.fits)


def test_a_host_port_that_is_taken_rules_the_node_out(store, memory_nodes):
    """It names the port, and no other of that instance."""
    node = a_node(store, memory_nodes, name="has")
    a_node(store, memory_nodes, name="has not")
    order = an_order(a_user(store), node, an_image(store), ports=parse("80:8080,81:8081"))
    instances.deploy(store, order, origin=AT_NOON)

    ranking = rank(store, replace(WISH, host_ports=frozenset({8080, 9090})))

    assert (["has not"], UnfitReason.PORT_TAKEN) == (names(ranking.fits), ranking.unfit[0].reason)
    assert "The host port 8080 is taken on the node." == ranking.unfit[0].message


def test_a_node_that_cannot_run_it_does_not_fit(store, memory_nodes):
    """The reason is the error's."""
    a_node(store, memory_nodes, name="n")

    def refuse(node):
        raise InvalidInput("It cannot.", image=["Not here."])

    [found] = rank(store, WISH, check=refuse).unfit

    assert (UnfitReason.NOT_SUPPORTED, {"image": ["Not here."]}) == (found.reason, found.details)


def test_an_instance_wishes_for_what_is_held_for_it(store, memory_nodes):
    """Its size, and as many free ports as it has."""
    node = a_node(store, memory_nodes)
    order = an_order(a_user(store), node, an_image(store), ports=parse("80:8080,81:8081"))
    instance, _ = instances.deploy(store, order, origin=AT_NOON)

    assert Wish(128, 1000, free_ports=2) == placement.wish_of(instance)
