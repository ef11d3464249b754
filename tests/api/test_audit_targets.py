"""What an entry of the audit log says was changed: what the change itself was about."""

import pytest

from tests.support import DEPLOY, a_deploy, a_user, run_due


@pytest.fixture
def victim(store):
    """Somebody who has nothing to do with what is asked."""
    return a_user(store, user_id="victim")


def newest(api):
    """Read the newest entry."""
    return api.get("/api/audit").json["entries"][0]


def target(api):
    """Read the target and the code of the newest entry."""
    entry = newest(api)
    return entry["targetKind"], entry["target"], entry["code"]


@pytest.mark.parametrize("ignored", ["id", "Id", "userId", "instance_id"])
def test_an_ignored_field_of_a_deploy_is_no_target(api, place, ignored):
    """
    The new instance is the target, and was not there before, whatever else the body has.
    """
    other = api.post(DEPLOY, a_deploy(*place, ports="80:8081", primary=8081)).json["Id"]

    made = api.post(DEPLOY, {**a_deploy(*place), ignored: other}).json

    entry = newest(api)
    assert (made["Id"], None, 8080) == (
        entry["target"],
        entry["before"],
        int(entry["after"]["Primary"]),
    )


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", DEPLOY, {"id": "victim"}),
        ("POST", "/api/nodes/create", {"nodeId": "victim"}),
        ("POST", "/api/keys", {"id": "victim"}),
        ("POST", "/nodes/configure", {"nodeId": "victim"}),
    ],
)
def test_a_rejected_creation_has_no_target(api, victim, method, path, body):
    """
    Nothing was made, and nothing was named by a field that means something.
    """
    api.send(method, path, json=body)

    assert newest(api)["target"] is None


def test_who_is_made_is_the_target(api):
    """
    A creation's entry has the id of what was made.
    """
    body = {"username": "a", "email": "a@example.org", "password": "long enough", "id": "x"}

    made = api.post("/api/auth/create-user", body).json

    assert ("user", made["userId"], None) == target(api)


def test_a_key_is_the_target_of_its_rotation(api):
    """
    By the id in the path, with how it begins before and after.
    """
    made = api.post("/api/keys", {"name": "k", "scopes": ["*"]}).json
    api.post(f"/api/keys/{made['id']}/rotate", {"id": "other"})

    entry = newest(api)
    assert (made["id"], made["prefix"]) == (entry["target"], entry["before"]["prefix"])
    assert entry["after"]["prefix"] != made["prefix"]


def test_a_deletion_names_what_the_body_named(api, store, memory_nodes, place):
    """
    The field that names the target is in the entry before the change is tried.
    """
    made = api.post(DEPLOY, a_deploy(*place)).json["Id"]
    run_due(store, memory_nodes)
    seen = []
    add = store.audit.add
    store.audit.add = lambda entry, **kw: seen.append(entry["target_id"]) or add(entry, **kw)

    api.delete("/api/instance/delete", {"id": made, "nodeId": place[1]["_id"]})

    assert ([made], ("instance", made, None)) == (seen, target(api))


@pytest.mark.parametrize("named", [{"$gt": ""}, 7, "", "x" * 600, None])
def test_what_names_nothing_is_no_target(api, named):
    """
    A field that is no valid id is not written down.
    """
    api.delete("/api/instance/delete", {"id": named})

    assert newest(api)["target"] is None


def test_a_retry_names_the_operation_and_what_came_of_it(api, store, memory_nodes, place):
    """
    The entry is found by the id in the path, and tells the id of the operation that does it.
    """
    memory_nodes[place[1]["_id"]].faults.refuse()
    api.post(DEPLOY, a_deploy(*place))
    run_due(store, memory_nodes)
    [failed] = store.operations.all()

    done = api.post(f"/api/operations/{failed['_id']}/retry").json

    entry = newest(api)
    assert (failed["_id"], done["id"]) == (entry["target"], entry["after"]["retriedBy"])


@pytest.mark.heavy
def test_a_wish_whose_node_fails_is_recorded(api, memory_nodes, place, worker):
    """
    A suspension that the node refused stands, so the entry shows it, and that it failed.
    """
    made = api.post(f"{DEPLOY}?wait=20", a_deploy(*place)).json["Id"]
    memory_nodes[place[1]["_id"]].faults.refuse()

    answer = api.post(f"/api/instances/suspend/{made}?wait=20")

    entry = newest(api)
    assert (500, "failed", True) == (
        answer.status,
        entry["outcome"],
        entry["after"]["suspended"],
    )
