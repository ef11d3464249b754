"""Operations over HTTP: they can be seen, waited for, retried and cancelled."""

import pytest

from service.api.call import current_call
from service.api.context import EXTENSION
from service.worker.carry_out import Job
from service.worker.interruptions import OperationCancelled
from tests.support import DEPLOY, NOON, a_body, eventually, get, run_due, told


@pytest.fixture
def deployed(api, place):
    """The answer to a deploy that no worker has seen to."""
    return api.post(DEPLOY, a_body(place)).json


@pytest.fixture
def ready(store, memory_nodes, deployed):
    """The answer to a deploy that was carried out."""
    run_due(store, memory_nodes)
    return deployed


def operation(api, operation_id):
    """Get an operation that exists."""
    answer = api.get(f"/api/operations/{operation_id}")
    assert 200 == answer.status
    return answer.json


def test_an_operation_tells_how_far_it_is(api, deployed):
    """What was just taken on is pending, with who asked and for what."""
    found = operation(api, deployed["operationId"])

    assert ("deploy", deployed["Id"], "pending", [], 0) == tuple(
        found[name] for name in ("kind", "instanceId", "status", "steps", "attempts")
    )


def test_steps_are_shown(api, ready):
    """What was done is shown step by step, with times."""
    found = operation(api, ready["operationId"])

    assert ("succeeded", ["create", "start"]) == (
        found["status"],
        [step["name"] for step in found["steps"] if step["endedAt"]],
    )


def test_a_lease_is_not_shown(api, deployed):
    """Workers' tokens are nobody else's affair."""
    assert "lease" not in operation(api, deployed["operationId"])


def test_an_unknown_operation_is_a_400(api):
    """What does not exist is a 400 with its own code, as everywhere."""
    assert (400, "operation_not_found", ["id"]) == told(api.get("/api/operations/nothing"))


@pytest.mark.parametrize(
    "query",
    ["instanceId={Id}", "status=succeeded", "instanceId={Id}&status=succeeded", "limit=1"],
)
def test_operations_are_found(api, ready, query):
    """They are listed by instance, by status, and all of them."""
    found = api.get(f"/api/operations?{query.format(**ready)}").json

    assert [ready["operationId"]] == [one["id"] for one in found]


@pytest.mark.parametrize("query", ["instanceId=inothing", "status=pending", "nodeId=nowhere"])
def test_other_operations_are_not(api, ready, query):
    """What does not match is left out."""
    assert [] == api.get(f"/api/operations?{query}").json


@pytest.mark.parametrize(
    ("query", "field"), [("status=done", "status"), ("limit=0", "limit"), ("limit=x", "limit")]
)
def test_a_bad_query_is_named(api, query, field):
    """A wrong value in the query is a 400 that names it."""
    assert (400, "invalid_input", [field]) == told(api.get(f"/api/operations?{query}"))


def test_the_newest_operation_is_first(api, store, memory_nodes, ready):
    """A list begins with what was asked for last."""
    suspended = api.post(f"/api/instances/suspend/{ready['Id']}").json

    listed = api.get(f"/api/operations?instanceId={ready['Id']}").json

    assert [suspended["operationId"], ready["operationId"]] == [one["id"] for one in listed]


# Retry


def test_a_waiting_operation_is_hurried(api, store, memory_nodes, place, deployed):
    """A retry of what waits for its next attempt lets it be tried at once."""
    memory_nodes[place[1]["_id"]].faults.fail_times(1)
    run_due(store, memory_nodes)

    answer = api.post(f"/api/operations/{deployed['operationId']}/retry")
    run_due(store, memory_nodes)

    assert (200, deployed["operationId"]) == (answer.status, answer.json["id"])
    assert "READY" == get(api, deployed["Id"])["InternalState"]


def test_a_failed_deploy_is_done_again(api, store, memory_nodes, place, deployed):
    """After its cause is gone, a deployment that failed can be repeated as it is."""
    memory_nodes[place[1]["_id"]].faults.refuse("Image not found on the registry.")
    run_due(store, memory_nodes)
    memory_nodes[place[1]["_id"]].faults.behave()

    again = api.post(f"/api/operations/{deployed['operationId']}/retry").json
    states = [get(api, deployed["Id"])["InternalState"]]
    run_due(store, memory_nodes)
    states.append(get(api, deployed["Id"])["InternalState"])

    assert ["INSTALLING", "READY"] == states
    assert again["id"] != deployed["operationId"]


