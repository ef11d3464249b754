"""Instances by address: deployed, read and deleted; 202 while an operation runs."""

import pytest

from service import instances, keys
from service.model.ports import parse
from tests.support import AT_NOON, NOON, a_body, a_user, an_order, run_due, told


@pytest.fixture
def body(place):
    """What deploys an instance here."""
    return a_body(place)


def test_a_deployment_that_runs_is_a_202(api, body):
    """
    With the instance, and the path of its operation.
    """
    answer = api.post("/api/instances", {**body, "externalId": "i-1", "labels": {"plan": "gold"}})

    operation = api.get(answer.headers["Location"]).json
    assert (202, "INSTALLING", "i-1", {"plan": "gold"}) == (
        answer.status,
        *(answer.json[name] for name in ("InternalState", "externalId", "labels")),
    )
    assert (operation["id"], operation["instanceId"]) == (
        answer.json["operationId"],
        answer.json["Id"],
    )


@pytest.mark.heavy
def test_a_deployment_that_has_ended_is_a_201(api, worker, body):
    """
    With the instance's own path.
    """
    answer = api.post("/api/instances?wait=30", body)

    assert (201, "READY", f"/api/instances/{answer.json['Id']}") == (
        answer.status,
        answer.json["InternalState"],
        answer.headers["Location"],
    )


@pytest.mark.heavy
def test_a_deployment_that_fails_is_a_201_with_its_error(api, worker, here, body):
    """
    The instance is there, FAILED, and says why.
    """
    here.faults.refuse("no such image")

    answer = api.post("/api/instances?wait=30", body)

    assert (201, "FAILED", "no such image") == (
        answer.status, answer.json["InternalState"], answer.json["error"]
    )  # fmt: skip


def test_all_that_is_wrong_is_named_at_once(api, store, body):
    """
    Wrong and unknown fields, and the parameter; nothing is stored.
    """
    answer = api.post(
        "/api/instances?wait=x",
        {**body, "memory": "abc", "discordserver": 1, "port": "80", "labels": 7},
    )

    assert (400, {"wait", "memory", "discordserver", "port", "labels"}) == (
        answer.status, set(answer.json["details"])
    )  # fmt: skip
    assert ["Unknown field. Did you mean 'ports'?"] == answer.json["details"]["port"]
    assert [] == store.instances.all()


@pytest.mark.parametrize("field", ["user", "nodeId", "image"])
def test_what_the_body_names_and_does_not_exist_is_a_400(api, body, field):
    """
    A 404 would say that the path is wrong.
    """
    assert (400, [field]) == told(api.post("/api/instances", {**body, field: "nothing"}))[::2]


def test_an_external_id_is_one_instances(api, store, place, body):
    """
    409 that names it; ports and memory of the second one are free.
    """
    api.post("/api/instances", {**body, "externalId": "i-1"})
    other = a_body(place, ports="80:8081", primary="8081")

    assert (409, "conflict", ["externalId"]) == told(
        api.post("/api/instances", {**other, "externalId": "i-1"})
    )
    assert 1 == store.nodes.all()[0]["allocated"]["instances"]
    assert 202 == api.post("/api/instances", {**other, "externalId": "i-2"}).status


def test_many_instances_have_no_external_id(store, place):
    """
    The index has those alone that have one.
    """
    for port in (8001, 8002):
        order = an_order(*place, ports=parse(f"80:{port}"), primary=port)
        instances.deploy(store, order, origin=AT_NOON)

    assert 2 == len(store.instances.all())


def test_the_references_deploy_takes_neither(api, body):
    """
    Unknown fields are ignored there, as they were.
    """
    api.post("/api/instances/deploy", {**body, "externalId": 7, "labels": "x"})

    [instance] = api.get("/api/instances").json
    assert (None, {}) == (instance["externalId"], instance["labels"])


def test_an_instance_is_read_by_its_id_and_its_containers(api, store, ready):
    """
    It is as the reference's look-up has it.
    """
    container_id = store.instances.get(ready)["container_id"]

    answers = [api.get(f"/api/instances/{reference}") for reference in (ready, container_id)]

    looked_up = api.post("/api/getInstance", {"id": ready}).json
    assert [(200, looked_up)] * 2 == [(answer.status, answer.json) for answer in answers]


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_an_unknown_instance_is_a_404(api, method):
    """
    Beyond the reference, what a path names and does not exist is a 404.
    """
    assert (404, "instance_not_found", ["id"]) == told(api.send(method, "/api/instances/nothing"))


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_the_references_path_is_no_instance(api, method):
    """
    It keeps its 405.
    """
    assert 405 == api.send(method, "/api/instances/deploy").status


@pytest.mark.heavy
def test_an_instance_that_is_gone_is_a_204(api, worker, ready):
    """
    Without a body; then it is unknown.
    """
    gone = api.delete(f"/api/instances/{ready}?wait=30")

    assert (204, None, 404) == (
        gone.status, gone.json, api.delete(f"/api/instances/{ready}").status
    )  # fmt: skip


def test_an_instance_that_goes_is_a_202(api, store, memory_nodes, ready):
    """
    With its operation, which a second request answers too; a worker ends it.
    """
    answers = [api.delete(f"/api/instances/{ready}") for _ in range(2)]

    assert [(202, f"/api/operations/{answers[0].json['id']}", "delete")] * 2 == [
        (answer.status, answer.headers["Location"], answer.json["kind"]) for answer in answers
    ]
    run_due(store, memory_nodes)
    assert 404 == api.get(f"/api/instances/{ready}").status


def test_a_forgotten_instance_is_a_204(api, here, ready):
    """
    At once, for a node that may never return.
    """
    here.faults.silence()

    gone = api.delete(f"/api/instances/{ready}?force=true")

    assert (204, 404) == (gone.status, api.get(f"/api/instances/{ready}").status)


@pytest.mark.heavy
def test_a_node_that_refuses_is_a_500(api, worker, here, ready):
    """
    With its reason, as on the reference's path.
    """
    here.faults.refuse("busy")

    assert (500, "node_failure") == told(api.delete(f"/api/instances/{ready}?wait=30"))[:2]


def test_a_key_that_is_limited_to_a_user_sees_that_users_alone(api, store, place, ready):
    """
    Another's is unknown to it, by each method, and stays.
    """
    other = a_user(store)
    limited = keys.create(store, name="x", grant={"user_id": other["_id"]}, now=NOON)[1]

    answers = [
        api.send(method, f"/api/instances/{ready}", headers={"x-api-key": limited})
        for method in ("GET", "DELETE")
    ]

    assert [404, 404] == [answer.status for answer in answers]
    assert store.instances.find(ready) is not None


def test_changes_are_in_the_audit_log(api, ready):
    """
    By the instance's id.
    """
    api.delete(f"/api/instances/{ready}?force=1")

    entry = api.get("/api/audit").json["entries"][0]

    assert ("instances.remove_instance", ready, None) == (
        entry["action"], entry["target"], entry["after"]
    )  # fmt: skip
