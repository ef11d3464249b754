"""Host ports that Skyquay finds."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from service.app import utc_now
from tests.support import DEPLOY, a_body, run_due

PATH = "/api/instances"


@pytest.fixture
def narrow(api, place):
    """A node with three host ports to find."""
    node_id = place[1]["_id"]
    answer = api.send("PATCH", f"/api/nodes/{node_id}", json={"portRange": "30000-30002"})
    assert answer.json["portRange"] == "30000-30002"
    return node_id


def add(api, place, ports, **more):
    """Deploy an instance by its resource."""
    body = {name: value for name, value in a_body(place).items() if name != "primary"}
    return api.post(PATH, {**body, "ports": ports, **more})


def hosts_of(store, answer):
    """The port map of what was deployed."""
    instance = store.instances.get(answer.json["Id"])
    return {pair["container"]: pair["host"] for pair in instance["port_map"]}


def test_a_port_is_found(api, store, place, narrow):
    """It is one of the node's range, held by the instance, and the primary one."""
    answer = add(api, place, "25565:auto")
    instance = store.instances.get(answer.json["Id"])

    assert answer.status == 202
    assert instance["ports"] == [instance["primary_port"]] == list(hosts_of(store, answer).values())
    assert 30000 <= instance["primary_port"] <= 30002
    assert str(instance["primary_port"]) == instance["primary"]


def test_the_program_knows_its_port(api, store, place, narrow, memory_nodes):
    """What is found is what the node publishes."""
    answer = add(api, place, "25565:auto")
    run_due(store, memory_nodes)
    (container,) = memory_nodes[narrow].containers.values()

    host = hosts_of(store, answer)[25565]
    assert [(25565, host)] == [(each.container, each.host) for each in container.spec.ports]
    assert host == container.spec.primary.host


def test_a_range_stays_together(api, store, place, narrow):
    """Ports that are to follow each other do, or there are none."""
    taken = add(api, place, "80:30001")
    refused = add(api, place, "80-81:auto")
    api.send("PATCH", f"/api/nodes/{narrow}", json={"portRange": "30000-30003"})
    found = hosts_of(store, add(api, place, "80-81:auto"))

    assert [202, 409] == [taken.status, refused.status]
    assert "no_ports" == refused.json["code"]
    assert {"wanted": 2, "portRange": "30000-30002"} == refused.json["details"]
    assert {80: 30002, 81: 30003} == found


def test_a_primary_port_may_be_found_too(api, store, place, narrow):
    """It is said by the pair."""
    answer = add(api, place, "80:auto,81:auto", primary="81:auto")
    instance = store.instances.get(answer.json["Id"])

    assert hosts_of(store, answer)[81] == instance["primary_port"]


def test_the_reference_s_deploy_finds_ports_as_well(api, store, place, narrow):
    """A client that knows nothing of nodes' ports need not choose one."""
    answer = api.post(DEPLOY, {**a_body(place), "ports": "80:auto", "primary": "80:auto"})

    assert 201 == answer.status
    assert 30000 <= hosts_of(store, answer)[80] <= 30002


@pytest.mark.parametrize("ports", ["80-79:auto", "auto", "80:auto,80:auto", "80:any"])
def test_what_cannot_be_found_is_named(api, store, place, ports):
    """Nothing is stored."""
    answer = add(api, place, ports)

    assert (400, ["ports"]) == (answer.status, list(answer.json["details"]))
    assert [] == store.instances.list_on(place[1]["_id"])


@pytest.mark.parametrize("value", ["5", "9-8", 7, "0-1", [], ""])
def test_a_wrong_range_is_named(api, place, value):
    """The node keeps its own."""
    path = f"/api/nodes/{place[1]['_id']}"
    answer = api.send("PATCH", path, json={"portRange": value})

    assert (400, ["portRange"]) == (answer.status, list(answer.json["details"]))
    assert "20000-39999" == api.get(path).json["portRange"]


@pytest.mark.heavy
def test_many_at_once_get_each_their_own(api, store, place, narrow):
    """As many as there are ports are taken on, and the others are told so."""
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: add(api, place, "80:auto"), range(8)))

    assert 3 == sum(answer.status == 202 for answer in answers)
    assert {"no_ports"} == {a.json["code"] for a in answers if a.status != 202}
    held = [port for each in store.instances.list_on(narrow) for port in each["ports"]]
    assert [30000, 30001, 30002] == sorted(held)


@pytest.mark.heavy
def test_a_change_keeps_the_port_and_finds_another(api, store, memory_nodes, place, narrow):
    """`auto` for a container port that has a host port already changes nothing."""
    deployed = add(api, place, "80:auto")
    run_due(store, memory_nodes)
    before = hosts_of(store, deployed)

    path = f"{PATH}/{deployed.json['Id']}"
    same = api.send("PATCH", path, json={"ports": "80:auto"})
    more = api.send("PATCH", path, json={"ports": "80:auto,81:auto"})
    run_due(store, memory_nodes)

    after = hosts_of(store, deployed)
    assert [200, 202] == [same.status, more.status]
    assert before[80] == after[80] != after[81]
    assert 30000 <= after[81] <= 30002


def test_free_ports_are_listed(api, place, narrow):
    """Lowest first, as many as are asked for, and none that is held."""
    add(api, place, "80:30001")
    path = f"/api/nodes/{narrow}/ports/free"

    assert {"ports": [30000, 30002]} == api.get(f"{path}?count=2").json
    refused = api.get(f"{path}?count=2&consecutive=true")
    assert (409, "no_ports") == (refused.status, refused.json["code"])


def test_what_something_else_holds_is_not_free(api, store, place, narrow):
    """It is shown at the node, and passed over for an hour."""
    store.held_ports.record(narrow, 30000, now=utc_now())
    path = f"/api/nodes/{narrow}"

    assert {"ports": [30001]} == api.get(f"{path}/ports/free").json
    assert [30000] == [each["port"] for each in api.get(path).json["heldPorts"]]


def test_naming_what_was_found_changes_nothing(api, store, memory_nodes, place, narrow):
    """A client that sends an instance's ports back as they are told makes no new container."""
    deployed = add(api, place, "80-81:auto")
    run_due(store, memory_nodes)
    before = store.instances.get(deployed.json["Id"])["port_map"]

    path = f"{PATH}/{deployed.json['Id']}"
    same = api.send("PATCH", path, json={"ports": api.get(path).json["Ports"]})

    assert 200 == same.status
    assert before == store.instances.get(deployed.json["Id"])["port_map"]
    assert [True, True] == [pair["auto"] for pair in before]


@pytest.mark.parametrize("query", ["count=0", "count=101", "count=x", "consecutive=perhaps"])
def test_a_wrong_wish_is_named(api, place, query):
    """The field is what stands before the equals sign."""
    answer = api.get(f"/api/nodes/{place[1]['_id']}/ports/free?{query}")

    assert (400, [query.partition("=")[0]]) == (answer.status, list(answer.json["details"]))