def test_a_failed_operation_stays_as_it_ended(api, store, memory_nodes, place, deployed):
    """The operation that failed keeps its story; another one follows it."""
    memory_nodes[place[1]["_id"]].faults.refuse("no")
    run_due(store, memory_nodes)

    api.post(f"/api/operations/{deployed['operationId']}/retry")

    assert "failed" == operation(api, deployed["operationId"])["status"]


def test_what_succeeded_is_not_done_again(api, ready):
    """Repeating what is done is a 409."""
    answer = api.post(f"/api/operations/{ready['operationId']}/retry")

    assert (409, "wrong_status", ["status"]) == told(answer)


def test_what_is_no_longer_wanted_is_not_done_again(api, store, memory_nodes, place, ready):
    """A suspension that failed cannot be retried once the instance may run."""
    memory_nodes[place[1]["_id"]].faults.refuse("no")
    failed = api.post(f"/api/instances/suspend/{ready['Id']}").json["operationId"]
    run_due(store, memory_nodes)
    memory_nodes[place[1]["_id"]].faults.behave()
    api.post(f"/api/instances/unsuspend/{ready['Id']}")

    assert (409, "wrong_status", ["kind"]) == told(api.post(f"/api/operations/{failed}/retry"))


def test_a_failed_delete_is_done_again(api, store, memory_nodes, place, ready):
    """A retry of a deletion that its node refused removes the instance."""
    memory_nodes[place[1]["_id"]].faults.refuse("no")
    failed = api.delete("/api/instance/delete", {"id": ready["Id"]}).json["operationId"]
    run_due(store, memory_nodes)
    memory_nodes[place[1]["_id"]].faults.behave()

    api.post(f"/api/operations/{failed}/retry")
    run_due(store, memory_nodes)

    assert [] == api.get("/api/instances").json


# Cancel


def test_a_waiting_deploy_is_cancelled(api, store, memory_nodes, place, deployed):
    """What has not begun ends at once, and its instance is FAILED, until it is deleted."""
    answer = api.post(f"/api/operations/{deployed['operationId']}/cancel")
    run_due(store, memory_nodes)

    after = get(api, deployed["Id"])
    assert (200, "cancelled", "FAILED", "It was cancelled.") == (
        answer.status,
        answer.json["status"],
        after["InternalState"],
        after["error"],
    )
    assert {} == memory_nodes[place[1]["_id"]].containers


@pytest.mark.heavy
def test_a_running_deploy_is_cancelled(api, memory_nodes, place, deployed, request):
    """A worker in the middle of a deployment stops before its next step."""
    here = memory_nodes[place[1]["_id"]]
    here.faults.stall()
    request.getfixturevalue("worker")  # starts only now
    assert eventually(lambda: operation(api, deployed["operationId"])["status"] == "running")

    answer = api.post(f"/api/operations/{deployed['operationId']}/cancel")
    here.faults.release()

    assert ("running", True) == (answer.json["status"], answer.json["cancelRequested"])
    assert eventually(lambda: get(api, deployed["Id"])["InternalState"] == "FAILED")
    assert "cancelled" == operation(api, deployed["operationId"])["status"]


def test_a_running_restart_is_cancelled(api, store, ready):
    """It is said what is true of every kind. Each time it is another error, with no past."""
    asked = api.post(f"/api/instances/{ready['Id']}/restart").json["operationId"]
    job = Job(store, store.claims.take("worker", lease_s=30), lease_s=30, now=lambda: NOON)
    api.post(f"/api/operations/{asked}/cancel")

    raised = []
    for _ in range(2):
        with pytest.raises(OperationCancelled, match=r"^It was cancelled\.$") as caught:
            job.check_cancelled()
        raised.append(caught.value)

    assert asked == job.operation["_id"]
    assert raised[0] is not raised[1]


def test_a_cancelled_deploy_is_done_again(api, store, memory_nodes, deployed):
    """A deployment that was cancelled can be retried."""
    api.post(f"/api/operations/{deployed['operationId']}/cancel")

    api.post(f"/api/operations/{deployed['operationId']}/retry")
    run_due(store, memory_nodes)

    assert "READY" == get(api, deployed["Id"])["InternalState"]


def test_what_has_ended_is_not_cancelled(api, ready):
    """Cancelling what is done is a 409."""
    answer = api.post(f"/api/operations/{ready['operationId']}/cancel")

    assert (409, "wrong_status", ["status"]) == told(answer)


def test_a_deletion_is_not_cancelled(api, ready):
    """There is no way back from DELETING."""
    deletion = api.delete("/api/instance/delete", {"id": ready["Id"]}).json["operationId"]

    assert (409, "wrong_status", ["kind"]) == told(api.post(f"/api/operations/{deletion}/cancel"))


