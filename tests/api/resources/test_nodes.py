"""Nodes by address: added, read by id or by name, changed and deleted, with the web's own codes."""

import pytest

from service import instances, node_edits, nodes, probing
from service.errors import Conflict
from service.model.lifecycle import NodeStatus
from service.model.node_policy import NodePolicy
from tests.support import AT_NOON, DEPLOY, NODE, NOON, a_body, a_node, an_order, told

POLICY = NodePolicy(allow_process=True, allow_loopback=True)
SKYPORTD = {**NODE, "port": 3002}


def patch(api, node_id, body):
    """Send PATCH for a node."""
    return api.send("PATCH", f"/api/nodes/{node_id}", json=body)


@pytest.fixture
def node(store, memory_nodes):
    """A node that is Online."""
    return a_node(store, memory_nodes, name="helsinki-1", ram="4", address="10.0.0.1")


@pytest.fixture
def enrolled(api):
    """The id of a skyportd node, whose key is known."""
    return api.post("/api/nodes", {**SKYPORTD, "apiKey": "k" * 20}).json["id"]


def test_a_node_is_added_at_an_address(api):
    """
    201 with the node, what its daemon is enrolled with, and its path.
    """
    added = api.post("/api/nodes", {**SKYPORTD, "externalId": "n-1", "labels": {"zone": "a"}})

    assert (201, f"/api/nodes/{added.json['id']}") == (added.status, added.headers["Location"])
    assert ("n-1", {"zone": "a"}, True, False) == (
        added.json["externalId"],
        added.json["labels"],
        "configureKey" in added.json,
        "Message" in added.json,
    )


def test_bad_input_is_a_400_that_names_every_field(api, store):
    """
    Unknown fields too; and nothing is stored.
    """
    answer = api.post("/api/nodes", {**SKYPORTD, "port": 0, "adress": "x", "labels": {"a.b": "c"}})

    assert (400, {"port", "adress", "labels"}) == (answer.status, set(answer.json["details"]))
    assert [] == store.nodes.all()


@pytest.mark.parametrize("path", ["/api/nodes", "/api/nodes/create"])
@pytest.mark.parametrize("name", ["auto", "AUTO"])
def test_no_node_is_called_auto(api, store, path, name):
    """
    The name stands for whichever node fits.
    """
    assert (400, "invalid_input", ["name"]) == told(api.post(path, {**SKYPORTD, "name": name}))
    assert [] == store.nodes.all()


def test_a_node_is_read_by_its_id_and_by_its_name(api, node):
    """
    Both lead to the same document.
    """
    by_id, by_name = api.get(f"/api/nodes/{node['_id']}"), api.get("/api/nodes/helsinki-1")

    assert (200, by_id.json) == (by_name.status, by_name.json)
    assert node["_id"] == by_id.json["id"]


def test_an_exact_id_wins_over_a_name(api, store, memory_nodes, node):
    """
    Nobody takes a node's place by being called like it.
    """
    a_node(store, memory_nodes, name=node["_id"])

    assert "helsinki-1" == api.get(f"/api/nodes/{node['_id']}").json["name"]


def test_the_name_of_several_is_none(api, store, memory_nodes, node):
    """
    A 400 that has their ids; nothing is deleted.
    """
    other = a_node(store, memory_nodes, name="helsinki-1")

    answers = [api.get("/api/nodes/helsinki-1"), api.delete("/api/nodes/helsinki-1")]

    assert [(400, "ambiguous_name")] * 2 == [told(answer)[:2] for answer in answers]
    assert all(each["_id"] in str(answers[0].json["details"]) for each in (node, other))
    assert 2 == len(store.nodes.all())


def test_a_deploy_takes_a_nodes_name(api, store, place):
    """Of the reference's endpoint too; an unknown one is a 400 as before."""
    _, node, _ = place

    deployed = api.post(DEPLOY, a_body(place, nodeId="node"))

    assert (201, node["_id"]) == (deployed.status, store.instances.all()[0]["node_id"])
    unknown = a_body(place, nodeId="elsewhere", ports="80:8081", primary="8081")
    assert (400, "node_not_found", ["nodeId"]) == told(api.post(DEPLOY, unknown))


