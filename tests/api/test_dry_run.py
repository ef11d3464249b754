"""Requests that are only tried: all is checked, and nothing is stored."""

import json
import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from service import keys
from service.store.admin.migrations import begin_events
from tests.event_writing import writing
from tests.support import (
    DEPLOY,
    NOON,
    OPENAPI,
    ApiClient,
    a_body,
    a_node,
    eventually,
    list_collections,
    told,
)

ADD = "/api/instances"
BOTH = pytest.mark.parametrize("path", [DEPLOY, ADD])
CHOOSE = {"nodeId": "auto", "ports": "80:auto", "primary": "80:auto"}


@pytest.fixture
def everything(api, database):
    """Look at all that the database has, once the key's use is noted."""
    api.get("/api/me")

    def look():
        return {name: list(database[name].find()) for name in list_collections(database)}

    return look


def plan_of(answer):
    """Take the instance as it would be, of an answer of either endpoint."""
    return answer.json.get("plan", answer.json)


def try_edit(api, instance_id, body, **headers):
    """Try a change of an instance."""
    path = f"/api/instances/{instance_id}?dryRun=true"
    return api.send("PATCH", path, json=body, headers=headers)


@BOTH
@pytest.mark.parametrize("value", ["true", "1", "yes"])
def test_a_deploy_is_only_tried(api, place, everything, path, value):
    """It answers what would be made, and stores nothing at all."""
    before = everything()
    headers = {"Idempotency-Key": "k"}

    answer = api.post(f"{path}?dryRun={value}", a_body(place), headers=headers)

    assert before == everything()
    _, node, image = place
    plan = plan_of(answer)
    assert (200, True, node["_id"], "80:8080", "8080", 128, 1, image["name"]) == (
        answer.status, plan["dryRun"], plan["Node"]["id"],
        *(plan[name] for name in ("Ports", "Primary", "Memory", "Cpu", "ImageName")),
    )  # fmt: skip


@BOTH
def test_no_id_is_answered_of_what_there_is_not(api, place, path):
    """Each is empty, and none is hidden somewhere else."""
    answer = api.post(f"{path}?dryRun=true", a_body(place))

    ids = [answer.json[name] for name in ("Id", "VolumeId", "volumeId", "operationId")
           if name in answer.json]  # fmt: skip
    assert {""} == {*ids, plan_of(answer)["Id"], plan_of(answer)["VolumeId"]}
    assert [] == re.findall(r"\bi[a-z2-7]{11}\b", str(answer.json))
    assert "Location" not in answer.headers


@BOTH
def test_a_deploy_has_all_that_it_has_when_it_is_only_tried(api, place, path):
    """So it is one type for clients; what is only of one that is tried says so."""
    tried = api.post(f"{path}?dryRun=true", a_body(place)).json
    done = api.post(path, a_body(place)).json

    assert {*done} - {"operationId"} <= {*tried}
    assert {"dryRun", "plan"} >= {*tried} - {*done}
    assert {type(done[name]) for name in done if name in tried} == {
        type(tried[name]) for name in done if name in tried
    }