# Waiting


@pytest.mark.heavy
def test_a_deploy_is_waited_for(api, place, worker):
    """With `wait` a deploy answers when the instance is READY."""
    answer = api.post(f"{DEPLOY}?wait=30", a_body(place))

    assert (201, "READY", None) == (answer.status, answer.json["state"], answer.json["error"])


@pytest.mark.heavy
def test_a_deploy_that_fails_tells_why(api, memory_nodes, place, worker):
    """With `wait` a deployment that failed is a 201 with the reason: the instance is there."""
    memory_nodes[place[1]["_id"]].faults.refuse("Image not found on the registry.")

    answer = api.post(f"{DEPLOY}?wait=30", a_body(place))

    assert (201, "FAILED", "Image not found on the registry.") == (
        answer.status,
        answer.json["state"],
        answer.json["error"],
    )


@pytest.mark.heavy
@pytest.mark.parametrize("verb", ["suspend", "unsuspend"])
def test_a_suspension_is_waited_for(api, ready, worker, verb):
    """With `wait` the answer shows the power that was wanted."""
    answer = api.post(f"/api/instances/{verb}/{ready['Id']}?wait=30")

    assert {"suspend": "stopped", "unsuspend": "running"}[verb] == answer.json["power"]


@pytest.mark.heavy
def test_a_deletion_is_waited_for(api, ready, worker):
    """With `wait` the answer to a deletion says that the instance is gone."""
    answer = api.delete("/api/instance/delete?wait=30", {"id": ready["Id"]})

    assert (201, "DELETED") == (answer.status, answer.json["state"])


@pytest.mark.heavy
def test_an_operation_is_waited_for(api, place, worker):
    """With `wait` reading an operation answers how it ended."""
    operation_id = api.post(DEPLOY, a_body(place)).json["operationId"]

    answer = api.get(f"/api/operations/{operation_id}?wait=30")

    assert (200, "succeeded") == (answer.status, answer.json["status"])


@pytest.mark.heavy
@pytest.mark.parametrize("query", ["wait=30", "wait=30&until=READY"])
def test_an_instance_is_waited_for(api, place, worker, query):
    """With `wait` an instance is answered when nothing is under way, or in the state wished for."""
    instance_id = api.post(DEPLOY, a_body(place)).json["Id"]

    answer = api.get(f"/api/instances/{instance_id}?{query}")

    assert (200, "READY") == (answer.status, answer.json["InternalState"])


def test_nobody_waits_where_nothing_is_under_way(api, place, database):
    """An instance that an operation left half-way is answered at once, however long the wait."""
    instance_id = api.post(DEPLOY, a_body(place)).json["Id"]
    database["operations"].update_many({}, {"$set": {"status": "failed"}})

    answer = api.get(f"/api/instances/{instance_id}?wait=30")

    assert (200, "INSTALLING") == (answer.status, answer.json["InternalState"])


@pytest.mark.parametrize("query", ["wait=0", "wait=30&until=INSTALLING"])
def test_an_instance_is_answered_as_it_is(api, place, query):
    """Without a wait, or in the state that is wished for; no worker is needed."""
    instance_id = api.post(DEPLOY, a_body(place)).json["Id"]

    answer = api.get(f"/api/instances/{instance_id}?{query}")

    assert (200, "INSTALLING") == (answer.status, answer.json["InternalState"])


@pytest.mark.parametrize(("spent_s", "waits"), [(0, True), (31, False)])
def test_what_was_waited_for_the_database_counts(api, place, monkeypatch, spent_s, waits):
    """A request that took its time already does not wait as long once more."""
    app = api.flask.application
    pauses = []
    monkeypatch.setattr(
        app.extensions[EXTENSION].stopping, "is_set", lambda: pauses.append("asked") or True
    )
    begin = app.before_request_funcs[None]
    monkeypatch.setitem(
        app.before_request_funcs,
        None,
        [*begin, lambda: setattr(current_call(), "began_at", current_call().began_at - spent_s)],
    )

    answer = api.post(f"{DEPLOY}?wait=30", a_body(place))

    assert (201, waits) == (answer.status, pauses != [])


@pytest.mark.parametrize("wait", ["61", "-1", "soon", "nan", ""])
def test_a_wrong_wait_is_named(api, place, wait):
    """A time that is none, or too long, is a 400, and nothing was done."""
    answer = api.post(f"{DEPLOY}?wait={wait}", a_body(place))

    assert (400, "invalid_input", ["wait"]) == told(answer)
    assert [] == api.get("/api/instances").json
