"""Nodes over HTTP: list, add, delete."""

from dataclasses import replace

import pytest

from service.app import create_app
from service.errors import NodeUnreachable
from tests.support import ApiClient, a_deploy, a_key, a_node, a_user, an_image, run_due

SKYPORTD = {
    "name": "helsinki-1",
    "tags": "eu",
    "ram": "32",
    "disk": "500",
    "processor": "Ryzen 7",
    "address": "node1.example.org",
    "port": "3002",
}
DOCKER = {"name": "here", "driver": "docker", "address": "unix:///var/run/docker.sock"}
PROCESS = {"name": "here", "driver": "process"}
NO_TEXT = ({"$gt": ""}, {}, ["x"], [], True)
BAD_INPUT = {
    "name": (*NO_TEXT, 7, "a\0b", "x" * 256),
    "tags": ({"$gt": ""}, {}, 7, [7], [["x"]], [{}], True),
    "ram": (*NO_TEXT, " ", "\0"),
    "disk": (*NO_TEXT, " ", "\0"),
    "processor": (*NO_TEXT, " ", "\0"),
    "address": (*NO_TEXT, 7, "a\0b", "x" * 256),
    "port": (*NO_TEXT, 0, 65536, -1, "http", "80:80", 3002.5, "3002.0", "1e3", 2**63),
    "driver": (*NO_TEXT, 7, "", "memory", "podman", None),
    "allowSameEngine": ({"$gt": ""}, {}, ["x"], 0, 1, "true", "yes"),
}


@pytest.fixture
def nodes(mongo_client, config):
    """The collection of nodes, to look into."""
    return mongo_client[config.database]["nodes"]


@pytest.fixture
def down():
    """A driver factory of which no node answers."""

    def find(node, **_):
        raise NodeUnreachable(node["_id"], "Connection refused.")

    return find


def test_a_fresh_service_lists_no_nodes(api):
    """
    Without nodes the list is empty, and a list.
    """
    answer = api.get("/api/nodes")

    assert (200, []) == (answer.status, answer.json)


def test_a_skyportd_node_is_created_unconfigured(api, memory_nodes):
    """
    With all seven fields the node is added as sent, stays Unconfigured, and nobody calls it.
    """
    answer = api.post("/api/nodes/create", SKYPORTD)

    shown = {name: answer.json[name] for name in SKYPORTD}
    assert (201, {**SKYPORTD, "port": 3002}) == (answer.status, shown)
    assert ("Unconfigured", "skyportd", 32768) == (
        answer.json["status"],
        answer.json["driver"],
        answer.json["memoryMib"],
    )
    assert 0 == memory_nodes[answer.json["id"]].calls


def test_a_created_node_stands_under_message_too(api):
    """
    The node is at the top level, and once more where the older panel had it.
    """
    answer = api.post("/api/nodes/create", SKYPORTD)

    assert answer.json["Message"].items() <= answer.json.items()


def test_a_created_node_is_listed(api):
    """
    The list shows the same node as the answer that created it.
    """
    created = api.post("/api/nodes/create", SKYPORTD).json["Message"]

    assert [created] == api.get("/api/nodes").json


@pytest.mark.parametrize("field", SKYPORTD)
def test_a_skyportd_node_needs_all_seven_fields(api, nodes, field):
    """
    Each field that is missing, null or empty is a 400 that names it, and no node is added.
    """
    others = {name: value for name, value in SKYPORTD.items() if name != field}

    answers = [
        api.post("/api/nodes/create", {**others, **absent})
        for absent in ({}, {field: None}, {field: ""})
    ]

    assert [(400, [field])] * 3 == [
        (answer.status, list(answer.json["details"])) for answer in answers
    ]
    assert 0 == nodes.count_documents({})


