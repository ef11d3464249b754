"""Transfers of instances over the API."""

import pytest

from service.app import utc_now
from service.model.documents import new_removal
from service.model.lifecycle import InstanceState, NodeStatus, Power
from service.transfer_targets import MOST_TRIED
from tests.support import AT_NOON, NOON, a_node, get, run_due, told


@pytest.fixture
def there(store, memory_nodes):
    """Another node."""
    return a_node(store, memory_nodes, name="there")


def transfer(api, instance_id, node_id, **options):
    """Ask for a transfer."""
    return api.post(f"/api/instances/{instance_id}/transfer", {"nodeId": node_id}, **options)


@pytest.mark.heavy
def test_an_instance_is_transferred(api, store, memory_nodes, ready, there):
    """202 with the operation, which says how far it is; the instance is elsewhere at its end."""
    answer = transfer(api, ready, "there")
    run_due(store, memory_nodes)

    operation = api.get(answer.headers["Location"]).json
    instance = api.get(f"/api/instances/{ready}").json
    assert (202, "transfer", "pending") == (
        answer.status,
        answer.json["kind"],
        answer.json["status"],
    )
    assert ("succeeded", there["_id"]) == (operation["status"], operation["transfer"]["targetId"])
    assert operation["transfer"]["bytesCopied"] > 0
    assert (there["_id"], "running") == (instance["Node"]["id"], instance["power"])


def test_the_audit_log_says_from_where_to_where(api, store, ready, there):
    """And who asked for it."""
    source = store.instances.get(ready)["node_id"]
    transfer(api, ready, there["_id"])

    [entry] = api.get("/api/audit?action=instances.transfer_instance").json["entries"]

    assert {"from": source, "to": there["_id"]} == entry["after"]["transfer"]


def test_a_repeat_is_answered_with_the_same_operation(api, ready, there):
    """A client that lost its answer asks again."""
    answers = [
        transfer(api, ready, there["_id"], headers={"Idempotency-Key": "once"}) for _ in range(2)
    ]

    assert answers[0].json["id"] == answers[1].json["id"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "nodeId"),
        ({"nodeId": 5}, "nodeId"),
        ({"nodeId": "nowhere"}, "nodeId"),
        ({"nodeId": "x" * 65}, "nodeId"),
        ({"nodeId": "there", "node": 1}, "node"),
    ],
)
def test_wrong_fields_are_named(api, ready, there, body, field):
    """One 400 with all of them."""
    answer = api.post(f"/api/instances/{ready}/transfer", body)

    assert (400, [field]) == (answer.status, list(answer.json["details"]))


def test_the_node_that_it_is_on_is_named(api, store, ready):
    """The instance is there already."""
    answer = transfer(api, ready, store.instances.get(ready)["node_id"])

    assert (400, ["nodeId"]) == (answer.status, list(answer.json["details"]))


def test_a_node_of_the_same_engine_is_named(api, store, ready, there):
    """What the instance would leave behind there is what it has."""
    engine = store.nodes.get(store.instances.get(ready)["node_id"])["report"]["engine_id"]
    store.nodes.update(
        there["_id"], {"report.engine_id": engine, "same_engine_as": "another", "updated_at": NOON}
    )

    answer = transfer(api, ready, "there")

    assert (400, ["nodeId"]) == (answer.status, list(answer.json["details"]))
    assert "arrival" not in str(api.get(f"/api/instances/{ready}").json)


def test_a_node_is_found(api, store, memory_nodes, ready, there):
    """`auto` passes over the node that it is on, and those that get no more."""
    full = a_node(store, memory_nodes, name="full")
    store.nodes.update(full["_id"], {"schedulable": False, "updated_at": NOON})

    answer = transfer(api, ready, "auto")

    assert (202, there["_id"]) == (answer.status, answer.json["transfer"]["targetId"])


