"""Instances over HTTP: look at them, suspend them, delete them."""

import pytest

from service.drivers.memory import Container
from service.model.container import make_spec
from service.model.lifecycle import Power
from service.worker.carry_out import Job, carry_out
from tests.support import (
    BAD_TEXT,
    DEPLOY,
    NOON,
    OBJECTS,
    ApiClient,
    a_body,
    a_key,
    a_user,
    an_app,
    eventually,
    get,
    run_due,
    told,
)


@pytest.fixture
def patient(config, store, memory_nodes, worker):
    """A client of an app that waits for its nodes, while a worker runs."""
    app = an_app(config, store, memory_nodes, wait_s=5)
    return ApiClient(app.test_client(), a_key(store))


@pytest.fixture
def ready(api, store, memory_nodes, place):
    """The id of an instance that is READY and runs."""
    instance_id = api.post(DEPLOY, a_body(place)).json["Id"]
    run_due(store, memory_nodes)
    return instance_id


# Looking


def test_a_fresh_service_lists_no_instances(api):
    """
    Without instances the list is empty, and a list.
    """
    answer = api.get("/api/instances")

    assert (200, []) == (answer.status, answer.json)


def test_all_views_of_an_instance_agree(api, ready):
    """
    The list, the user's list and the single view show the same.
    """
    shown = get(api, ready)

    owned = api.post("/api/getUserInstance", {"userId": shown["User"], "discordserver": "1"})
    listed = api.get("/api/instances")
    assert (200, [shown], 200, [shown]) == (owned.status, owned.json, listed.status, listed.json)


def test_users_see_their_own_instances_only(api, store, ready):
    """
    A user without instances has an empty list, whoever else has some.
    """
    other = a_user(store)

    answer = api.post("/api/getUserInstance", {"userId": other["_id"]})

    assert (200, []) == (answer.status, answer.json)


def test_instances_of_nobody_are_a_400(api, ready):
    """
    An unknown, wrong or missing user is a 400 that names the field.
    """
    bodies = [{}, *({"userId": user_id} for user_id in ("nobody", ".*", *BAD_TEXT))]

    answers = [(body, api.post("/api/getUserInstance", body)) for body in bodies]

    assert [] == [
        (body, answer)
        for body, answer in answers
        if (400, ["userId"]) != (answer.status, list(answer.json["details"]))
    ]


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/api/getInstance"), ("DELETE", "/api/instance/delete")]
)
def test_only_a_known_instance_is_meant(api, ready, look, method, path):
    """
    An unknown, wrong or missing id is a 400 that names the field, and nothing changes.
    """
    bodies = [{}, *({"id": reference} for reference in ("nothing", ".*", *BAD_TEXT))]
    before = look()

    answers = [(body, api.send(method, path, json=body)) for body in bodies]

    assert [] == [
        (body, answer)
        for body, answer in answers
        if (400, ["id"]) != (answer.status, list(answer.json["details"]))
    ]
    assert before == look()


def test_an_unknown_instance_has_a_code(api):
    """
    A program can tell that there is no such instance.
    """
    answer = api.post("/api/getInstance", {"id": "nothing"})

    assert (400, "instance_not_found", ["id"]) == told(answer)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/api/getInstance", 200),
        ("DELETE", "/api/instance/delete", 201),
        ("POST", "/api/instances/suspend/{id}", 200),
        ("POST", "/api/instances/unsuspend/{id}", 200),
    ],
)
def test_a_containers_id_is_an_id(api, ready, method, path, status):
    """
    Wherever an instance's id is taken, its container's is taken as well.
    """
    container_id = get(api, ready)["ContainerId"]

    answer = api.send(method, path.format(id=container_id), json={"id": container_id})

    assert (status, ready) == (answer.status, answer.json["Id"])


def test_a_failure_is_explained(api, store, memory_nodes, place):
    """
    An instance that its node refused is FAILED with the reason, and stays listed.
    """
    memory_nodes[place[1]["_id"]].faults.refuse("There is no such image.")
    instance_id = api.post(DEPLOY, a_body(place)).json["Id"]
    run_due(store, memory_nodes)

    shown = get(api, instance_id)

    assert ("FAILED", "There is no such image.", None) == (
        shown["InternalState"],
        shown["error"],
        shown["ContainerId"],
    )


