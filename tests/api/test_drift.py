"""Drift over HTTP: what a node runs against what the documents say, on nodes in memory."""

from dataclasses import replace

import pytest

from service.drivers import ContainerSpec
from service.drivers.memory import Container
from service.model.lifecycle import Power
from service.model.ports import parse
from tests.support import (
    DEPLOY,
    a_body,
    a_node,
    an_image,
    get,
    run_due,
    told,
)

ORPHAN = "istray2345ab"


@pytest.fixture
def orphan(here):
    """A container that no document knows."""
    ports = parse("80:9090")
    spec = ContainerSpec(
        instance_id=ORPHAN,
        image="registry.example.org/orphan:1",
        cmd=("serve", "--fast"),
        env={"GREETING": "hello"},
        memory_mib=256,
        cpu_milli=500,
        ports=ports,
        primary=ports[0],
    )
    here.containers[ORPHAN] = Container(spec, power=Power.RUNNING)
    return here.containers[ORPHAN]


def find(api, node):
    """Ask for the node's drift."""
    answer = api.get(f"/api/nodes/{node['_id']}/drift")
    assert 200 == answer.status
    return answer.json


def resolve(api, node, **resolution):
    """Resolve differences of the node."""
    return api.post(f"/api/nodes/{node['_id']}/drift/resolve", resolution)


# What is seen


def test_a_node_that_agrees_has_no_drift(api, node, ready):
    """What is as it should be is not listed."""
    assert {"unknown": [], "unclaimed": [], "missing": [], "power": []} == find(api, node)


def test_a_stray_container_is_listed(api, node, orphan):
    """A container of ours that no document knows."""
    assert [{"id": ORPHAN, "containerId": f"memory-{ORPHAN}", "power": "running"}] == (
        find(api, node)["unknown"]
    )


def test_a_missing_container_is_listed(api, node, here, ready):
    """An instance whose container somebody removed."""
    here.containers.clear()

    assert [{"id": ready, "name": "an instance"}] == find(api, node)["missing"]


def test_a_difference_in_power_is_listed(api, node, here, ready):
    """A container that stopped by itself a moment ago."""
    here.containers[ready].power = Power.STOPPED

    assert [
        {
            "id": ready,
            "name": "an instance",
            "suspended": False,
            "recorded": "running",
            "seen": "stopped",
        }
    ] == find(api, node)["power"]


def test_looking_changes_nothing(api, look, here, node, orphan, ready):
    """Asking for the drift neither removes nor writes anything."""
    here.containers[ready].power = Power.STOPPED
    before = (look(), set(here.containers))

    find(api, node)

    assert before == (look(), set(here.containers))


def test_what_is_under_way_is_no_drift(api, store, node, place, ready):
    """An instance that is being installed, or deleted, explains its differences itself."""
    api.post(DEPLOY, a_body(place, ports="81:8081", primary="8081"))
    api.delete("/api/instance/delete", {"id": ready})

    assert {"unknown": [], "unclaimed": [], "missing": [], "power": []} == find(api, node)


def test_one_machine_may_be_two_nodes(api, store, memory_nodes, node, here, ready):
    """What another node's documents know is no orphan, though both see its container."""
    other = a_node(store, memory_nodes, name="the same machine")
    memory_nodes[other["_id"]].containers = here.containers

    assert [] == find(api, other)["unknown"]


def test_the_drift_of_a_node_that_is_down_is_not_waited_for(api, store, node):
    """A node that is known to be down is not asked."""
    store.nodes.update(node["_id"], {"status": "Offline"})

    answer = api.get(f"/api/nodes/{node['_id']}/drift")

    assert (500, "node_offline", ["nodeId"]) == told(answer)


def test_an_unknown_node_has_no_drift(api):
    """What does not exist is a 400."""
    assert (400, "node_not_found", ["id"]) == told(api.get("/api/nodes/nowhere/drift"))


@pytest.fixture
def unclaimed(orphan):
    """A container from before installations had ids, which no document knows."""
    orphan.is_ours = False
    return orphan


def test_what_may_be_another_installation_s_is_only_listed(api, node, unclaimed):
    """It is no orphan of ours."""
    drift = find(api, node)

    assert ([], [ORPHAN]) == (drift["unknown"], [one["id"] for one in drift["unclaimed"]])


def test_what_may_be_another_installation_s_is_not_removed(api, store, node, here, unclaimed):
    """400, and nothing was done."""
    answer = resolve(api, node, remove=[ORPHAN])

    assert (400, "invalid_input", ["remove"]) == told(answer)
    assert [] == store.operations.all()


def test_what_may_be_another_installation_s_is_adopted(api, node, place, unclaimed):
    """Somebody who knows that it is ours says so."""
    answer = resolve(api, node, adopt=[{"id": ORPHAN, "user": place[0]["_id"]}])

    assert (201, "running") == (answer.status, get(api, ORPHAN)["power"])


# What somebody says is to become of it


def test_a_stray_container_is_adopted(api, store, node, place, orphan):
    """It becomes an instance of a user, as it is, and runs on."""
    answer = resolve(
        api, node, adopt=[{"id": ORPHAN, "user": place[0]["_id"], "name": "found again"}]
    )

    after = get(api, ORPHAN)
    assert (201, [{"id": ORPHAN, "action": "adopt", "operationId": None}]) == (
        answer.status,
        answer.json,
    )
    assert ("found again", "READY", "running", 256, 0.5, "80:9090", ["GREETING=hello"]) == tuple(
        after[name] for name in ("Name", "InternalState", "power", "Memory", "Cpu", "Ports", "Env")
    )


