"""Quotas of users: set, shown, warned of, and in force at both kinds of endpoints."""

import pytest

from tests.support import DEPLOY, a_body, free_port, run_due, told

NONE = dict.fromkeys(("instances", "memory", "cpu", "disk", "ports"))
NEW = {"username": "bob", "email": "bob@example.org", "password": "correct horse"}


@pytest.fixture
def limit(api, place):
    """Change the quota of the user of the place."""
    path = f"/api/users/{place[0]['_id']}"
    return lambda quota: api.send("PATCH", path, json={"quota": quota})


def deploy(api, place, path=DEPLOY, **over):
    """Deploy an instance on a port of its own."""
    port = free_port()
    return api.post(path, a_body(place, ports=f"80:{port}", primary=str(port), **over))


def test_a_user_is_added_with_a_quota(api):
    """
    What is not said is not limited; amounts are those of instances.
    """
    quota = {"memory": "2G", "cpu": "1.5", "disk": 10.5, "ports": None}

    added = api.post("/api/users", {**NEW, "quota": quota})

    assert 201 == added.status
    assert {**NONE, "memory": 2048, "cpu": 1.5, "disk": 10.5} == added.json["quota"]


def test_limits_are_changed_one_by_one(limit):
    """
    As RFC 7396 has it: what is absent stays, and null takes one away, or all.
    """
    first = limit({"memory": 1024, "instances": 3, "ports": 0}).json["quota"]
    second = limit({"memory": None, "cpu": 2}).json["quota"]
    last = limit(None).json["quota"]

    assert {**NONE, "memory": 1024, "instances": 3, "ports": 0} == first
    assert {**NONE, "cpu": 2, "instances": 3, "ports": 0} == second
    assert NONE == last


@pytest.mark.parametrize(
    ("field", "bad"),
    [
        *(("instances", bad) for bad in (-1, 1.5, "many", True, [], 1_000_001)),
        *(("memory", bad) for bad in (-1, 0.5, "much", True, {}, 2**34 + 1)),
        *(("cpu", bad) for bad in (-1, "fast", True, 1_000_001)),
        *(("disk", bad) for bad in (-1, "1G", True, 1e10)),
        *(("ports", bad) for bad in (-1, 0.1, "80:80", False)),
        ("memroy", 7),
    ],
)
def test_what_is_wrong_is_named(api, store, place, limit, field, bad):
    """
    All of it at once, and nothing is stored.
    """
    answer = limit({field: bad})

    assert (400, [field]) == (answer.status, list(answer.json["details"]["quota"]))
    assert answer.status == api.post("/api/users", {**NEW, "quota": {field: bad}}).status
    assert place[0]["quota"] == store.users.get(place[0]["_id"])["quota"]


@pytest.mark.parametrize("quota", [7, "none", [], True])
def test_a_quota_is_an_object(limit, quota):
    """
    Nothing else stands for one.
    """
    assert (400, "invalid_input", ["quota"]) == told(limit(quota))


@pytest.mark.parametrize("path", [DEPLOY, "/api/instances"])
def test_a_deploy_beyond_the_quota_is_refused(api, store, place, limit, path):
    """
    409 with the numbers of each limit, in the units of clients; nothing is stored.
    """
    limit({"memory": 100, "cpu": 0.5, "instances": 1, "disk": 9.5})

    answer = deploy(api, place, path, disk=10)

    assert (409, "quota_exceeded") == (answer.status, answer.json["code"])
    assert {
        "memory": {"requested": 128, "used": 0, "limit": 100},
        "cpu": {"requested": 1, "used": 0, "limit": 0.5},
        "disk": {"requested": 10, "used": 0, "limit": 9.5},
    } == answer.json["details"]
    assert [] == store.instances.all()


def test_a_change_beyond_the_quota_is_refused(api, place, ready, limit):
    """
    What becomes less is allowed all the same.
    """
    limit({"memory": 64})
    path = f"/api/instances/{ready}"

    more, less = (api.send("PATCH", path, json={"memory": mib}) for mib in (129, 127))

    assert (409, {"memory": {"requested": 1, "used": 128, "limit": 64}}) == (
        more.status,
        more.json["details"],
    )
    assert 202 == less.status


def test_an_instance_is_not_given_beyond_the_quota(api, ready):
    """
    The new owner has it with all that it holds.
    """
    other = api.post("/api/users", {**NEW, "quota": {"ports": 0}}).json["userId"]

    answer = api.send("PATCH", f"/api/instances/{ready}", json={"user": other})

    assert (409, "quota_exceeded", ["ports"]) == told(answer)


def test_a_quota_below_what_is_used_is_warned_of(api, store, memory_nodes, place, ready, limit):
    """
    It is allowed, and refuses what is more until that is over.
    """
    answer = limit({"memory": 64, "cpu": 0.5, "instances": 1, "ports": 0})
    refused = deploy(api, place)
    api.delete(f"/api/instances/{ready}")
    run_due(store, memory_nodes)

    assert 200 == answer.status
    assert [
        "The quota of memory is exceeded: 128 of 64 MiB.",
        "The quota of cores is exceeded: 1 of 0.5.",
        "The quota of host ports is exceeded: 1 of 0.",
    ] == answer.json["warnings"]
    assert 409 == refused.status
    assert [] == api.get(f"/api/users/{place[0]['_id']}").json["warnings"]


def test_a_deploy_is_no_change_of_its_user(api, place):
    """
    An edit with the ETag of before is not refused for it.
    """
    path = f"/api/users/{place[0]['_id']}"
    etag = api.get(path).headers["ETag"]
    deploy(api, place)

    answer = api.send("PATCH", path, json={"quota": {"cpu": 1}}, headers={"If-Match": etag})

    assert 200 == answer.status


def test_users_of_a_bulk_operation_have_quotas(api, store, memory_nodes):
    """
    As if each had been added alone.
    """
    items = [{**NEW, "quota": {"instances": 2}}]

    answer = api.post("/api/bulk", {"kind": "create_users", "items": items})
    run_due(store, memory_nodes)

    assert 202 == answer.status
    assert {**NONE, "instances": 2} == api.get("/api/users").json[0]["quota"]