@pytest.mark.parametrize(
    ("path", "schema"),
    [(DEPLOY, "DeployedAnswer"), (ADD, "InstanceAnswer"), ("/api/instances/{instance_id}", "")],
)
def test_a_deploy_that_is_only_tried_is_documented_with_the_same_type(path, schema):
    """Generated clients have one type for all successes, and need not tell them apart."""
    paths = json.loads(OPENAPI.read_bytes())["paths"]
    operation = paths[path]["post" if schema else "patch"]

    types = {
        answer["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
        for status, answer in operation["responses"].items()
        if status in {"200", "201", "202"}
    }

    assert {schema or "InstanceAnswer"} == types


@BOTH
def test_what_is_not_only_tried_is_done(api, store, place, path):
    """With `dryRun=false` as without it."""
    assert api.post(f"{path}?dryRun=false", a_body(place)).status in (201, 202)
    assert 1 == len(store.instances.all())


@BOTH
def test_what_is_no_boolean_is_refused(api, look, place, path):
    """Neither is it done."""
    before = look()

    assert (400, "invalid_input", ["dryRun"]) == told(
        api.post(f"{path}?dryRun=maybe", a_body(place))
    )
    assert before == look()


@BOTH
def test_the_node_and_the_ports_are_those_of_now(api, memory_nodes, store, place, path):
    """The node is chosen, and ports are found on it, which nobody holds afterwards."""
    best = a_node(store, memory_nodes, ram="64G", port_range="5000-5000")

    tried = [api.post(f"{path}?dryRun=true", a_body(place, **CHOOSE)) for _ in range(2)]

    assert [(200, best["_id"], "80:5000", "5000")] * 2 == [
        (each.status, plan["Node"]["id"], plan["Ports"], plan["Primary"])
        for each in tried
        for plan in [plan_of(each)]
    ]


@BOTH
@pytest.mark.parametrize(
    ("node", "over", "told_"),
    [
        ({"ram": "64M"}, {}, (409, "capacity_exceeded")),
        ({"schedulable": False}, {}, (409, "maintenance")),
        ({"port_range": "1-1"}, {"ports": "80:auto,81:auto", "primary": "80:auto"},
         (409, "no_ports")),
        ({}, {"image": "nothing"}, (400, "image_not_found")),
    ],
)  # fmt: skip
def test_what_a_deploy_would_be_refused_is_refused(
    api, store, memory_nodes, place, path, node, over, told_
):
    """By the transaction's checks as well, with the same answer as when it is done."""
    user, _, image = place
    made = a_node(store, memory_nodes, name="other", **node)
    body = a_body((user, made, image), **over)

    tried, done = api.post(f"{path}?dryRun=true", body), api.post(path, body)

    assert told_ == (tried.status, tried.json["code"])
    assert (done.status, done.json["error"], done.json["details"]) == (
        tried.status, tried.json["error"], tried.json["details"]
    )  # fmt: skip


@BOTH
def test_a_port_that_is_taken_is_refused(api, place, ready, path):
    """The unique index is asked."""
    assert (409, "port_taken") == told(api.post(f"{path}?dryRun=true", a_body(place)))[:2]


@pytest.mark.heavy
def test_a_change_is_only_tried(api, ready, everything):
    """It answers the instance as it would be, and stores nothing."""
    before = everything()

    change = {"memory": 256, "name": "b", "ports": "80:9090", "primary": 9090}
    answer = try_edit(api, ready, change)

    assert before == everything()
    assert (200, True, ready, 256, "b", "80:9090") == (
        answer.status,
        *(answer.json[name] for name in ("dryRun", "Id", "Memory", "Name", "Ports")),
    )


def test_a_change_that_would_be_refused_is_refused(api, store, memory_nodes, place, ready):
    """For what the node lacks, what is malformed, and what is not as it was read."""
    node = f"/api/nodes/{place[1]['_id']}"
    api.send("PATCH", node, json={"ram": "256M"})

    assert (409, "capacity_exceeded") == told(try_edit(api, ready, {"memory": 512}))[:2]
    assert (400, "invalid_input", ["memry"]) == told(try_edit(api, ready, {"memry": 512}))
    assert 412 == try_edit(api, ready, {"memory": 200}, **{"If-Match": '"other"'}).status
    assert (404, "instance_not_found") == told(try_edit(api, "nothing", {"memory": 64}))[:2]
    assert 128 == store.instances.get(ready)["memory_mib"]


def test_a_repeat_with_the_same_key_is_carried_out(api, store, place):
    """What was only tried is not the first request of an Idempotency-Key."""
    headers = {"Idempotency-Key": "k"}
    api.post(f"{ADD}?dryRun=true", a_body(place), headers=headers)

    answer = api.post(ADD, a_body(place), headers=headers)

    assert (202, None) == (answer.status, answer.headers.get("Idempotency-Replayed"))
    assert 1 == len(store.instances.all())


def test_a_key_that_may_not_deploy_may_not_try_either(api, store, place):
    """It is rejected, as ever."""
    _, value = keys.create(store, name="k", grant={"scopes": ["instances:read"]}, now=NOON)

    assert 403 == ApiClient(api.flask, value).post(f"{ADD}?dryRun=true", a_body(place)).status


def test_other_endpoints_are_not_only_tried(api, store, ready):
    """They refuse the parameter, and do nothing."""
    assert 400 == api.delete(f"/api/instances/{ready}?dryRun=true").status
    assert "READY" == store.instances.get(ready)["state"]


def test_no_event_tells_of_it(api, store, place, database):
    """The only instance that is told is the one that was deployed after it."""
    begin_events(database)
    with writing(store):
        api.post(f"{ADD}?dryRun=true", a_body(place))
        made = api.post(ADD, a_body(place)).json["Id"]
        path = "/api/events?types=instance.created"
        told_of = eventually(lambda: api.get(path).json["events"])

    assert [made] == [event["resourceId"] for event in told_of]


@pytest.mark.heavy
def test_many_tries_hinder_no_deploy(api, store, place):
    """Those at once do not count against what the node has."""
    api.send("PATCH", f"/api/nodes/{place[1]['_id']}", json={"ram": "128M"})

    with ThreadPoolExecutor(8) as pool:
        tries = [pool.submit(api.post, f"{ADD}?dryRun=true", a_body(place)) for _ in range(16)]
        statuses = {each.result().status for each in tries}

    assert {200} == statuses
    assert 202 == api.post(ADD, a_body(place)).status
