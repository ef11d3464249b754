"""Deletions that can be undone, as clients see them."""

from dataclasses import replace

import pytest

from service import keys
from service.model.lifecycle import OperationStatus
from tests.support import (
    DEPLOY,
    NOON,
    ApiClient,
    a_body,
    a_key,
    a_user,
    an_app,
    run_due,
    told,
)


def path(instance_id, more=""):
    """Return the path of an instance."""
    return f"/api/instances/{instance_id}{more}"


@pytest.fixture
def kept(api, store, memory_nodes, ready):
    """The id of an instance that is deleted, and kept for a day."""
    assert 202 == api.delete(path(ready, "?keep=24h")).status
    run_due(store, memory_nodes)
    return ready


def test_both_styles_keep(api, store, memory_nodes, ready, place):
    """The answer of the reference is that of any deletion."""
    other = api.post(DEPLOY, a_body(place, ports="80:9090", primary="9090")).json["Id"]

    new = api.delete(path(ready, "?keep=24h"))
    old = api.delete("/api/instance/delete?keep=30d", {"id": other})

    assert (202, "keep", "instance_id" in new.json) == (new.status, new.json["kind"], False)
    assert (201, "DELETED", other) == (old.status, old.json["state"], old.json["Id"])
    assert {ready, other} == {each["_id"] for each in store.deleted.all()}


@pytest.mark.parametrize("keep", ["24", "1w", "-1h", "31d", "721h", "", "h", "1.5h", "24 h", "00"])
@pytest.mark.parametrize("style", ["old", "new"])
def test_a_time_that_is_none_is_named(api, store, ready, keep, style):
    """Then nothing is deleted."""
    if style == "new":
        answer = api.delete(path(ready, f"?keep={keep}"))
    else:
        answer = api.delete(f"/api/instance/delete?keep={keep}", {"id": ready})

    assert (400, "invalid_input", ["keep"]) == told(answer)
    assert "READY" == store.instances.get(ready)["state"]


def test_what_is_forgotten_is_not_kept(api, store, ready):
    """Both at once are a mistake."""
    new = api.delete(path(ready, "?keep=1h&force=true"))
    old = api.delete("/api/instance/delete?keep=1h", {"id": ready, "force": True})

    assert (400, "invalid_input", ["keep"]) == told(new) == told(old)
    assert "READY" == store.instances.get(ready)["state"]


def test_without_a_time_it_is_removed_at_once(api, store, memory_nodes, here, ready):
    """As ever, where the installation says nothing else."""
    api.delete(path(ready))
    run_due(store, memory_nodes)

    assert ({}, []) == (here.containers, store.deleted.all())


@pytest.mark.heavy
def test_an_installation_may_keep_all(config, store, memory_nodes, here, ready, place):
    """Also what old clients delete; who says 0 removes it at once, and nobody does so twice."""
    flask = an_app(replace(config, keep_deleted_hours=24), store, memory_nodes)
    api = ApiClient(flask.test_client(), a_key(store))
    other = api.post(DEPLOY, a_body(place, ports="80:9090", primary="9090")).json["Id"]

    api.delete("/api/instance/delete", {"id": ready})
    again = api.delete("/api/instance/delete", {"id": ready}), api.delete(path(ready))
    api.delete("/api/instance/delete?keep=0", {"id": other})
    run_due(store, memory_nodes)

    assert [400, 404] == [answer.status for answer in again]
    assert [ready] == [each["_id"] for each in store.deleted.all()] == [*here.containers]


