"""What players connect to, and what keys of owners see of nodes."""

from dataclasses import replace

import pytest

from service import keys
from service.model.lifecycle import NodeStatus
from tests.support import DEPLOY, NODE, NOON, a_deploy, a_node, a_user, an_image, get

PUBLIC = "play.example.org"
SECRETS = ("10.1.2.3", "It does not answer at all.", "is no amount like")


@pytest.fixture
def node(store, memory_nodes):
    """A node whose address nobody else may know, and which has its troubles."""
    node = a_node(store, memory_nodes, public_address=PUBLIC, ram="lots")
    seen = {"address": "10.1.2.3", "port": 2376, "probe_error": "It does not answer at all."}
    return store.nodes.update(node["_id"], seen)


@pytest.fixture
def place(store, node):
    """What a deploy needs."""
    return a_user(store), node, an_image(store)


@pytest.fixture
def instance_id(api, place):
    """An instance on the node."""
    return api.post(DEPLOY, a_deploy(*place, ports="80:25565", primary=25565)).json["Id"]


@pytest.fixture(params=["user", "instances"])
def owner(request, api, store, place, instance_id):
    """A client whose key is limited to a user, or to instances."""
    limits = {"user": {"user_id": place[0]["_id"]}, "instances": {"instance_ids": [instance_id]}}
    grant = {"scopes": ["*"], **limits[request.param]}
    return replace(api, key=keys.create(store, name="k", grant=grant, now=NOON)[1])


def test_an_instance_says_what_a_player_types(api, instance_id):
    """The node's public address, and the primary port."""
    assert f"{PUBLIC}:25565" == get(api, instance_id)["connect"]


@pytest.mark.parametrize(
    ("address", "connect"),
    [("node.example.org", "node.example.org:25565"), ("10.1.2.3", None), ("unix:///x", None)],
)
def test_a_public_address_of_a_node_is_used(api, store, node, instance_id, address, connect):
    """Where nobody said another; one that nobody can use is none."""
    store.nodes.update(node["_id"], {"public_address": None, "address": address})

    assert connect == get(api, instance_id)["connect"]


def test_an_owner_sees_no_management_address(owner, node, instance_id):
    """In the instance, which has what it connects to all the same."""
    answers = [
        owner.post("/api/getInstance", {"id": instance_id}).json,
        owner.get("/api/instances").json[0],
        owner.get("/api/instances?limit=1").json[0],
        owner.get(f"/api/instances/{instance_id}").json,
        owner.post(f"/api/instances/suspend/{instance_id}").json,
    ]

    assert [f"{PUBLIC}:25565"] * 5 == [answer["connect"] for answer in answers]
    summary = {
        "id": node["_id"],
        "name": "node",
        "address": PUBLIC,
        "port": None,
        "status": "Online",
    }
    assert [summary] * 5 == [answer["Node"] for answer in answers]


@pytest.mark.parametrize("path", ["/api/nodes", "/api/nodes?limit=1", "/api/nodes?sort=name",
                                  "/api/nodes/node"])  # fmt: skip
def test_an_owner_sees_no_troubles_of_nodes(owner, node, path):
    """Nor where they are called, in lists of nodes and by address."""
    answer = owner.get(path)

    [shown] = answer.json if isinstance(answer.json, list) else [answer.json]
    assert not [secret for secret in SECRETS if secret in str(answer.json)]
    assert (node["_id"], "node", NodeStatus.ONLINE, PUBLIC, None, []) == (
        *(shown[name] for name in ("id", "name", "status", "address", "error", "warnings")),
    )


def test_an_address_that_is_not_public_is_null(owner, store, node, instance_id):
    """For keys of owners."""
    store.nodes.update(node["_id"], {"public_address": None})

    shown = owner.post("/api/getInstance", {"id": instance_id}).json
    assert (None, None) == (shown["connect"], shown["Node"]["address"])
    assert [None] == [node["address"] for node in owner.get("/api/nodes").json]


def test_who_runs_the_panel_sees_it_all(api, store, instance_id):
    """Also with a key that is limited to nodes."""
    node_ids = [node["_id"] for node in store.nodes.all()]
    grant = {"scopes": ["*"], "node_ids": node_ids}
    of_nodes = replace(api, key=keys.create(store, name="k", grant=grant, now=NOON)[1])

    for client in (api, of_nodes):
        [node] = client.get("/api/nodes").json
        assert ("10.1.2.3", 2376, PUBLIC) == (node["address"], node["port"], node["publicAddress"])
        assert "10.1.2.3" == get(client, instance_id)["Node"]["address"]
        assert node["warnings"]


@pytest.mark.parametrize(
    ("given", "stored"),
    [("[2001:db8::1]", "2001:db8::1"), ("play.example.org", "play.example.org"), (None, None)],
)
def test_a_public_address_is_given_with_a_new_node(api, given, stored):
    """It is answered as it is stored."""
    body = {**NODE, "port": 3002, "publicAddress": given}

    answer = api.post("/api/nodes/create", body)

    assert (201, stored) == (answer.status, answer.json["publicAddress"])


@pytest.mark.parametrize("wrong", ["play.example.org:25565", "https://x.org", 7, [], ""])
def test_a_wrong_public_address_is_named(api, look, wrong):
    """And no node is stored."""
    answer = api.post("/api/nodes/create", {**NODE, "port": 3002, "publicAddress": wrong})

    assert (400, ["publicAddress"]) == (answer.status, list(answer.json["details"]))
    assert [] == look()["nodes"]