def test_all_missing_fields_are_named_at_once(api):
    """
    Who sends a name only learns of the six others in one answer.
    """
    answer = api.post("/api/nodes/create", {"name": "helsinki-1"})

    assert (400, SKYPORTD.keys() - {"name"}) == (answer.status, answer.json["details"].keys())


@pytest.mark.parametrize("body", [DOCKER, {**DOCKER, "port": None}, PROCESS])
def test_docker_and_process_nodes_may_leave_out_the_port(api, memory_nodes, body):
    """
    They need no port; they are probed once when they are created, and Online when they answer.
    """
    answer = api.post("/api/nodes/create", body)

    assert (201, None, "Online", None) == (
        answer.status,
        answer.json["port"],
        answer.json["status"],
        answer.json["error"],
    )
    assert ("1.0", "memory", 1) == (
        answer.json["version"],
        answer.json["engine"],
        memory_nodes[answer.json["id"]].calls,
    )


def test_a_docker_node_needs_an_address(api):
    """
    Without an address a Docker Engine cannot be found.
    """
    answer = api.post("/api/nodes/create", {"name": "here", "driver": "docker"})

    assert (400, ["address"]) == (answer.status, list(answer.json["details"]))


def test_a_node_that_does_not_answer_is_added_all_the_same(config, store, down):
    """
    A docker node that is down is Offline, with the reason, and can be probed later.
    """
    api = ApiClient(create_app(config, store, down).test_client(), a_key(store))

    answer = api.post("/api/nodes/create", DOCKER)

    assert (201, "Offline", "Connection refused.", None) == (
        answer.status,
        answer.json["status"],
        answer.json["error"],
        answer.json["lastSeenAt"],
    )


def test_process_nodes_can_be_forbidden(config, store, memory_nodes, nodes):
    """
    Where the settings do not allow process nodes they are a 400 that names the driver.
    """
    app = create_app(replace(config, allow_process=False), store, memory_nodes)
    api = ApiClient(app.test_client(), a_key(store))

    answer = api.post("/api/nodes/create", PROCESS)

    assert (400, ["driver"], 0) == (
        answer.status,
        list(answer.json["details"]),
        nodes.count_documents({}),
    )


@pytest.mark.parametrize("tags", ["eu", "eu, fast", ["eu", "fast"], "a" * 1000])
def test_tags_come_back_as_sent(api, tags):
    """
    A text stays a text and a list a list, in the answer and in the list of nodes.
    """
    created = api.post("/api/nodes/create", {**SKYPORTD, "tags": tags})

    assert (201, tags, tags) == (
        created.status,
        created.json["tags"],
        api.get("/api/nodes").json[0]["tags"],
    )


@pytest.mark.parametrize(
    ("field", "sent", "shown"),
    [
        ("ram", 32, "32"),
        ("ram", 1.5, "1.5"),
        ("ram", "64 GB", "64 GB"),
        ("disk", 500, "500"),
        ("disk", "1T", "1T"),
        ("processor", 8, "8"),
        ("port", 3002, 3002),
        ("port", "3002", 3002),
        ("port", 65535, 65535),
    ],
)
def test_numbers_and_texts_are_both_taken(api, field, sent, shown):
    """
    `ram`, `disk`, `processor` and `port` may be numbers or texts.
    """
    answer = api.post("/api/nodes/create", {**SKYPORTD, field: sent})

    assert (201, shown) == (answer.status, answer.json[field])


@pytest.mark.parametrize(
    ("ram", "mib"), [(32, 32768), ("32", 32768), ("1.5", 1536), ("512M", 512), ("plenty", None)]
)
def test_ram_is_the_capacity(api, ram, mib):
    """
    `ram` is GB when no unit is given; where it cannot be read the memory is not limited.
    """
    answer = api.post("/api/nodes/create", {**SKYPORTD, "ram": ram})

    assert (201, mib) == (answer.status, answer.json["memoryMib"])