def test_it_is_shown_to_who_asks_for_it(api, kept):
    """With when it was deleted, and until when it can be restored."""
    lists = [
        api.get(f"/api/instances{query}").json
        for query in ("?state=DELETED", "?deleted=true", "?deleted=true&state=READY", "",
                      "?deleted=false", "?deleted=false&state=DELETED", "?state=READY")
    ]  # fmt: skip
    found = api.get(path(kept, "?deleted=true"))

    assert [[kept], [kept], [], [], [], [], []] == [[i["Id"] for i in each] for each in lists]
    assert (200, "DELETED", "stopped") == (
        found.status,
        found.json["InternalState"],
        found.json["power"],
    )
    assert {"deletedAt", "purgeAt"} <= found.json.keys()
    assert found.json == lists[0][0]


def try_all(api, instance_id):
    """Try all that can be done with an instance; list the statuses and the codes."""
    answers = [
        api.post("/api/getInstance", {"id": instance_id}),
        api.delete("/api/instance/delete", {"id": instance_id}),
        api.delete("/api/instance/delete?keep=0", {"id": instance_id}),
        api.delete("/api/instance/delete", {"id": instance_id, "force": True}),
        api.post(f"/api/instances/suspend/{instance_id}"),
        api.post(f"/api/instances/unsuspend/{instance_id}"),
        *(api.post(path(instance_id, f"/{act}")) for act in ("start", "stop", "kill", "reinstall")),
        api.post(path(instance_id, "/command"), {"line": "x"}),
        api.send("PATCH", path(instance_id), json={"name": "x"}),
        *(api.get(path(instance_id, more)) for more in ("", "/logs", "/stats")),
        api.delete(path(instance_id, "?keep=1h")),
        api.post("/api/bulk", {"kind": "delete", "items": [{"id": instance_id}]}),
    ]
    return [(each.status, each.json["code"]) for each in answers]


@pytest.mark.heavy
def test_it_is_hidden_from_everything_else(api, kept, place):
    """From the reference's endpoints as from all others: as what there never was."""
    owned = api.post("/api/getUserInstance", {"userId": place[0]["_id"]})

    assert try_all(api, "nothing") == try_all(api, kept)
    assert ([], []) == (owned.json, api.get("/api/stats").json["instances"])
    assert 200 == api.get(path(kept, "?deleted=true")).status


@pytest.mark.heavy
def test_it_is_restored(api, store, memory_nodes, here, kept):
    """202 with the operation that does it; once it has ended, all is as before."""
    answer = api.post(path(kept, "/restore"))
    run_due(store, memory_nodes)

    operation = store.operations.get(answer.json["operationId"])
    after = api.get(path(kept))
    assert (202, f"/api/operations/{operation['_id']}") == (
        answer.status,
        answer.headers["Location"],
    )
    assert OperationStatus.SUCCEEDED == operation["status"]
    assert (200, "READY", "running") == (
        after.status,
        after.json["InternalState"],
        after.json["power"],
    )
    assert not {"deletedAt", "purgeAt"} & after.json.keys()
    assert 404 == api.get(path(kept, "?deleted=true")).status


@pytest.mark.heavy
def test_what_cannot_be_restored(api, kept, ready, place):
    """What there is not, what is taken, what is no port and what is no field."""
    taken = api.post(DEPLOY, a_body(place)).json["Id"]

    answers = [
        api.post(path("nothing", "/restore")),
        api.post(path(taken, "/restore")),
        api.post(path(kept, "/restore")),
        api.post(path(kept, "/restore"), {"ports": "80:x"}),
        api.post(path(kept, "/restore"), {"port": "80:81"}),
    ]

    assert [
        (404, "instance_not_found"),
        (409, "not_restorable"),
        (409, "port_taken"),
        (400, "invalid_input"),
        (400, "invalid_input"),
    ] == [(each.status, each.json["code"]) for each in answers]
    assert {"ports": ["8080 is taken."], "instanceId": taken} == answers[2].json["details"]
    assert ["ports"] == [*answers[3].json["details"]]
    assert "ports" in str(answers[4].json["details"]["port"])


