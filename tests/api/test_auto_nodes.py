"""Deploys over HTTP that leave the choice of the node to Skyquay."""

import pytest

from service import keys
from tests.support import DEPLOY, NOON, ApiClient, a_body, a_node, told

ADD = "/api/instances"
FREE = {"ports": "80:auto", "primary": "80:auto"}
CHOOSE = {**FREE, "nodeId": "auto"}


@pytest.fixture
def body(place):
    """What deploys an instance on whichever node fits."""
    return a_body(place, **CHOOSE)


@pytest.mark.parametrize("path", [DEPLOY, ADD])
@pytest.mark.parametrize("node_id", ["auto", "AUTO"])
def test_auto_is_whichever_node_fits(api, store, node, body, path, node_id):
    """Both styles choose one, and a host port of it."""
    answer = api.post(path, {**body, "nodeId": node_id})

    [instance] = store.instances.all()
    assert (answer.json["Id"], node["_id"]) == (instance["_id"], instance["node_id"])
    assert [instance["primary_port"]] == instance["ports"]
    assert 1 == store.nodes.get(node["_id"])["allocated"]["instances"]


@pytest.mark.parametrize("left_out", [{}, {"nodeId": None}])
def test_without_a_node_whichever_fits_is_chosen(api, node, body, left_out):
    """In the resource style; the reference's has the field required."""
    body = {**{name: body[name] for name in body if name != "nodeId"}, **left_out}

    assert node["name"] == api.post(ADD, body).json["Node"]["name"]
    assert (400, "invalid_input", ["nodeId"]) == told(api.post(DEPLOY, body))


@pytest.mark.parametrize("path", [DEPLOY, ADD])
def test_a_placement_narrows_the_choice(api, store, memory_nodes, body, path):
    """By tags, by labels, and by what is excluded, by id or by name."""
    a_node(store, memory_nodes, name="a", tags="eu,ssd", ram="64G")
    a_node(store, memory_nodes, name="b", tags=["EU", "SSD"], labels={"rack": "2"}, ram="32G")
    c = a_node(store, memory_nodes, name="c", tags="eu,ssd", labels={"rack": "2"}, ram="1G")
    placement = {"tags": ["eu", "Ssd"], "labels": {"rack": "2"}, "exclude": ["b", "nowhere"]}

    answer = api.post(path, {**body, "placement": placement})

    assert c["_id"] == store.instances.get(answer.json["Id"])["node_id"]


@pytest.mark.parametrize("path", [DEPLOY, ADD])
def test_a_placement_that_is_wrong_is_named_with_all_else(api, look, body, path):
    """Nothing is stored."""
    before = look()
    placement = {"spread": "users", "prefer": "cheapest", "tags": "eu", "tag": ["eu"]}

    answer = api.post(path, {**body, "memory": "abc", "user": "nobody", "placement": placement})

    assert (400, {"memory", "user", "placement"}) == (answer.status, set(answer.json["details"]))
    assert set(placement) == set(answer.json["details"]["placement"])
    assert before == look()


def test_a_placement_of_a_node_that_is_named_is_refused(api, node, body):
    """The reference's endpoint ignores it, like all that it does not know."""
    body = {**body, "nodeId": node["_id"], "placement": {"tags": ["nowhere"]}}

    assert (400, "invalid_input", ["placement"]) == told(api.post(ADD, body))
    assert 201 == api.post(DEPLOY, body).status
    assert 201 == api.post(DEPLOY, {**body, "placement": 7}).status


def test_where_no_node_fits_each_says_why(api, store, memory_nodes, node, body, look):
    """With the numbers; what the order excludes itself comes last."""
    full = a_node(store, memory_nodes, name="full", ram="64M", tags="eu")
    before = look()

    answer = api.post(DEPLOY, {**body, "placement": {"tags": ["eu"]}})

    assert (409, "no_node_fits") == (answer.status, answer.json["code"])
    assert {"capacity_exceeded": 1, "tag": 1} == answer.json["details"]["reasons"]
    assert [
        {
            "id": full["_id"], "name": "full", "reason": "capacity_exceeded",
            "message": "The node has not enough memory left.",
            "details": {"requestedMib": 128, "allocatedMib": 0, "capacityMib": 64},
        },
        {
            "id": node["_id"], "name": node["name"], "reason": "tag",
            "message": "The node lacks the tag eu.", "details": {},
        },
    ] == answer.json["details"]["nodes"]  # fmt: skip
    assert before == look()


@pytest.mark.heavy
def test_of_many_nodes_some_are_explained(api, store, memory_nodes, body):
    """The reasons count them all."""
    for number in range(30):
        a_node(store, memory_nodes, name=f"n{number}", schedulable=False)

    details = api.post(DEPLOY, {**body, "placement": {"tags": ["eu"]}}).json["details"]

    assert ({"tag": 31}, 20) == (details["reasons"], len(details["nodes"]))


def test_a_repeat_answers_the_same(api, store, body):
    """Though another node may have become better."""
    headers = {"Idempotency-Key": "k"}
    first = api.post(ADD, body, headers=headers)
    again = api.post(ADD, body, headers=headers)

    assert first.json == again.json
    assert 1 == len(store.instances.all())


def test_a_repeat_after_a_cut_off_request_answers_what_that_made(
    api, store, memory_nodes, database, body
):
    """On the node that it chose."""
    headers = {"Idempotency-Key": "k"}
    first = api.post(ADD, body, headers=headers)
    gone = {"token": "t", "until": NOON}
    database["idempotency"].update_many({}, [{"$set": {"answer": None, "lease": gone}}])
    a_node(store, memory_nodes, name="better", ram="64G")

    again = api.post(ADD, body, headers=headers)

    assert (first.json["Id"], first.json["Node"]) == (again.json["Id"], again.json["Node"])
    assert 1 == len(store.instances.all())


def test_a_key_that_is_limited_to_nodes_is_given_one_of_them(api, store, memory_nodes, node, body):
    """It learns of no others."""
    a_node(store, memory_nodes, name="hidden", ram="64G")
    grant = {"node_ids": [node["_id"]]}
    _, value = keys.create(store, name="k", grant=grant, now=NOON)
    limited = ApiClient(api.flask, value)

    deployed = limited.post(ADD, body)
    refused = limited.post(ADD, {**body, "placement": {"exclude": [node["_id"]]}})

    assert node["_id"] == deployed.json["Node"]["id"]
    assert {"excluded": 1} == refused.json["details"]["reasons"]


def test_without_any_node_that_is_said(api, store, node, body):
    """With nothing to explain."""
    store.transaction(lambda session: store.nodes.remove(node["_id"], session=session))

    answer = api.post(DEPLOY, body)

    assert (409, "There is no node to choose.", {"reasons": {}, "nodes": []}) == (
        answer.status, answer.json["error"], answer.json["details"]
    )  # fmt: skip