@pytest.mark.parametrize("field", BAD_INPUT)
def test_a_wrong_field_of_a_node_is_named(api, nodes, field):
    """
    A field of the wrong type or form is a 400 that names it, and no node is added.
    """
    answers = [
        (value, api.post("/api/nodes/create", {**SKYPORTD, field: value}))
        for value in BAD_INPUT[field]
    ]

    assert [] == [
        (value, answer)
        for value, answer in answers
        if (400, [field]) != (answer.status, list(answer.json["details"]))
    ]
    assert 0 == nodes.count_documents({})


def test_an_empty_node_is_deleted(api, store, memory_nodes, nodes):
    """
    A node without instances is gone, with 201.
    """
    node = a_node(store, memory_nodes)

    answer = api.delete("/api/nodes/delete", {"nodeId": node["_id"]})

    assert (201, {"message": "The node is deleted.", "instances": 0}, 0) == (
        answer.status,
        answer.json,
        nodes.count_documents({}),
    )


def test_a_node_with_instances_stays(api, store, memory_nodes, nodes):
    """
    While an instance lives on it a node cannot be deleted; the answer says how many there are.
    """
    user, node, image = a_user(store), a_node(store, memory_nodes), an_image(store)
    api.post("/api/instances/deploy", a_deploy(user, node, image))

    answer = api.delete("/api/nodes/delete", {"nodeId": node["_id"]})

    assert (400, "node_not_empty", {"nodeId": ["Instances on it: 1."]}, 1) == (
        answer.status,
        answer.json["code"],
        answer.json["details"],
        nodes.count_documents({}),
    )


def test_a_node_can_go_after_its_last_instance(api, store, memory_nodes):
    """
    Once its instances are gone the node can be deleted.
    """
    user, node, image = a_user(store), a_node(store, memory_nodes), an_image(store)
    deployed = api.post("/api/instances/deploy", a_deploy(user, node, image)).json
    api.delete("/api/instance/delete", {"id": deployed["Id"]})
    run_due(store, memory_nodes)

    answer = api.delete("/api/nodes/delete", {"nodeId": node["_id"]})

    assert 201 == answer.status


def test_only_a_known_node_is_deleted(api, store, memory_nodes, nodes):
    """
    An unknown, wrong or missing id is a 400 that names the field, and no node goes.
    """
    a_node(store, memory_nodes)
    wrong = ("nothing", ".*", "", None, 7, True, {"$ne": None}, {}, ["x"], "a\0b", "x" * 65)
    bodies = [{}, *({"nodeId": node_id} for node_id in wrong)]

    answers = [(body, api.delete("/api/nodes/delete", body)) for body in bodies]

    assert [] == [
        (body, answer)
        for body, answer in answers
        if (400, ["nodeId"]) != (answer.status, list(answer.json["details"]))
    ]
    assert 1 == nodes.count_documents({})


def test_a_node_counts_what_lives_on_it(api, store, memory_nodes):
    """
    The list shows how many instances a node has, and what they were promised.
    """
    user, node, image = a_user(store), a_node(store, memory_nodes, ram="2"), an_image(store)
    api.post("/api/instances/deploy", a_deploy(user, node, image, memory=512, cpu="0.5"))

    shown = api.get("/api/nodes").json[0]

    assert (1, 512, 0.5, 2048) == (
        shown["instances"],
        shown["allocatedMemoryMib"],
        shown["allocatedCpu"],
        shown["memoryMib"],
    )


@pytest.mark.parametrize(
    "address", ["ssh://host", "http://host", "tcp://host:1/x", "a b", "host/path", "unix://x"]
)
def test_an_address_that_no_node_has_is_refused(api, store, address):
    """
    A driver is never sent to a scheme that would start a program or call what is no node.
    """
    answer = api.post("/api/nodes/create", {"name": "n", "driver": "docker", "address": address})

    assert (400, ["address"], []) == (
        answer.status,
        list(answer.json["details"]),
        store.nodes.all(),
    )