@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
def test_an_unknown_node_is_a_404(api, method):
    """
    Beyond the reference, what a path names and does not exist is a 404.
    """
    assert (404, "node_not_found") == told(api.send(method, "/api/nodes/nowhere"))[:2]


@pytest.mark.parametrize("word", ["create", "delete"])
def test_the_references_paths_are_no_nodes(api, store, memory_nodes, word):
    """
    They keep their 405, also when a node is called like one of them.
    """
    a_node(store, memory_nodes, name=word)

    assert (405, "method_not_allowed") == told(api.get(f"/api/nodes/{word}"))[:2]


def test_what_is_absent_stays_as_it_is(api, store, node):
    """
    And what is given is changed, in the document and for the next probe.
    """
    changed = patch(api, node["_id"], {"name": "turku-1", "tags": ["eu"], "labels": {"zone": "a"}})

    assert (200, "turku-1", ["eu"], {"zone": "a"}, "4", "10.0.0.1") == (
        changed.status,
        *(changed.json[name] for name in ("name", "tags", "labels", "ram", "address")),
    )
    assert store.nodes.get(node["_id"])["status"] == NodeStatus.ONLINE


@pytest.mark.parametrize(
    ("given", "memory_mib", "cpu"),
    [
        ({"ram": "8"}, 8192, None),
        ({"ram": "8", "memoryOverallocate": 50}, 12288, None),
        ({"memoryOverallocate": 50}, 6144, None),
        ({"memoryOverallocate": -1}, None, None),
        ({"ram": None}, None, None),
        ({"processor": "8", "cpuOverallocate": 0}, 4096, 8),
        ({"processor": "8"}, 4096, None),
        ({"disk": "1"}, 4096, None),
    ],
)
def test_capacity_follows_what_is_said(api, node, given, memory_mib, cpu):
    """
    Memory and cores each by the fields that bear on them.
    """
    changed = patch(api, node["_id"], given).json

    assert (memory_mib, cpu) == (changed["memoryMib"], changed["cpu"])


def test_less_than_was_promised_takes_nothing_back(api, store, place):
    """
    What runs goes on, and the next deploy is refused.
    """
    user, node, image = place
    instances.deploy(store, an_order(user, node, image), origin=AT_NOON)

    changed = patch(api, node["_id"], {"ram": "100M"}).json

    assert (100, 128) == (changed["memoryMib"], changed["allocatedMemoryMib"])
    assert (409, "capacity_exceeded") == told(
        api.post(DEPLOY, a_body(place, ports="80:8081", primary="8081"))
    )[:2]


@pytest.mark.parametrize(
    ("field", "bad"),
    [
        ("name", None), ("name", ""), ("name", "Auto"), ("address", "http://x"), ("port", 0),
        ("memoryOverallocate", -2), ("driver", "docker"), ("apiKey", "k" * 20), ("tls", {}),
        ("externalId", ""), ("labels", {"a": 1}), ("status", "Online"),
    ],
)  # fmt: skip
def test_bad_changes_are_a_400(api, store, node, field, bad):
    """
    And what identifies the engine is not changed here at all. Nothing is stored.
    """
    assert (400, "invalid_input", [field]) == told(
        patch(api, node["_id"], {field: bad, "ram": "9"})
    )
    assert node == store.nodes.get(node["_id"])


@pytest.mark.parametrize("field", ["ram", "tags", "address", "port"])
def test_what_a_driver_needs_is_not_taken_away(api, enrolled, field):
    """
    A skyportd node needs all its fields, as when it was added.
    """
    assert (400, "invalid_input", [field]) == told(patch(api, enrolled, {field: None}))


def test_a_node_that_moves_must_answer_first(api, store, memory_nodes, enrolled):
    """
    500, and everything stays as it was.
    """
    memory_nodes[enrolled].faults.silence()
    before = store.nodes.get(enrolled)

    answer = patch(api, enrolled, {"port": 3003, "name": "moved"})

    assert (500, "node_unreachable") == told(answer)[:2]
    assert before == store.nodes.get(enrolled)


def test_a_node_that_moves_is_the_same_engine(api, store, memory_nodes, node):
    """
    409 for another engine; nothing is changed then.
    """
    probing.probe(store, memory_nodes, node, now=NOON)
    before = store.nodes.get(node["_id"])
    memory_nodes[node["_id"]].engine_id = "another"

    answer = patch(api, node["_id"], {"address": "10.0.0.2"})

    assert (409, "different_engine") == told(answer)[:2]
    assert before == store.nodes.get(node["_id"])