@pytest.mark.heavy
def test_it_is_restored_with_other_ports(api, store, memory_nodes, here, kept, place):
    """Which are said as in a deploy."""
    api.post(DEPLOY, a_body(place))

    answer = api.post(path(kept, "/restore"), {"ports": "80:9090,81:auto", "primary": "9090"})
    run_due(store, memory_nodes)

    assert (202, "9090") == (answer.status, answer.json["Primary"])
    assert 9090 == here.containers[kept].spec.ports[0].host


@pytest.mark.heavy
def test_a_key_that_may_not_deploy_chooses_no_ports(api, store, kept):
    """It restores what it may delete, with the ports that this had."""
    _, key = keys.create(store, name="k", grant={"scopes": ["instances:write"]}, now=NOON)
    headers = {"x-api-key": key}

    chosen = api.post(path(kept, "/restore"), {"ports": "80:9090"}, headers=headers)
    same = api.post(path(kept, "/restore"), headers=headers)

    assert [403, 202] == [chosen.status, same.status]


@pytest.mark.heavy
def test_a_repeat_is_answered_like_the_first(api, store, kept):
    """With the same `Idempotency-Key` it is restored once."""
    headers = {"Idempotency-Key": "k1"}

    first, second = (api.post(path(kept, "/restore"), headers=headers) for _ in range(2))

    assert (202, 202) == (first.status, second.status)
    assert first.json["operationId"] == second.json["operationId"]


@pytest.mark.heavy
def test_a_second_deletion_without_keeping_purges(api, store, memory_nodes, here, kept):
    """At once, with the container and its files; by force without its node."""
    answer = api.delete(path(kept))
    run_due(store, memory_nodes)

    assert (202, "delete") == (answer.status, answer.json["kind"])
    assert ({}, 404) == (here.containers, api.get(path(kept, "?deleted=true")).status)


def test_a_kept_one_is_forgotten_by_force(api, store, memory_nodes, here, kept):
    """Its node may never return."""
    answer = api.delete(path(kept, "?force=true"))

    assert (204, []) == (answer.status, store.deleted.all())


def test_a_bulk_deletion_keeps(api, store, memory_nodes, ready):
    """All of its items."""
    order = {"kind": "delete", "keep": "2h", "items": [{"id": ready}]}

    answer = api.post("/api/bulk", order)
    run_due(store, memory_nodes)

    kept = store.deleted.get(ready)
    assert 202 == answer.status
    assert 7200 == (kept["purge_at"] - kept["deleted_at"]).total_seconds()


def test_only_bulk_deletions_keep(api, ready):
    """Another kind has nothing to keep."""
    answer = api.post("/api/bulk", {"kind": "stop", "keep": "2h", "items": [{"id": ready}]})

    assert (400, "invalid_input", ["keep"]) == told(answer)


@pytest.mark.heavy
def test_a_limited_key_sees_its_own(api, store, kept, place):
    """And restores nobody else's."""
    grant = {"scopes": ["instances:read", "instances:write"], "user_id": place[0]["_id"]}
    _, own = keys.create(store, name="own", grant=grant, now=NOON)
    nobody = {**grant, "user_id": a_user(store)["_id"]}
    _, other = keys.create(store, name="other", grant=nobody, now=NOON)

    lists = [
        api.get("/api/instances?deleted=true", headers={"x-api-key": key}).json
        for key in (own, other)
    ]
    restored = [
        api.post(path(kept, "/restore"), headers={"x-api-key": key}).status for key in (other, own)
    ]

    assert ([[kept], []], [404, 202]) == ([[i["Id"] for i in each] for each in lists], restored)


def test_the_audit_log_has_both(api, store, kept):
    """What was deleted, until when it is kept, and that it was restored."""
    api.post(path(kept, "/restore"))

    entries = api.get(f"/api/audit?target={kept}").json["entries"]
    actions = {each["action"]: each for each in entries}
    assert {"instances.remove_instance", "instances.restore_instance"} <= actions.keys()
    assert "purgeAt" in str(actions["instances.remove_instance"])