def test_an_instance_outlives_the_document_of_its_node(api, ready, mongo_client, config):
    """
    A list is complete even while a node's document is missing.
    """
    mongo_client[config.database]["nodes"].delete_many({})

    answer = api.get("/api/instances")

    assert (200, [(ready, "Offline")]) == (
        answer.status,
        [(shown["Id"], shown["Node"]["status"]) for shown in answer.json],
    )


# Deleting


def test_delete_does_not_wait_for_ever(api, ready):
    """
    When the node takes longer than we wait, the answer is 201 all the same, and it is DELETING.
    """
    answer = api.delete("/api/instance/delete", {"id": ready})

    assert (201, ready, "DELETING") == (answer.status, answer.json["Id"], answer.json["state"])
    assert "DELETING" == get(api, ready)["InternalState"]


def test_deleting_twice_is_one_operation(api, ready):
    """
    Deleting what is being deleted is 201 with the same operation.
    """
    first = api.delete("/api/instance/delete", {"id": ready})

    second = api.delete("/api/instance/delete", {"id": ready})

    assert (201, first.json) == (second.status, second.json)


def test_what_is_deleted_is_gone(api, store, memory_nodes, ready):
    """
    Afterwards there is no container, no instance, and the ports and the memory are free.
    """
    node_id = get(api, ready)["Node"]["id"]
    api.delete("/api/instance/delete", {"id": ready})
    run_due(store, memory_nodes)

    listed = api.get("/api/instances").json
    found = api.post("/api/getInstance", {"id": ready})
    again = api.delete("/api/instance/delete", {"id": ready})
    assert ([], 400, 400) == (listed, found.status, again.status)
    assert {} == memory_nodes[node_id].containers
    assert {"instances": 0, "memory_mib": 0, "cpu_milli": 0, "disk_mib": 0} == (
        store.nodes.get(node_id)["allocated"]
    )


def test_a_port_is_free_after_delete(api, store, memory_nodes, place, ready):
    """
    The ports of a deleted instance can be deployed on again.
    """
    api.delete("/api/instance/delete", {"id": ready})
    run_due(store, memory_nodes)

    answer = api.post(DEPLOY, a_body(place))

    assert 201 == answer.status


def test_delete_while_installing(api, store, memory_nodes, place):
    """
    An instance whose deployment has not begun is deleted without being deployed.
    """
    instance_id = api.post(DEPLOY, a_body(place)).json["Id"]

    answer = api.delete("/api/instance/delete", {"id": instance_id})
    run_due(store, memory_nodes)

    assert (201, []) == (answer.status, api.get("/api/instances").json)
    assert {} == memory_nodes[place[1]["_id"]].containers


def test_delete_after_a_failure(api, store, memory_nodes, place):
    """
    An instance that FAILED can be deleted.
    """
    node = memory_nodes[place[1]["_id"]]
    node.faults.refuse()
    instance_id = api.post(DEPLOY, a_body(place)).json["Id"]
    run_due(store, memory_nodes)
    node.faults.behave()

    answer = api.delete("/api/instance/delete", {"id": instance_id})
    run_due(store, memory_nodes)

    assert (201, []) == (answer.status, api.get("/api/instances").json)


def test_delete_on_a_node_that_is_down(api, store, memory_nodes, place, ready):
    """
    Delete is accepted while the node is silent, and the instance stays DELETING until it answers.
    """
    memory_nodes[place[1]["_id"]].faults.silence()

    answer = api.delete("/api/instance/delete", {"id": ready})
    run_due(store, memory_nodes)

    assert (201, "DELETING") == (answer.status, get(api, ready)["InternalState"])


@pytest.mark.heavy
def test_delete_waits_for_its_node(patient, store, place):
    """
    When the node answers in time, the instance is gone when delete is answered.
    """
    instance_id = patient.post(DEPLOY, a_body(place)).json["Id"]

    answer = patient.delete("/api/instance/delete", {"id": instance_id})

    assert (201, "DELETED") == (answer.status, answer.json["state"])
    assert [] == patient.get("/api/instances").json