def test_the_secrets_of_what_is_adopted_are_hidden(api, store, node, place, here, orphan):
    """Their values, which only its environment has, are starred out of what it prints.

    Of several lines the last one alone is as well, where the first ones are cut off.
    """
    container = here.containers[ORPHAN]
    secret = {"type": "text", "default": "", "required": False, "secret": True}
    an_image(store, image=container.spec.image, variables={"GREETING": secret, "PEM": secret})
    env = {"GREETING": "hello", "PEM": "-begin-\nsecond-line"}
    container.spec = replace(container.spec, env=env)
    container.log = "I say hello\n-begin-\nsecond-line\n"
    resolve(api, node, adopt=[{"id": ORPHAN, "user": place[0]["_id"]}])

    answers = [api.get(f"/api/instances/{ORPHAN}/logs?tail={tail}").json for tail in (3, 1)]

    assert [["I say ********", "********"], ["********"]] == [answer["lines"] for answer in answers]


def test_what_was_resolved_is_recorded(api, node, place, orphan):
    """The audit log names each container, and what became of it."""
    resolved = resolve(api, node, adopt=[{"id": ORPHAN, "user": place[0]["_id"]}]).json

    [entry] = api.get("/api/audit?action=nodes.resolve_node_drift").json["entries"]
    assert (resolved, 1) == (entry["after"]["resolved"], entry["after"]["instances"])


def test_what_is_adopted_counts(api, store, node, place, orphan):
    """Its memory and its ports are the node's, even where there was no room."""
    resolve(api, node, adopt=[{"id": ORPHAN, "user": place[0]["_id"]}])

    taken = api.post(DEPLOY, a_body(place, ports="80:9090", primary="9090"))
    assert (256, 409) == (
        store.nodes.get(node["_id"])["allocated"]["memory_mib"],
        taken.status,
    )


def test_a_stray_container_is_removed(api, store, memory_nodes, node, here, orphan):
    """With its volume, by an operation that can be seen."""
    answer = resolve(api, node, remove=[ORPHAN])
    run_due(store, memory_nodes)

    [done] = answer.json
    operation = api.get(f"/api/operations/{done['operationId']}").json
    assert ("remove", "succeeded", {}) == (
        operation["kind"],
        operation["status"],
        here.containers,
    )


def test_a_missing_instance_is_removed(api, store, memory_nodes, node, here, ready):
    """An instance whose container is gone is deleted as any other."""
    here.containers.clear()

    resolve(api, node, remove=[ready])
    run_due(store, memory_nodes)

    assert [] == api.get("/api/instances").json


def test_a_missing_container_is_made_anew(api, store, memory_nodes, node, here, ready):
    """The instance is installed once more, as it was."""
    here.containers.clear()

    resolve(api, node, recreate=[ready])
    states = [get(api, ready)["InternalState"]]
    run_due(store, memory_nodes)

    states.append(get(api, ready)["InternalState"])
    assert (["INSTALLING", "READY"], [ready]) == (states, list(here.containers))


@pytest.mark.parametrize("what", ["remove", "recreate"])
def test_what_is_no_difference_is_named(api, look, node, here, orphan, ready, what):
    """A running instance's id among orphans: 400, and nothing was done."""
    before = (look(), set(here.containers))

    answer = resolve(api, node, **{what: [ready]}, adopt=[])

    assert (400, "invalid_input", [what]) == told(answer)
    assert before == (look(), set(here.containers))


@pytest.mark.parametrize(
    ("resolution", "fields"),
    [
        ({"remove": [ORPHAN, ORPHAN]}, ["remove"]),
        ({"adopt": ["ada", "ada"]}, ["adopt"]),
        ({"adopt": ["ada"], "remove": [ORPHAN]}, ["adopt", "remove"]),
        ({"remove": [ORPHAN], "recreate": [ORPHAN]}, ["remove", "recreate"]),
    ],
)
def test_an_id_is_named_once(api, look, node, place, here, orphan, resolution, fields):
    """What is to be adopted and removed, or twice the same: 400, and nothing was done."""
    adoptions = [{"id": ORPHAN, "user": place[0]["_id"]} for _ in resolution.get("adopt", [])]
    before = (look(), set(here.containers))

    answer = resolve(api, node, **{**resolution, "adopt": adoptions})

    assert (400, "invalid_input", fields) == told(answer)
    assert before == (look(), set(here.containers))


@pytest.mark.parametrize(
    ("adoption", "field"),
    [({"id": ORPHAN, "user": "nobody"}, "adopt"), ({"id": "inothing", "user": "x"}, "adopt")],
)
def test_a_wrong_adoption_is_named(api, node, orphan, adoption, field):
    """An owner or a container that does not exist."""
    answer = resolve(api, node, adopt=[adoption])

    assert (400, [field]) == (answer.status, list(answer.json["details"]))


def test_who_adopts_names_an_owner(api, node, orphan):
    """An adoption without an owner is a 400."""
    assert (400, "invalid_input", ["adopt"]) == told(resolve(api, node, adopt=[{"id": ORPHAN}]))
