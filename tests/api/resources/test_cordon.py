"""Nodes that get no more instances, or only so many."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support import DEPLOY, NODE, a_body, free_port, run_due


def edit(api, place, **fields):
    """Change the node of the place."""
    return api.send("PATCH", f"/api/nodes/{place[1]['_id']}", json=fields)


def deploy(api, place):
    """Deploy an instance as the reference says it."""
    port = free_port()
    return api.post(DEPLOY, {**a_body(place), "ports": f"80:{port}", "primary": str(port)})


def test_a_node_gets_instances_until_that_is_said(api, place):
    """It has no bound, and is schedulable."""
    node = edit(api, place, name="renamed").json

    assert (True, None) == (node["schedulable"], node["maxInstances"])


@pytest.mark.heavy
def test_a_cordoned_node_gets_no_more(api, store, place, ready, memory_nodes):
    """What it has stays, and can be changed; allowed again it gets more."""
    cordoned = edit(api, place, schedulable=False)
    refused = deploy(api, place)
    changed = api.send("PATCH", f"/api/instances/{ready}", json={"memory": 64})
    run_due(store, memory_nodes)
    edit(api, place, schedulable=True)
    taken = deploy(api, place)

    assert (200, False) == (cordoned.status, cordoned.json["schedulable"])
    assert (409, "maintenance") == (refused.status, refused.json["code"])
    assert {"nodeId": [place[1]["_id"]]} == refused.json["details"]
    assert (202, 64) == (changed.status, store.instances.get(ready)["memory_mib"])
    assert 201 == taken.status


@pytest.mark.heavy
def test_a_node_has_as_many_as_it_may(api, store, place):
    """However many ask at once."""
    edit(api, place, maxInstances=3)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: deploy(api, place), range(8)))

    assert [201] * 3 + [409] * 5 == sorted(answer.status for answer in answers)
    refused = next(answer.json for answer in answers if answer.status == 409)
    assert ("capacity_exceeded", {"instances": 3, "maxInstances": 3}) == (
        refused["code"],
        refused["details"],
    )
    assert 3 == len(store.instances.list_on(place[1]["_id"]))


def test_a_bound_below_what_is_there_takes_nothing_back(api, store, place, ready):
    """It refuses more; null takes it away."""
    edit(api, place, maxInstances=1)
    refused = deploy(api, place)
    edit(api, place, maxInstances=None)

    assert [409, 201] == [refused.status, deploy(api, place).status]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("schedulable", value) for value in ("true", 1, None, "no")),
        *(("maxInstances", value) for value in (0, -1, "many", 1.5, True, 100_001)),
    ],
)
def test_what_is_wrong_is_named(api, place, field, value):
    """The node stays as it is."""
    answer = edit(api, place, **{field: value})

    assert (400, [field]) == (answer.status, list(answer.json["details"]))


def test_a_node_may_begin_so(api):
    """One that is prepared gets nothing before it is released."""
    answer = api.post(
        "/api/nodes",
        {**NODE, "port": 3002, "schedulable": False, "maxInstances": 5, "portRange": "100-200"},
    )

    assert (False, 5, "100-200") == tuple(
        answer.json[name] for name in ("schedulable", "maxInstances", "portRange")
    )