@pytest.mark.heavy
def test_a_refused_delete_is_a_500(patient, memory_nodes, place):
    """
    When the node says no, so does the answer, with the reason; delete can be repeated.
    """
    node = memory_nodes[place[1]["_id"]]
    instance_id = patient.post(DEPLOY, a_body(place)).json["Id"]
    assert eventually(lambda: get(patient, instance_id)["InternalState"] == "READY")
    node.faults.refuse("The volume is in use.")

    refused = patient.delete("/api/instance/delete", {"id": instance_id})
    node.faults.behave()
    repeated = patient.delete("/api/instance/delete", {"id": instance_id})

    assert (500, "node_failure", "The volume is in use.", {"nodeId": place[1]["_id"]}) == (
        refused.status,
        refused.json["code"],
        refused.json["error"],
        refused.json["details"],
    )
    assert (201, "DELETED") == (repeated.status, repeated.json["state"])


# Suspending


@pytest.mark.parametrize(("action", "suspended"), [("suspend", True), ("unsuspend", False)])
def test_suspend_answers_with_the_instance(api, ready, action, suspended):
    """
    The answer is the instance with what is wanted by now, and the operation that makes it so.
    """
    answer = api.post(f"/api/instances/{action}/{ready}")

    assert (200, ready, suspended) == (answer.status, answer.json["Id"], answer.json["suspended"])
    assert answer.json.pop("operationId")
    assert get(api, ready) == answer.json


@pytest.mark.heavy
def test_a_suspended_instance_stops_and_runs_again(api, store, memory_nodes, ready):
    """
    Suspending stops the container, unsuspending starts it.
    """
    power = []
    for action in ("suspend", "unsuspend"):
        api.post(f"/api/instances/{action}/{ready}")
        run_due(store, memory_nodes)
        power.append(get(api, ready)["power"])

    assert ["stopped", "running"] == power


@pytest.mark.parametrize("action", ["suspend", "unsuspend"])
def test_suspending_twice_is_harmless(api, store, memory_nodes, ready, action):
    """
    The second time is 200 as well, and leaves the same instance.
    """
    first = api.post(f"/api/instances/{action}/{ready}")
    second = api.post(f"/api/instances/{action}/{ready}")
    run_due(store, memory_nodes)

    shown = get(api, ready)
    assert (200, 200) == (first.status, second.status)
    assert (action == "suspend", "READY") == (shown["suspended"], shown["InternalState"])


def test_suspend_while_installing(api, store, memory_nodes, place):
    """
    It adds no operation; the deployment ends with a container that does not run.
    """
    instance_id = api.post(DEPLOY, a_body(place)).json["Id"]

    answer = api.post(f"/api/instances/suspend/{instance_id}")
    run_due(store, memory_nodes)

    shown = get(api, instance_id)
    assert (200, True, False) == (
        answer.status,
        answer.json["suspended"],
        "operationId" in answer.json,
    )
    assert ("READY", "stopped", True) == (
        shown["InternalState"],
        shown["power"],
        shown["suspended"],
    )


@pytest.fixture
def failed(api, store, memory_nodes, place):
    """The id of an instance that FAILED before anything was made; its node behaves again."""
    memory_nodes[place[1]["_id"]].faults.refuse("no such image")
    instance_id = api.post(DEPLOY, a_body(place)).json["Id"]
    run_due(store, memory_nodes)
    memory_nodes[place[1]["_id"]].faults.behave()
    return instance_id


@pytest.fixture
def failed_and_runs(store, memory_nodes, place, failed):
    """The id of one that FAILED and has a container that runs."""
    spec = make_spec(store.instances.get(failed))
    memory_nodes[place[1]["_id"]].containers[failed] = Container(spec, power=Power.RUNNING)
    return failed


