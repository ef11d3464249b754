"""The audit log: who tried what, on which document, from where, and how it ended."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from service import audit, keys
from service.api.endpoints import POLICIES
from service.app import create_app, prepare
from service.errors import StoreUnavailable
from tests.support import (
    DEPLOY,
    NOON,
    ApiClient,
    a_deploy,
    a_key,
    a_node,
    run_due,
    told,
)


def entries(api, **query):
    """Read the record, oldest first."""
    return api.get("/api/audit", query_string=query).json["entries"][::-1]


def the_entry(api, **query):
    """Read the only entry there is."""
    [entry] = entries(api, **query)
    return entry


def test_a_change_is_recorded(api, store, place):
    """
    A deploy leaves who, what, where, when, in which request, on what, and the outcome.
    """
    sent = api.post(DEPLOY, a_deploy(*place), headers={"X-Request-Id": "r-1"})

    entry = the_entry(api)
    key = store.keys.find_by_digest(keys.digest(api.key))
    assert ("instances.deploy_instance", "instance", sent.json["Id"]) == (
        entry["action"],
        entry["targetKind"],
        entry["target"],
    )
    assert (key["_id"], "127.0.0.1", "r-1") == (entry["key"], entry["address"], entry["requestId"])
    assert ("done", 201, None) == (entry["outcome"], entry["status"], entry["code"])
    assert (None, "INSTALLING") == (entry["before"], entry["after"]["InternalState"])


def test_what_changed_is_recorded(api, store, memory_nodes, place):
    """
    Of a suspension the record has what differs, before and after.
    """
    instance_id = api.post(DEPLOY, a_deploy(*place)).json["Id"]
    run_due(store, memory_nodes)

    api.post(f"/api/instances/suspend/{instance_id}")

    entry = the_entry(api, action="instances.suspend_instance")
    assert ({"suspended": False}, {"suspended": True}) == (entry["before"], entry["after"])


@pytest.mark.parametrize(
    ("method", "path", "body", "action"),
    [
        ("POST", "/api/auth/create-user", {"username": "x"}, "users.create_user"),
        ("POST", "/api/nodes/create", {"name": "x"}, "nodes.create_node"),
        ("DELETE", "/api/nodes/delete", {"nodeId": "nothing"}, "nodes.delete_node"),
        ("POST", "/api/nodes/nothing/configure-key", None, "nodes.make_configure_key"),
        ("PUT", "/api/nodes/nothing/tls", {}, "nodes.set_node_tls"),
        ("POST", "/api/nodes/nothing/drift/resolve", {"remove": ["x"]}, "nodes.resolve_node_drift"),
        ("POST", DEPLOY, None, "instances.deploy_instance"),
        ("DELETE", "/api/instance/delete", {"id": "nothing"}, "instances.delete_instance"),
        ("POST", "/api/instances/suspend/nothing", None, "instances.suspend_instance"),
        ("POST", "/api/instances/unsuspend/nothing", None, "instances.unsuspend_instance"),
        ("POST", "/api/instances/nothing/start", None, "instances.start_instance"),
        ("POST", "/api/instances/nothing/kill", None, "instances.kill_instance"),
        ("POST", "/api/operations/nothing/retry", None, "operations.retry_operation"),
        ("POST", "/api/operations/nothing/cancel", None, "operations.cancel_operation"),
        ("POST", "/api/keys", {"name": "x"}, "keys.create_key"),
        ("POST", "/api/keys/nothing/rotate", None, "keys.rotate_key"),
        ("DELETE", "/api/keys/nothing", None, "keys.revoke_key"),
    ],
)
def test_a_refused_change_is_recorded(api, method, path, body, action):
    """
    Every endpoint that changes something leaves an entry when it refuses.
    """
    answer = api.send(method, path, json=body)

    entry = the_entry(api)
    assert (action, "refused", 400, answer.json["code"]) == (
        entry["action"],
        entry["outcome"],
        entry["status"],
        entry["code"],
    )


def test_every_change_has_its_endpoint_marked(api):
    """
    No endpoint with another method than GET is without a record, but for look-ups.
    """
    app = api.flask.application
    unmarked = {
        rule.endpoint
        for rule in app.url_map.iter_rules()
        if rule.methods - {"GET", "HEAD", "OPTIONS"} and not POLICIES[rule.endpoint].changes
    }

    assert {
        "events.create_event_ticket",
        "users.look_up_user",
        "users.verify_password",
        "instances.look_up_instance",
        "instances.rank_nodes",
        "instances.list_user_instances",
    } == unmarked


@pytest.mark.parametrize("key", [None, "sq_wrong"])
def test_a_stranger_is_recorded(api, key):
    """
    A request without a good key leaves an entry, without the key.
    """
    replace(api, key=key).get("/api/users")

    entry = the_entry(api)
    assert ("users.list_users", None, "refused", 401) == (
        entry["action"],
        entry["key"],
        entry["outcome"],
        entry["status"],
    )
    assert "sq_wrong" not in str(entry)


def test_a_key_that_may_not_is_recorded(api, store):
    """
    A request that a valid key may not make leaves an entry with the key.
    """
    document, value = keys.create(store, name="k", grant={"scopes": ["images:read"]}, now=NOON)

    replace(api, key=value).get("/api/users")

    entry = the_entry(api)
    assert (document["_id"], 403, "forbidden") == (entry["key"], entry["status"], entry["code"])


def test_asking_what_a_endpoint_takes_is_not_recorded(api):
    """
    OPTIONS changes nothing and needs no key, so it must not fill the record.
    """
    answers = [
        replace(api, key=None).send("OPTIONS", path).status
        for path in ("/api/keys/any", "/api/instances/deploy", "/nodes/configure")
    ]

    assert ([200, 200, 200], []) == (answers, api.get("/api/audit").json["entries"])


def test_an_instance_is_recorded_by_its_own_id(api, store, memory_nodes, place):
    """
    Also when the request names it by its container's id, so that its entries are found.
    """
    instance_id = api.post("/api/instances/deploy", a_deploy(*place)).json["Id"]
    run_due(store, memory_nodes)
    container_id = store.instances.get(instance_id)["container_id"]

    api.post(f"/api/instances/suspend/{container_id}")

    [newest, *_] = api.get("/api/audit", query_string={"target": instance_id}).json["entries"]
    assert "instances.suspend_instance" == newest["action"]


def test_the_key_of_the_settings_is_recorded(config, store):
    """
    That it was made, once; a start that finds it makes no entry.
    """
    settings = replace(config, api_key="chosen-by-somebody")
    for _ in range(2):
        prepare(settings, store)

    [entry] = store.audit.all()
    assert ("settings.api_key", "done") == (entry["action"], entry["outcome"])
    assert store.keys.all()[0]["_id"] == entry["target_id"]


def test_reading_is_not_recorded(api, store, place):
    """
    Lists and look-ups leave nothing.
    """
    api.get("/api/users")
    api.post("/api/getUser", {"type": "id", "value": place[0]["_id"]})
    api.post("/api/getInstance", {"id": "nothing"})

    assert [] == entries(api)


def test_a_node_that_fails_is_recorded(api, store, memory_nodes, place):
    """
    A deletion that its node refuses is a failure with its code.
    """
    instance_id = api.post(DEPLOY, a_deploy(*place)).json["Id"]
    run_due(store, memory_nodes)
    store.nodes.update(place[1]["_id"], {"status": "Offline"})

    api.post(f"/api/instances/{instance_id}/start")

    entry = the_entry(api, action="instances.start_instance")
    assert ("failed", 500, "node_offline") == (entry["outcome"], entry["status"], entry["code"])


def test_nothing_is_changed_without_an_entry(api, store, monkeypatch):
    """
    When the record cannot be written the change is not made.
    """

    def fail(*args, **kwargs):
        raise StoreUnavailable("away")

    monkeypatch.setattr(store.audit, "add", fail)

    answer = api.post(
        "/api/auth/create-user",
        {"username": "a", "email": "a@example.org", "password": "long enough"},
    )

    assert (503, []) == (answer.status, store.users.all())


def test_an_entry_whose_end_is_lost_is_there(api, store, monkeypatch):
    """
    What was changed is answered, and its entry has no outcome.
    """

    def fail(*args, **kwargs):
        raise StoreUnavailable("away")

    monkeypatch.setattr(store.audit, "finish", fail)

    answer = api.post(
        "/api/auth/create-user",
        {"username": "a", "email": "a@example.org", "password": "long enough"},
    )

    entry = the_entry(api)
    assert (201, "users.create_user", None) == (answer.status, entry["action"], entry["outcome"])


def test_no_secret_is_recorded(api, store, mongo_client, config, memory_nodes, place):
    """
    Passwords, keys and variables of a walk through all changes are nowhere in the record.
    """
    api.post(
        "/api/auth/create-user",
        {"username": "a", "email": "a@example.org", "password": "sesame-1"},
    )
    node = {"name": "n", "driver": "skyportd", "tags": "t", "ram": 1, "disk": 1, "processor": "p",
            "address": "127.0.0.1", "port": 3002}  # fmt: skip
    enrolling = api.post("/api/nodes/create", node).json
    api.post(DEPLOY, a_deploy(*place, variables={"PASSWORD": "sesame-2"}))
    made = api.post("/api/keys", {"name": "k", "scopes": ["*"]}).json
    rotated = api.post(f"/api/keys/{made['id']}/rotate").json

    record = str(list(mongo_client[config.database]["audit"].find()))
    for secret in ("sesame", enrolling["configureKey"], made["key"], rotated["key"], api.key):
        assert secret not in record
    assert 5 == len(entries(api))


# Reading it


@pytest.fixture
def record(api, store):
    """Three entries: of two keys, for two targets, a minute apart; and a client to read them."""
    for minute, (key_id, action, target_id) in enumerate(
        [("k1", "users.create_user", "u1"), ("k1", "instances.suspend_instance", "i1"),
         ("k2", "instances.suspend_instance", "i1")]
    ):  # fmt: skip
        entry = audit.begin(
            store,
            action=action,
            target_kind=None,
            target_id=target_id,
            key_id=key_id,
            keep_s=86400 * 36500,
            now=NOON + timedelta(minutes=minute),
        )
        audit.finish(store, entry, status=201 if minute else 409)
    return api


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({}, [0, 1, 2]),
        ({"key": "k1"}, [0, 1]),
        ({"action": "instances.suspend_instance"}, [1, 2]),
        ({"target": "i1", "key": "k1"}, [1]),
        ({"outcome": "refused"}, [0]),
        ({"since": "2026-01-31T12:01:00Z"}, [1, 2]),
        ({"until": "2026-01-31T12:01:00Z"}, [0]),
        ({"since": "2026-01-31T13:01:00+01:00", "until": "2026-01-31T12:02:00Z"}, [1]),
        ({"key": "nobody"}, []),
    ],
)
def test_entries_are_filtered(record, query, found):
    """
    Each filter leaves what it says; several add up.
    """
    seen = [entry["at"] for entry in entries(record, **query)]

    assert [f"2026-01-31T12:0{minute}:00Z" for minute in found] == seen


def test_entries_come_in_pages(record):
    """
    The cursor leads through all entries once, newest first.
    """
    pages, cursor = [], None
    while True:
        query = {"limit": 2, **({"cursor": cursor} if cursor else {})}
        page = record.get("/api/audit", query_string=query).json
        pages.append([entry["at"][14:16] for entry in page["entries"]])
        cursor = page["next"]
        if cursor is None:
            break

    assert [["02", "01"], ["00"]] == pages


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"since": "yesterday"}, "since"),
        ({"until": "0001-01-01T00:00:00+14:00"}, "until"),
        ({"cursor": "$gt"}, "cursor"),
        ({"limit": "0"}, "limit"),
        ({"limit": "1001"}, "limit"),
        ({"outcome": "great"}, "outcome"),
        ({"key": ""}, "key"),
    ],
)
def test_a_wrong_filter_is_named(api, query, field):
    """
    Bad input is a 400 that names the parameter.
    """
    assert (400, "invalid_input", [field]) == told(api.get("/api/audit", query_string=query))


def test_entries_are_forgotten_after_a_time(config, store, memory_nodes, mongo_client):
    """
    An entry has its end in it, and the database an index that removes it then.
    """
    app = create_app(replace(config, audit_days=2), store, memory_nodes, now=lambda: NOON)
    ApiClient(app.test_client(), a_key(store)).delete("/api/keys/nothing")

    collection = mongo_client[config.database]["audit"]
    expires_at = collection.find_one()["expires_at"].replace(tzinfo=UTC)
    assert NOON + timedelta(days=2) == expires_at
    assert [0] == [
        index["expireAfterSeconds"]
        for index in collection.index_information().values()
        if index["key"] == [("expires_at", 1)]
    ]


def test_ids_grow_with_the_time():
    """
    The order of ids is the order of times, on which filters and pages rely.
    """
    times = [datetime(year, 1, 1, tzinfo=UTC) for year in (2000, 2026, 2199)]

    assert sorted(map(audit.first_id, times)) == [audit.first_id(at) for at in times]
    assert {12} == {len(audit.first_id(at)) for at in times}


def test_an_enrolment_is_recorded(api, store, memory_nodes):
    """
    A daemon that enrols itself leaves an entry without a key, with its node.
    """
    node = a_node(store, memory_nodes, driver="skyportd", address="127.0.0.1", port=3002)
    key = api.post(f"/api/nodes/{node['_id']}/configure-key").json["configureKey"]
    app = create_app(
        replace(api.flask.application.extensions["skyquay"].config, secret_key="s" * 32),
        store,
        memory_nodes,
    )

    access = "a" * 32
    ApiClient(app.test_client(), None).post(
        f"/nodes/configure?configureKey={key}&accessKey={access}"
    )

    entry = the_entry(api, action="enrolment.configure_node")
    assert (node["_id"], None, "done") == (entry["target"], entry["key"], entry["outcome"])
    assert key not in str(entry)
    assert access not in str(entry)
