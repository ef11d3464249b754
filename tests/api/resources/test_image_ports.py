"""Ports that images declare, and what instances get of them."""

import pytest

from service import images
from service.app import utc_now
from tests.support import DEPLOY, NOON, a_body, an_image, run_due

PATH = "/api/instances"
PORTS = [
    {"name": "game"},
    {"name": "web", "container": 8080},
    {"name": "query", "offset": 1, "env": "QUERY_PORT"},
    {"name": "rcon", "offset": 10, "env": "RCON_PORT"},
]


@pytest.fixture
def place(store, place):
    """A user, a node, and an image that the API may change."""
    return (*place[:2], an_image(store, process=False))


@pytest.fixture
def declare(api, store, place):
    """Has the image of the place declare these ports."""

    def change(ports, image=place[2]):
        answer = api.send("PATCH", f"/api/images/{image['_id']}", json={"ports": ports})
        assert (200, ports) == (answer.status, answer.json["ports"])

    return change


def deploy(api, place, **more):
    """Deploy an instance whose owner names no ports."""
    body = a_body(place, ports="left out", primary="left out")
    return api.post(PATH, {**body, **more})


def names(api, answer):
    """The host ports of what was deployed, by name."""
    return api.get(f"{PATH}/{answer.json['Id']}").json["portNames"]


def test_a_deploy_need_not_name_ports(api, store, memory_nodes, place, declare):
    """All are found, the relations are kept, and the program is told."""
    declare(PORTS)

    answer = deploy(api, place)
    run_due(store, memory_nodes)

    found = names(api, answer)
    shown = api.get(f"{PATH}/{answer.json['Id']}").json
    game = found["game"]
    assert (202, "READY") == (answer.status, shown["InternalState"])
    assert {"game": game, "query": game + 1, "rcon": game + 10, "web": found["web"]} == found
    assert str(game) == shown["Primary"]
    expected = [(game, game), (game + 1, game + 1), (game + 10, game + 10), (8080, found["web"])]
    [container] = memory_nodes[place[1]["_id"]].containers.values()
    assert expected == [(each.container, each.host) for each in container.spec.ports]
    assert game == container.spec.primary.host
    told = {each.env: each.container for each in container.spec.ports if each.env}
    assert {"QUERY_PORT": game + 1, "RCON_PORT": game + 10} == told


def test_who_names_ports_has_those(api, store, place, declare):
    """A client that knows nothing of declared ports is served as before."""
    declare(PORTS)

    first = api.post(DEPLOY, a_body(place))
    second = deploy(api, place, ports="25565:auto")

    for answer in (first, second):
        assert {} == names(api, answer)
        assert 1 == len(store.instances.get(answer.json["Id"])["port_map"])


def test_an_image_without_ports_needs_them_named(api, place):
    """The field is what is missing."""
    answer = deploy(api, place)

    assert (400, ["ports"]) == (answer.status, list(answer.json["details"]))


def test_the_reference_s_deploy_names_ports(api, place, declare):
    """Its path keeps its shape."""
    declare(PORTS)

    answer = api.post(DEPLOY, a_body(place, ports="left out"))

    assert (400, ["ports"]) == (answer.status, list(answer.json["details"]))


def test_they_are_found_together_or_not_at_all(api, store, place, declare):
    """A node without room for the relations has no ports, and nothing is stored."""
    declare([{"name": "game"}, {"name": "query", "offset": 2}])
    node = f"/api/nodes/{place[1]['_id']}"
    assert 200 == api.send("PATCH", node, json={"portRange": "30000-30001"}).status

    answer = deploy(api, place)

    assert (409, "no_ports") == (answer.status, answer.json["code"])
    assert [] == store.instances.list_on(place[1]["_id"])


def test_they_move_together(api, store, memory_nodes, place, declare):
    """Where something else has one of them, the others that it is tied to move with it."""
    declare(PORTS)
    answer = deploy(api, place)
    before = names(api, answer)
    memory_nodes[place[1]["_id"]].held_ports = {before["query"]}

    run_due(store, memory_nodes)

    after = names(api, answer)
    assert after["game"] != before["game"]
    assert after["game"] + 1 == after["query"] != before["query"]
    assert (after["game"] + 10, before["web"]) == (after["rcon"], after["web"])
    [container] = memory_nodes[place[1]["_id"]].containers.values()
    assert after["query"] == next(
        each.container for each in container.spec.ports if each.env == "QUERY_PORT"
    )


def another(store, ports):
    """Add another image, with these ports."""
    fields = {"name": "another", "image": "registry.example.org/another:1", "ports": ports}
    return images.create(store, fields, now=NOON)


def edit(api, store, memory_nodes, answer, **changes):
    """Change an instance, to the end."""
    changed = api.send("PATCH", f"{PATH}/{answer.json['Id']}", json=changes)
    run_due(store, memory_nodes)
    return changed


@pytest.mark.heavy
def test_another_image_keeps_what_has_the_same_name(api, store, memory_nodes, place, declare):
    """A run that is as it was keeps its host ports; what is new is found."""
    declare(PORTS)
    answer = deploy(api, place)
    run_due(store, memory_nodes)
    before = names(api, answer)
    image = another(store, [*PORTS[:1], *PORTS[2:], {"name": "map", "container": 8123}])

    changed = edit(api, store, memory_nodes, answer, image=image["_id"])

    after = names(api, answer)
    assert 202 == changed.status
    assert {name: before[name] for name in ("game", "query", "rcon")} == {
        name: port for name, port in after.items() if name != "map"
    }
    assert ["game", "query", "rcon", "map"] == list(after)