def test_a_node_that_moves_is_called_there(api, store, node):
    """
    It is probed at once, and no trust of the operator's in its address goes with it.
    """
    store.nodes.update(node["_id"], {"trusted_address": True})

    moved = patch(api, node["_id"], {"address": "10.0.0.2"})

    after = store.nodes.get(node["_id"])
    assert (200, "10.0.0.2", False, None) == (
        moved.status, moved.json["address"], after["trusted_address"], after["probed_at"]
    )  # fmt: skip


@pytest.mark.parametrize("address", ["169.254.169.254", "127.0.0.1", "0.0.0.0"])
def test_addresses_are_refused_as_for_a_new_node(store, memory_nodes, address):
    """
    Where the settings do not allow them.
    """
    node = nodes.create(
        store,
        memory_nodes,
        {"driver": "skyportd", **NODE, "address": "10.0.0.1", "port": 3002},
        policy=NodePolicy(),
        now=NOON,
    )

    with pytest.raises(Exception, match="may have this address"):
        node_edits.edit(
            store, memory_nodes, node["_id"], {"address": address}, policy=NodePolicy(), now=NOON
        )

    assert node == store.nodes.get(node["_id"])


def test_two_who_move_a_node_do_not_mix(store, memory_nodes, node):
    """
    Who looked at the node before somebody else moved it changes nothing.
    """

    def open_late(moved, **options):
        store.nodes.update(node["_id"], {"port": 4000})  # somebody else, meanwhile
        return memory_nodes(moved, **options)

    with pytest.raises(Conflict):
        node_edits.edit(
            store, open_late, node["_id"], {"address": "10.0.0.2"}, policy=POLICY, now=NOON
        )

    after = store.nodes.get(node["_id"])
    assert ("10.0.0.1", 4000) == (after["address"], after["port"])


def test_a_probe_of_before_overwrites_nothing(store, memory_nodes):
    """
    A probe that began before a change says nothing of the node as it is now.
    """
    node = a_node(store, memory_nodes)
    store.nodes.update(node["_id"], {"memory_from_engine": True})
    seen = store.nodes.get(node["_id"])
    node_edits.edit(store, memory_nodes, node["_id"], {"ram": "1"}, policy=POLICY, now=NOON)

    probing.probe(store, memory_nodes, seen, now=NOON)

    assert 1024 == store.nodes.get(node["_id"])["capacity"]["memory_mib"]


def test_a_deleted_node_is_gone(api, store, node):
    """
    204 without a body, by its name too.
    """
    gone = api.delete("/api/nodes/helsinki-1")

    assert (204, None, []) == (gone.status, gone.json, store.nodes.all())


def test_a_node_with_instances_stays(api, store, place):
    """
    409 with their number, unless they are to be forgotten.
    """
    user, node, image = place
    instances.deploy(store, an_order(user, node, image), origin=AT_NOON)

    kept = api.delete(f"/api/nodes/{node['_id']}")
    forced = api.delete(f"/api/nodes/{node['_id']}?force=true")

    assert (409, "node_not_empty", {"nodeId": ["Instances on it: 1."]}) == (
        kept.status, kept.json["code"], kept.json["details"]
    )  # fmt: skip
    assert (204, []) == (forced.status, store.instances.all())


def test_an_external_id_is_one_nodes(api, node):
    """
    409 at a change and at a new node; it names the field.
    """
    patch(api, node["_id"], {"externalId": "n-1"})
    other = api.post("/api/nodes", SKYPORTD).json["id"]

    assert [(409, "conflict", ["externalId"])] * 2 == [
        told(patch(api, other, {"externalId": "n-1"})),
        told(api.post("/api/nodes", {**SKYPORTD, "externalId": "n-1"})),
    ]


def test_changes_are_in_the_audit_log_by_id(api, node):
    """
    Whatever the path called the node.
    """
    patch(api, "helsinki-1", {"ram": "8"})

    entry = api.get("/api/audit").json["entries"][0]

    assert ("nodes.edit_node", node["_id"], "4", "8") == (
        entry["action"], entry["target"], entry["before"]["ram"], entry["after"]["ram"]
    )  # fmt: skip
