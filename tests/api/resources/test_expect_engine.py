"""A node that goes on as another engine."""

import pytest

from service import probing
from service.model.lifecycle import Power
from service.worker.reconcile import reconcile
from tests.support import DEPLOY, NOON, a_body, a_node, run_due, told


@pytest.fixture
def ready(api, store, memory_nodes, place):
    """An instance that runs on the node of the place."""
    deployed = api.post(DEPLOY, a_body(place)).json["Id"]
    run_due(store, memory_nodes)
    return deployed


@pytest.fixture
def here(memory_nodes, place):
    """The machine, on which there is another engine now, with nothing on it."""

    def replace():
        node = memory_nodes[place[1]["_id"]]
        node.engine_id = "new-engine"
        node.containers.clear()
        return node

    return replace


def edit(api, place, **changes):
    """Change the node."""
    return api.send("PATCH", f"/api/nodes/{place[1]['_id']}", json=changes)


@pytest.mark.parametrize("changes", [{"address": "10.0.0.2"}, {}])
@pytest.mark.parametrize("expected", ["new-engine", None])
def test_the_expected_engine_is_taken(api, store, place, here, ready, changes, expected):
    """At a new address, or at that of before; what held ports there is forgotten."""
    store.held_ports.record(place[1]["_id"], 30000, now=NOON)
    here()

    answer = edit(api, place, **changes, expectEngine=expected)

    assert (200, "new-engine", []) == (
        answer.status, answer.json["engineId"], answer.json["heldPorts"]
    )  # fmt: skip


def test_another_engine_is_refused(api, store, place, here, ready):
    """Nothing is changed then."""
    here()
    before = store.nodes.get(place[1]["_id"])

    answer = edit(api, place, address="10.0.0.2", expectEngine="an-other")

    assert (409, "different_engine") == told(answer)[:2]
    assert before == store.nodes.get(place[1]["_id"])


def test_an_engine_of_another_node_is_refused(api, store, memory_nodes, place, here, ready):
    """Host ports and memory are counted for each node."""
    other = a_node(store, memory_nodes, name="other")
    probing.probe(store, memory_nodes, other, now=NOON)
    here().engine_id = memory_nodes[other["_id"]].engine_id
    before = store.nodes.get(place[1]["_id"])

    answer = edit(api, place, address="10.0.0.2", expectEngine=None)

    assert (409, "node_exists") == told(answer)[:2]
    assert before == store.nodes.get(place[1]["_id"])


def test_one_that_does_not_answer_is_refused(api, store, place, here, ready):
    """The node stays where it was."""
    here().faults.silence()
    before = store.nodes.get(place[1]["_id"])

    answer = edit(api, place, address="10.0.0.2", expectEngine="new-engine")

    assert (500, "node_unreachable") == told(answer)[:2]
    assert before == store.nodes.get(place[1]["_id"])


@pytest.mark.heavy
def test_what_is_not_there_is_drift(api, store, memory_nodes, place, here, ready):
    """Nothing is made or started by itself; the operator has it made again."""
    new, path = here(), f"/api/nodes/{place[1]['_id']}/drift"
    edit(api, place, address="10.0.0.2", expectEngine="new-engine")
    node = store.nodes.get(place[1]["_id"])

    reconcile(store, memory_nodes, node, now=NOON)
    run_due(store, memory_nodes)

    assert [ready] == [each["id"] for each in api.get(path).json["missing"]]
    assert ({}, Power.STOPPED) == (new.containers, store.instances.get(ready)["power"])

    api.post(f"{path}/resolve", {"recreate": [ready]})
    run_due(store, memory_nodes)

    assert [ready] == list(new.containers)
    assert [] == api.get(path).json["missing"]


@pytest.mark.parametrize("value", ["", 7, "x" * 129, []])
def test_what_is_no_engine_is_named(api, place, value):
    """The field is what is wrong."""
    answer = edit(api, place, expectEngine=value)

    assert (400, ["expectEngine"]) == (answer.status, list(answer.json["details"]))
