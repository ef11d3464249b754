"""Users who are suspended, over the API."""

import pytest

from service.worker.suspensions import align_users
from tests.support import DEPLOY, NOON, a_body, free_port, run_due, told


@pytest.fixture
def path(place):
    """The path of the user of the place."""
    return f"/api/users/{place[0]['_id']}"


@pytest.fixture
def settle(store, memory_nodes):
    """Do what a worker does."""

    def settle():
        while align_users(store, "t", now=lambda: NOON) or run_due(store, memory_nodes):
            pass

    return settle


@pytest.mark.parametrize("act", ["suspend", "unsuspend"])
def test_the_answer_is_the_user(api, path, act):
    """
    As a GET has it.
    """
    answer = api.post(f"{path}/{act}")

    assert (200, act == "suspend") == (answer.status, answer.json["suspended"])
    assert answer.json == api.get(path).json


@pytest.mark.heavy
def test_instances_say_why_they_do_not_run(api, path, ready, settle):
    """
    They are suspended with their user, until that is over.
    """
    seen = []
    for act in ("suspend", "unsuspend"):
        api.post(f"{path}/{act}")
        settle()
        shown = api.get(f"/api/instances/{ready}").json
        seen.append((shown["suspended"], shown["suspendedWithUser"], shown["power"]))

    assert [(True, True, "stopped"), (False, False, "running")] == seen


@pytest.mark.parametrize("act", ["suspend", "unsuspend"])
def test_nobody_is_a_404(api, act):
    """
    The path names the user.
    """
    answer = api.post(f"/api/users/nobody/{act}")

    assert (404, "user_not_found") == (answer.status, answer.json["code"])


@pytest.mark.parametrize("act", ["suspend", "unsuspend"])
def test_a_user_who_was_changed_is_not_suspended(api, path, act):
    """
    412 for an ETag of before, and nothing is done.
    """
    api.send("PATCH", path, json={"admin": True})

    answer = api.post(f"{path}/{act}", headers={"If-Match": '"r1"'})

    assert (412, False) == (answer.status, api.get(path).json["suspended"])


@pytest.mark.parametrize("deploy_path", [DEPLOY, "/api/instances"])
def test_nothing_is_deployed_for_who_is_suspended(api, store, place, path, deploy_path):
    """
    409 that names the user.
    """
    api.post(f"{path}/suspend")

    answer = api.post(deploy_path, a_body(place))

    assert (409, "user_suspended", ["userId"]) == told(answer)
    assert [] == store.instances.all()


@pytest.mark.heavy
def test_nothing_is_started_for_who_is_suspended(api, path, ready, settle):
    """
    Nor unsuspended alone, at the reference's address either.
    """
    api.post(f"{path}/suspend")
    settle()

    answers = [
        api.post(f"/api/instances/{act}")
        for act in (f"unsuspend/{ready}", f"{ready}/start", f"{ready}/restart")
    ]

    assert [(409, "user_suspended", ["userId"])] * 3 == [told(each) for each in answers]


@pytest.mark.heavy
def test_a_suspended_user_s_instance_is_deleted(api, store, path, ready, settle):
    """
    What stops may still go.
    """
    api.post(f"{path}/suspend")
    settle()
    api.delete(f"/api/instances/{ready}")
    settle()

    assert store.instances.find(ready) is None


def test_it_is_in_the_audit_log(api, path, place):
    """
    With what changed.
    """
    api.post(f"{path}/suspend")

    entry = api.get("/api/audit").json["entries"][0]

    assert ("users.suspend_user", place[0]["_id"]) == (entry["action"], entry["target"])
    assert ({"suspended": False}, {"suspended": True}) == (entry["before"], entry["after"])


def test_a_repeat_with_its_key_changes_nothing(api, path):
    """
    An Idempotency-Key of a suspension is not one of what came later.
    """
    key = {"Idempotency-Key": "k-1"}
    api.post(f"{path}/suspend", headers=key)
    api.post(f"{path}/unsuspend")

    api.post(f"{path}/suspend", headers=key)

    assert not api.get(path).json["suspended"]


def test_who_is_let_run_again_deploys(api, place, path):
    """
    After that instances are deployed again.
    """
    for act in ("suspend", "unsuspend"):
        api.post(f"{path}/{act}")
    port = free_port()

    answer = api.post(DEPLOY, a_body(place, ports=f"80:{port}", primary=str(port)))

    assert 201 == answer.status
