"""What changes after a deploy has read it and before it writes, on the real database."""

import pytest

from service import instances, node_edits, suspensions, transfers, users
from service.errors import (
    CapacityExceeded,
    InvalidInput,
    Maintenance,
    NodeOffline,
    NotFound,
    PortTaken,
    QuotaExceeded,
    UserSuspended,
)
from service.model.node_policy import NodePolicy
from service.model.ports import parse
from tests.support import AT_NOON, NOON, a_node, a_user, an_image, an_order, run_due


@pytest.fixture
def place(store, memory_nodes):
    """A user, a node with room for one, and an image."""
    return a_user(store), a_node(store, memory_nodes, ram="128M"), an_image(store)


def change_within(store, monkeypatch, change):
    """Do `change` once, when a deploy has read all and is about to write."""
    charge, changes = store.users.charge, iter([change])

    def change_first(*args, **kwargs):
        for each in changes:
            each()
        return charge(*args, **kwargs)

    monkeypatch.setattr(store.users, "charge", change_first)


def edit_node(store, memory_nodes, node, **changes):
    """Change the node."""
    node_edits.edit(store, memory_nodes, node["_id"], changes, policy=NodePolicy(), now=NOON)


CHANGES = {
    "quota": (
        QuotaExceeded,
        lambda s, nodes, user, node: users.edit(
            s, user["_id"], {"quota": {"memory_mib": 127}}, now=NOON
        ),
    ),
    "suspension": (
        UserSuspended,
        lambda s, nodes, user, node: suspensions.change_user(
            s, user["_id"], suspended=True, origin=AT_NOON
        ),
    ),
    "user": (NotFound, lambda s, nodes, user, node: users.delete(s, user["_id"])),
    "maintenance": (
        Maintenance,
        lambda s, nodes, user, node: edit_node(s, nodes, node, schedulable=False),
    ),
    "capacity": (
        CapacityExceeded,
        lambda s, nodes, user, node: edit_node(s, nodes, node, ram="64M"),
    ),
    "bounds": (
        InvalidInput,
        lambda s, nodes, user, node: edit_node(s, nodes, node, max_swap_mib=8),
    ),
    "status": (
        NodeOffline,
        lambda s, nodes, user, node: s.nodes.update(node["_id"], {"status": "Offline"}),
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_deploy_is_judged_by_what_is_true_when_it_is_stored(
    store, memory_nodes, monkeypatch, place, name
):
    """Of the user and of the node: it is refused, and leaves nothing."""
    error, change = CHANGES[name]
    user, node, image = place
    change_within(store, monkeypatch, lambda: change(store, memory_nodes, user, node))

    with pytest.raises(error) as caught:
        instances.deploy(store, an_order(user, node, image, swap_mib=9), origin=AT_NOON)

    assert error is type(caught.value)
    assert ([], []) == (store.instances.all(), store.operations.all())
    assert 0 == store.nodes.get(node["_id"])["allocated"]["instances"]


@pytest.mark.parametrize("field", ["_id", "name"])
def test_a_port_that_is_held_meanwhile_is_taken(store, memory_nodes, monkeypatch, field):
    """For a transfer to the node that is taken on after the deploy looked, however it is called."""
    user, image = a_user(store), an_image(store)
    here, there = (
        a_node(store, memory_nodes, name=name, ram="1024M") for name in ("here", "there")
    )
    order = an_order(user, here, image, ports=parse("80:8080,81:8081"))
    moving, _ = instances.deploy(store, order, origin=AT_NOON)
    run_due(store, memory_nodes)
    change_within(
        store,
        monkeypatch,
        lambda: transfers.begin(store, moving["_id"], node_id=there["_id"], origin=AT_NOON),
    )

    with pytest.raises(PortTaken) as caught:
        instances.deploy(store, {**order, "node_id": there[field]}, origin=AT_NOON)

    assert (there["_id"], 8080) == (caught.value.node_id, caught.value.port)
    assert [moving["_id"]] == [each["_id"] for each in store.instances.all()]