def test_no_other_node_takes_it(api, store, memory_nodes, ready, there):
    """409 as for a deploy, which says why of each but the node that it is on."""
    store.nodes.update(there["_id"], {"schedulable": False, "updated_at": NOON})
    full = a_node(store, memory_nodes, name="full", ram="64M")

    answer = transfer(api, ready, "auto")

    assert (409, "no_node_fits") == (answer.status, answer.json["code"])
    assert {"maintenance": 1, "capacity_exceeded": 1} == answer.json["details"]["reasons"]
    assert [
        {
            "id": full["_id"], "name": "full", "reason": "capacity_exceeded",
            "message": "The node has not enough memory left.",
            "details": {"requestedMib": 128, "allocatedMib": 0, "capacityMib": 64},
        },
        {
            "id": there["_id"], "name": "there", "reason": "maintenance",
            "message": "The node gets no more instances for now.", "details": {},
        },
    ] == answer.json["details"]["nodes"]  # fmt: skip


def test_nodes_without_free_ports_do_not_fit(api, store, memory_nodes, ready, there):
    """That is seen when they are to be found, and said like all else."""
    taken = store.instances.get(ready)["ports"]
    for node in (there["_id"], a_node(store, memory_nodes, name="third")["_id"]):
        store.nodes.change(node, {"port_range": f"{taken[0]}-{taken[0]}"})
        store.held_ports.record(node, taken[0], now=utc_now())
    before = store.instances.get(ready)

    answer = transfer(api, ready, "auto")

    assert (409, {"no_ports": 2}) == (answer.status, answer.json["details"]["reasons"])
    assert before == store.instances.get(ready)


def test_the_next_node_gets_what_the_best_is_not_cleared_of(api, store, memory_nodes, ready, there):
    """What the instance left on the best is still to be removed, as the error of none says."""
    store.operations.add(new_removal(ready, there["_id"], origin=AT_NOON))
    alone = transfer(api, ready, "auto")
    worse = a_node(store, memory_nodes, name="worse", ram="256M")

    answer = transfer(api, ready, "auto")

    assert (409, {"leftovers": 1}) == (alone.status, alone.json["details"]["reasons"])
    assert (202, worse["_id"]) == (answer.status, answer.json["transfer"]["targetId"])


@pytest.mark.heavy
def test_so_many_nodes_are_tried_as_for_a_drain(api, store, memory_nodes, ready, there):
    """Each is a transaction of one request; of the others the number is said."""
    nodes = [there, *(a_node(store, memory_nodes, name=f"n{n}") for n in range(MOST_TRIED))]
    for node in nodes:
        store.operations.add(new_removal(ready, node["_id"], origin=AT_NOON))

    answer = transfer(api, ready, "auto")

    assert "None of the best nodes fits; 1 more may." == answer.json["error"]
    assert {"leftovers": MOST_TRIED} == answer.json["details"]["reasons"]


def test_a_node_that_is_down_is_not_blamed_on_the_others(api, store, ready, there):
    """Nothing can be copied from it, whatever the others have."""
    store.nodes.update(store.instances.get(ready)["node_id"], {"status": NodeStatus.OFFLINE})

    assert (500, "node_offline") == told(transfer(api, ready, "auto"))[:2]


def test_nodes_that_cannot_copy_are_not_supported(api, store, ready, there):
    """The daemon of such a node knows no volumes as a whole."""
    store.nodes.change(there["_id"], {"driver": "skyportd"})

    answer = transfer(api, ready, there["_id"])

    assert (400, "not_supported") == (answer.status, answer.json["code"])


def test_an_unknown_instance_is_404(api, there):
    """Its path is wrong."""
    assert 404 == transfer(api, "inoneofours0", there["_id"]).status


def test_an_instance_that_is_not_ready_is_409(api, store, ready, there):
    """It is done when it is READY."""
    store.instances.move(ready, InstanceState.INSTALLING, now=NOON)

    answer = transfer(api, ready, there["_id"])

    assert (409, "instance_not_ready") == (answer.status, answer.json["code"])


def test_a_node_that_is_down_is_no_target(api, store, ready, there):
    """It says so at once."""
    store.nodes.update(there["_id"], {"status": "Offline"})

    assert "node_offline" == transfer(api, ready, there["_id"]).json["code"]


def test_what_is_meant_may_have_changed(api, ready, there):
    """A precondition is applied."""
    answer = transfer(api, ready, there["_id"], headers={"If-Match": '"other"'})

    assert (412, Power.RUNNING) == (answer.status, get(api, ready)["power"])