def test_suspending_what_failed_looks_for_a_container(api, store, memory_nodes, failed):
    """
    It adds an operation, which is done when there is nothing to stop; the reason of the failure
    stays.
    """
    answer = api.post(f"/api/instances/suspend/{failed}")
    run_due(store, memory_nodes)

    ended = api.get(f"/api/operations/{answer.json['operationId']}").json
    shown = get(api, failed)
    assert (200, "succeeded", "FAILED", True, "stopped", "no such image") == (
        answer.status,
        ended["status"],
        shown["InternalState"],
        shown["suspended"],
        shown["power"],
        shown["error"],
    )


def test_suspending_what_failed_and_runs_stops_it(api, store, memory_nodes, place, failed_and_runs):
    """
    A container may run although its deployment was given up.
    """
    api.post(f"/api/instances/suspend/{failed_and_runs}")
    run_due(store, memory_nodes)

    container = memory_nodes[place[1]["_id"]].containers[failed_and_runs]
    shown = get(api, failed_and_runs)
    assert (Power.STOPPED, "FAILED", "stopped", "no such image") == (
        container.power,
        shown["InternalState"],
        shown["power"],
        shown["error"],
    )


def test_unsuspending_what_failed_starts_nothing(api, store, memory_nodes, failed):
    """
    It is written down that it may run, and a suspension that waits is left undone.
    """
    api.post(f"/api/instances/suspend/{failed}")

    answer = api.post(f"/api/instances/unsuspend/{failed}")

    assert (200, "FAILED", False, False, 0) == (
        answer.status,
        answer.json["InternalState"],
        answer.json["suspended"],
        "operationId" in answer.json,
        run_due(store, memory_nodes),
    )


def test_unsuspending_overtakes_the_suspension_of_what_failed(
    api, store, memory_nodes, place, failed_and_runs
):
    """
    A suspension that was claimed already ends superseded, and starts nothing either.
    """
    here = memory_nodes[place[1]["_id"]]
    here.containers[failed_and_runs].power = Power.STOPPED
    api.post(f"/api/instances/suspend/{failed_and_runs}")
    claimed = store.claims.take("a-token", lease_s=30)
    api.post(f"/api/instances/unsuspend/{failed_and_runs}")

    carry_out(Job(store, claimed, lease_s=30, now=lambda: NOON), memory_nodes)

    assert ("superseded", Power.STOPPED) == (
        store.operations.get(claimed["_id"])["status"],
        here.containers[failed_and_runs].power,
    )


def test_what_was_suspended_and_then_fails_is_stopped(api, store, memory_nodes, place):
    """
    A deployment that is given up leaves the stopping of its container to an operation.
    """
    here = memory_nodes[place[1]["_id"]]
    deployed = api.post(DEPLOY, a_body(place)).json
    api.post(f"/api/instances/suspend/{deployed['Id']}")
    spec = make_spec(store.instances.get(deployed["Id"]))
    here.containers[deployed["Id"]] = Container(spec, power=Power.RUNNING)

    api.post(f"/api/operations/{deployed['operationId']}/cancel")
    run_due(store, memory_nodes)

    assert ("FAILED", Power.STOPPED) == (
        get(api, deployed["Id"])["InternalState"],
        here.containers[deployed["Id"]].power,
    )


def test_suspending_what_nothing_deploys_stops_it(api, store, memory_nodes, place):
    """
    An instance that is INSTALLING with no deployment to apply what is wanted gets an operation.
    """
    here = memory_nodes[place[1]["_id"]]
    instance_id = api.post(DEPLOY, a_body(place)).json["Id"]
    store.transaction(
        lambda session: store.operations.supersede_waiting(instance_id, now=NOON, session=session)
    )
    spec = make_spec(store.instances.get(instance_id))
    here.containers[instance_id] = Container(spec, power=Power.RUNNING)

    api.post(f"/api/instances/suspend/{instance_id}")
    run_due(store, memory_nodes)

    assert Power.STOPPED == here.containers[instance_id].power


@pytest.mark.heavy
def test_a_failed_suspension_of_what_failed_is_retried(
    api, store, memory_nodes, place, failed_and_runs
):
    """
    When the node said no, a retry stops it.
    """
    here = memory_nodes[place[1]["_id"]]
    here.faults.refuse("Busy.")
    operation_id = api.post(f"/api/instances/suspend/{failed_and_runs}").json["operationId"]
    run_due(store, memory_nodes)
    here.faults.behave()

    answer = api.post(f"/api/operations/{operation_id}/retry")
    run_due(store, memory_nodes)

    assert (200, Power.STOPPED) == (answer.status, here.containers[failed_and_runs].power)


