"""Which nodes an instance would fit."""

import pytest

from service import keys
from service.node_ranks import MOST_SEARCHED
from tests.support import DEPLOY, NOON, ApiClient, a_body, a_node

PATH = "/api/placement"
SIZE = {"memory": 128, "cpu": 1}


@pytest.fixture
def fleet(store, memory_nodes):
    """Nodes by their names."""
    nodes = (
        {"name": "large", "ram": "1024M", "tags": "eu"},
        {"name": "small", "ram": "256M", "tags": ["EU", "ssd"]},
        {"name": "full", "ram": "64M", "tags": "eu"},
        {"name": "closed", "ram": "1G", "tags": "eu", "schedulable": False},
    )
    return {node["name"]: a_node(store, memory_nodes, **node) for node in nodes}


def names(listed):
    """List the names of nodes."""
    return [node["name"] for node in listed]


def test_nodes_are_ranked(api, fleet, look):
    """Those that fit by their score, the others with the reason and the numbers."""
    before = look()

    answer = api.post(PATH, SIZE)

    assert 200 == answer.status
    assert [
        {"id": fleet["large"]["_id"], "name": "large", "score": 0.875},
        {"id": fleet["small"]["_id"], "name": "small", "score": 0.5},
    ] == answer.json["fits"]
    assert {
        "id": fleet["full"]["_id"], "name": "full", "reason": "capacity_exceeded",
        "message": "The node has not enough memory left.",
        "details": {"requestedMib": 128, "allocatedMib": 0, "capacityMib": 64},
    } in answer.json["unfit"]  # fmt: skip
    assert {"full", "closed"} == set(names(answer.json["unfit"]))
    assert before == look()


def test_a_placement_narrows_and_orders_them(api, fleet):
    """As in a deploy."""
    placement = {"tags": ["ssd"], "exclude": ["full"], "prefer": "fewest-instances"}

    answer = api.post(PATH, {**SIZE, "placement": placement}).json

    assert ["small"] == names(answer["fits"])
    assert {"large": "tag", "closed": "tag", "full": "excluded"} == {
        node["name"]: node["reason"] for node in answer["unfit"]
    }


@pytest.mark.parametrize("spread", ["user", "image"])
def test_it_is_seen_beside_whom_a_node_has_it(api, place, fleet, spread):
    """One instance of the same costs a whole point."""
    user, _, image = place
    api.post(DEPLOY, a_body((user, fleet["large"], image)))
    body = {**SIZE, "user": user["_id"], "image": image["_id"], "placement": {"spread": spread}}

    fits = {node["name"]: node["score"] for node in api.post(PATH, body).json["fits"]}

    assert -0.25 == fits["large"]
    assert fits["small"] > 0


def test_free_ports_are_looked_for(api, store, memory_nodes, place):
    """On the best nodes; one whose range is full does not fit."""
    user, _, image = place
    node = a_node(store, memory_nodes, name="narrow", ram="64G", port_range="5000-5000")
    api.post(DEPLOY, a_body((user, node, image), ports="80:auto", primary="80:auto"))

    answer = api.post(PATH, {**SIZE, "ports": "80:auto"}).json

    assert ["node"] == names(answer["fits"])
    assert [("narrow", "no_ports")] == [(n["name"], n["reason"]) for n in answer["unfit"]]


@pytest.mark.heavy
def test_of_many_nodes_all_are_listed(api, store, memory_nodes):
    """Also those on which no ports were looked for."""
    made = [a_node(store, memory_nodes, name=f"n{n}") for n in range(MOST_SEARCHED + 5)]

    answer = api.post(PATH, {**SIZE, "ports": "80:auto"}).json

    assert (len(made), []) == (len(answer["fits"]), answer["unfit"])


def test_all_that_is_wrong_is_named(api, place):
    """Malformed, unknown, and missing for what is asked."""
    wrong = {"memory": "x", "image": "nothing", "user": "nobody", "prots": "80:auto"}
    lacks = {**SIZE, "placement": {"spread": "user"}}

    answer = api.post(PATH, wrong)

    assert (400, {*wrong, "cpu"}) == (answer.status, set(answer.json["details"]))
    assert ["Is needed to spread by user."] == api.post(PATH, lacks).json["details"]["user"]


def test_an_image_that_a_node_cannot_run_rules_it_out(api, store, memory_nodes, place):
    """Only marked images run as processes."""
    a_node(store, memory_nodes, name="processes", driver="process")
    image = {**place[2]}
    api.send("PATCH", f"/api/images/{image['_id']}", json={"process": False})

    answer = api.post(PATH, {**SIZE, "image": image["_id"]}).json

    assert ["not_supported"] == [n["reason"] for n in answer["unfit"] if n["name"] == "processes"]


def test_a_limited_key_learns_of_its_nodes_alone(api, store, fleet):
    """And of no user but its own."""
    grant = {"node_ids": [fleet["small"]["_id"], fleet["full"]["_id"]]}
    _, value = keys.create(store, name="k", grant=grant, now=NOON)

    answer = ApiClient(api.flask, value).post(PATH, SIZE).json

    assert (["small"], ["full"]) == (names(answer["fits"]), names(answer["unfit"]))


def test_a_key_of_an_owner_learns_the_order_alone(api, store, place, fleet):
    """A score says how many instances of an image others have on each node."""
    user, _, image = place
    api.post(DEPLOY, a_body((user, fleet["large"], image)))
    _, value = keys.create(store, name="k", grant={"user_id": user["_id"]}, now=NOON)
    wish = {**SIZE, "image": image["_id"], "placement": {"spread": "image"}}

    fits = ApiClient(api.flask, value).post(PATH, wish).json["fits"]

    assert "large" == names(fits)[-1]
    assert {"id", "name"} == {name for fit in fits for name in fit}


def test_it_is_neither_audited_nor_kept(api, fleet, database):
    """An Idempotency-Key does nothing, as with all that changes nothing."""
    audited = database["audit"].count_documents({})
    answers = [api.post(PATH, SIZE, headers={"Idempotency-Key": "k"}) for _ in range(2)]

    assert [200, 200] == [answer.status for answer in answers]
    assert audited == database["audit"].count_documents({})
    assert 0 == database["idempotency"].count_documents({})