@pytest.mark.heavy
def test_another_image_moves_what_does_not_fit(api, store, memory_nodes, place, declare):
    """Relations are kept, at the same first port where that is possible."""
    declare(PORTS)
    answer = deploy(api, place)
    run_due(store, memory_nodes)
    game = names(api, answer)["game"]
    image = another(store, [{"name": "game"}, {"name": "query", "offset": 2}])

    edit(api, store, memory_nodes, answer, image=image["_id"])

    assert {"game": game, "query": game + 2} == names(api, answer)


@pytest.mark.heavy
def test_another_image_leaves_ports_that_somebody_named(api, store, memory_nodes, place, declare):
    """They are not the image's."""
    answer = deploy(api, place, ports="80:8080")
    run_due(store, memory_nodes)
    image = another(store, PORTS)

    edit(api, store, memory_nodes, answer, image=image["_id"])

    assert "80:8080" == api.get(f"{PATH}/{answer.json['Id']}").json["Ports"]
    assert {} == names(api, answer)


@pytest.mark.heavy
def test_an_image_without_ports_leaves_them(api, store, memory_nodes, place, declare):
    """Players still connect to them; the program is told of none but the primary one."""
    declare(PORTS)
    answer = deploy(api, place)
    run_due(store, memory_nodes)
    before = store.instances.get(answer.json["Id"])["ports"]
    image = another(store, [])

    edit(api, store, memory_nodes, answer, image=image["_id"])

    assert before == store.instances.get(answer.json["Id"])["ports"]
    assert {} == names(api, answer)


@pytest.mark.heavy
def test_null_takes_the_image_s_ports(api, store, memory_nodes, place, declare):
    """Who named ports can have those that are declared."""
    answer = deploy(api, place, ports="80:8080")
    run_due(store, memory_nodes)
    refused = edit(api, store, memory_nodes, answer, ports=None)
    declare(PORTS)

    changed = edit(api, store, memory_nodes, answer, ports=None)

    assert [(400, ["ports"]), 202] == [
        (refused.status, list(refused.json["details"])),
        changed.status,
    ]
    assert ["game", "query", "rcon", "web"] == list(names(api, answer))


@pytest.mark.heavy
def test_a_change_of_something_else_leaves_them(api, store, memory_nodes, place, declare):
    """Nor does sending the ports back that were told."""
    declare(PORTS)
    answer = deploy(api, place)
    run_due(store, memory_nodes)
    path = f"{PATH}/{answer.json['Id']}"
    before = api.get(path).json

    same = edit(api, store, memory_nodes, answer, ports=before["Ports"])
    edit(api, store, memory_nodes, answer, memory=256)

    after = api.get(path).json
    assert (200, 256) == (same.status, after["Memory"])
    assert (before["portNames"], before["Ports"]) == (after["portNames"], after["Ports"])


@pytest.mark.heavy
def test_an_auto_port_that_is_held_moves_at_a_change(api, store, memory_nodes, place):
    """A start that was refused is remedied by asking for `auto` once more."""
    answer = deploy(api, place, ports="80:auto")
    run_due(store, memory_nodes)
    path = f"{PATH}/{answer.json['Id']}"
    before = api.get(path).json["Ports"]
    port = int(before.partition(":")[2])
    store.held_ports.record(place[1]["_id"], port, now=utc_now())

    changed = edit(api, store, memory_nodes, answer, ports="80:auto")

    assert 202 == changed.status
    assert before != api.get(path).json["Ports"]


WRONG = [
    ([{"name": "game", "offset": 1}], {"0": {"offset"}}),
    ([{"name": "game"}, {"name": "game"}], {"0": {"name"}, "1": {"name"}}),
    (
        [{"name": "a"}, {"name": "b", "offset": 1}, {"name": "c", "offset": 1}],
        {"1": {"offset"}, "2": {"offset"}},
    ),
    ([{"name": "a", "env": "1X"}], {"0": {"env"}}),
    ([{"name": "a", "env": "PRIMARY_PORT"}], {"0": {"env"}}),
    ([{"name": "a", "env": "MODE"}], {"0": {"env"}}),
    (
        [{"name": "a", "container": 80}, {"name": "b", "container": 80}],
        {"0": {"container"}, "1": {"container"}},
    ),
    ([{"name": "a", "container": 0}], {"0": {"container"}}),
    (
        [{"name": "a", "offset": 0}, {"name": "b", "offset": 1001}],
        {"0": {"offset"}, "1": {"offset"}},
    ),
    ([{"name": "A b"}], {"0": {"name"}}),
    ([{}], {"0": {"name"}}),
    ([{"name": "a", "offest": 1}], {"0": {"offest"}}),
]  # fmt: skip


@pytest.mark.parametrize(("ports", "wrong"), WRONG)
def test_what_is_declared_wrongly_is_named(api, place, ports, wrong):
    """Each field by its place, and the image stays as it is."""
    path = f"/api/images/{place[2]['_id']}"
    variables = {"MODE": {"type": "text", "default": None, "required": False}}
    assert 200 == api.send("PATCH", path, json={"Variables": variables}).status

    answer = api.send("PATCH", path, json={"ports": ports})

    details = answer.json["details"]
    assert (400, ["ports"]) == (answer.status, list(details))
    assert wrong == {at: set(fields) for at, fields in details["ports"].items()}
    assert [] == api.get(path).json["ports"]