def test_suspending_what_lost_its_container_is_no_failure(api, store, memory_nodes, place, ready):
    """
    What does not exist does not run.
    """
    memory_nodes[place[1]["_id"]].containers.clear()

    answer = api.post(f"/api/instances/suspend/{ready}")
    run_due(store, memory_nodes)

    assert ("succeeded", "stopped") == (
        api.get(f"/api/operations/{answer.json['operationId']}").json["status"],
        get(api, ready)["power"],
    )


@pytest.mark.parametrize("action", ["suspend", "unsuspend"])
def test_what_is_being_deleted_is_not_suspended(api, ready, action):
    """
    For an instance that is DELETING it is a 400, as for one that is unknown.
    """
    api.delete("/api/instance/delete", {"id": ready})

    answer = api.post(f"/api/instances/{action}/{ready}")

    assert (400, "instance_not_found", ["id"]) == told(answer)


@pytest.mark.parametrize("action", ["suspend", "unsuspend"])
def test_an_unknown_instance_is_not_suspended(api, action):
    """
    An unknown id in the path is a 400.
    """
    answer = api.post(f"/api/instances/{action}/nothing")

    assert (400, "instance_not_found", ["id"]) == told(answer)


@pytest.mark.parametrize("body", [{}, {"id": None}, {"id": "the same"}, {"other": 1}])
@pytest.mark.parametrize("action", ["suspend", "unsuspend"])
def test_the_body_may_repeat_the_id(api, ready, action, body):
    """
    A body without an id, or with that of the path, changes nothing.
    """
    if body.get("id"):
        body = {"id": ready}

    answer = api.post(f"/api/instances/{action}/{ready}", body)

    assert 200 == answer.status


@pytest.mark.parametrize("action", ["suspend", "unsuspend"])
def test_the_body_must_agree_with_the_path(api, ready, look, action):
    """
    Another or a wrong id in the body is a 400 that names it, and nothing changes.
    """
    before = look()

    answers = [
        api.post(f"/api/instances/{action}/{ready}", {"id": other})
        for other in ("other", "", 7, "a\0b", *OBJECTS)
    ]

    assert {(400, "invalid_input", ("id",))} == {
        (answer.status, answer.json["code"], tuple(answer.json["details"])) for answer in answers
    }
    assert before == look()


@pytest.mark.heavy
def test_suspend_waits_for_its_node(patient, place):
    """
    When the node answers in time, the answer shows what became of the container.
    """
    instance_id = patient.post(DEPLOY, a_body(place)).json["Id"]
    assert eventually(lambda: get(patient, instance_id)["InternalState"] == "READY")

    suspended = patient.post(f"/api/instances/suspend/{instance_id}")
    unsuspended = patient.post(f"/api/instances/unsuspend/{instance_id}")

    assert [(200, True, "stopped"), (200, False, "running")] == [
        (answer.status, answer.json["suspended"], answer.json["power"])
        for answer in (suspended, unsuspended)
    ]


@pytest.mark.heavy
@pytest.mark.parametrize("action", ["suspend", "unsuspend"])
def test_a_refused_suspend_is_a_500(patient, memory_nodes, place, action):
    """
    When the node says no, so does the answer, with the reason; it stays written what is wanted.
    """
    instance_id = patient.post(DEPLOY, a_body(place)).json["Id"]
    assert eventually(lambda: get(patient, instance_id)["InternalState"] == "READY")
    memory_nodes[place[1]["_id"]].faults.refuse("Busy.")

    answer = patient.post(f"/api/instances/{action}/{instance_id}")

    shown = get(patient, instance_id)
    assert (500, "node_failure", "Busy.") == (
        answer.status,
        answer.json["code"],
        answer.json["error"],
    )
    assert (action == "suspend", "Busy.") == (shown["suspended"], shown["error"])
