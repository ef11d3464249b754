"""Requests that are rejected: how many there may be, and what the audit log has of them."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest

from service import keys
from service.app import create_app
from tests.support import NOON, ApiClient, a_key, an_app


def a_client(config, store, memory_nodes, *, clock=None, grant=None, rejections=0, **settings):
    """Make a client whose key may read images, and nothing else."""
    clock = clock or [NOON]
    settings = replace(config, **settings)
    app = an_app(settings, store, memory_nodes, now=lambda: clock[0], rejections=rejections)
    grant = grant or {"scopes": ["images:read"]}
    return ApiClient(app.test_client(), keys.create(store, name="low", grant=grant, now=NOON)[1])


def entries(store):
    """Read the whole audit log, oldest first."""
    return store.audit.list_newest({}, since=None, before=None, limit=1000)[::-1]


def statuses(api, times, path="/api/users", **options):
    """Send the same request again and again."""
    return [api.get(path, **options).status for _ in range(times)]


def test_rejected_requests_have_a_limit(config, store, memory_nodes):
    """
    Past it the same request is a 429, which says when to come again; what the key may do goes on.
    """
    api = a_client(config, store, memory_nodes, rejections=3)

    rejected = statuses(api, 5)
    answer = api.get("/api/users")

    assert [403, 403, 403, 429, 429] == rejected
    assert ("60", "3", "0") == tuple(
        answer.headers[name] for name in ("Retry-After", "RateLimit-Limit", "RateLimit-Remaining")
    )
    assert 200 == api.get("/api/images").status


@pytest.mark.heavy
def test_sixty_a_minute_are_allowed(config, store, memory_nodes):
    """
    That is the limit of an app as it is made.
    """
    app = create_app(config, store, memory_nodes, now=lambda: NOON)
    grant = {"scopes": ["images:read"]}
    api = ApiClient(app.test_client(), keys.create(store, name="low", grant=grant, now=NOON)[1])

    assert [403] * 60 + [429] == statuses(api, 61)


@pytest.mark.heavy
def test_any_number_can_be_allowed(config, store, memory_nodes):
    """
    With 0 there is no limit.
    """
    api = a_client(config, store, memory_nodes, rejections=0)

    assert {403} == set(statuses(api, 70))


@pytest.mark.parametrize("value", [None, "wrong", "sq_" + 43 * "x"])
def test_a_stranger_has_the_limit_too(config, store, memory_nodes, value):
    """
    Requests without a good key count for their address.
    """
    api = replace(a_client(config, store, memory_nodes, rejections=2), key=value)

    assert [401, 401, 429] == statuses(api, 3)


def test_the_limit_is_of_a_key_and_an_address(config, store, memory_nodes):
    """
    Another key of the same address, and the same key elsewhere, have a count of their own.
    """
    api = a_client(config, store, memory_nodes, rejections=1)
    other = a_client(config, store, memory_nodes, rejections=1)
    elsewhere = {"environ_overrides": {"REMOTE_ADDR": "192.0.2.7"}}

    assert [403, 429] == statuses(api, 2)
    assert [403, 403] == [other.get("/api/users").status, api.get("/api/users", **elsewhere).status]


def test_all_endpoints_count_together(config, store, memory_nodes):
    """
    A key that tries one path after the other gets no more than by trying one.
    """
    api = a_client(config, store, memory_nodes, rejections=2)

    seen = [api.get(path).status for path in ("/api/users", "/api/nodes", "/api/keys")]

    assert [403, 403, 429] == seen


def test_the_limit_ends_with_the_minute(config, store, memory_nodes):
    """
    In the next minute the request is rejected again, as before.
    """
    clock = [NOON]
    api = a_client(config, store, memory_nodes, clock=clock, rejections=1)
    seen = statuses(api, 2)

    clock[0] += timedelta(seconds=60)

    assert [403, 429, 403] == [*seen, api.get("/api/users").status]


def test_past_the_limit_the_database_is_not_asked(config, store, memory_nodes, monkeypatch):
    """
    What is known to be rejected is answered from memory.
    """
    api = a_client(config, store, memory_nodes, rejections=1)
    statuses(api, 2)
    asked = []
    monkeypatch.setattr(store.keys, "find_by_digest", lambda *args: asked.append(args))

    assert ([429] * 3, []) == (statuses(api, 3), asked)


def test_a_key_that_asks_for_too_much_is_limited(config, store, memory_nodes):
    """
    A 403 that the view finds counts as well, and leaves one entry.
    """
    api = a_client(config, store, memory_nodes, grant={"scopes": ["keys:*"]}, rejections=2)

    seen = [api.post("/api/keys", {"name": "k", "scopes": ["*"]}).status for _ in range(4)]

    [entry] = entries(store)
    assert [403, 403, 429, 429] == seen
    assert ("keys.create_key", "refused", 3) == (entry["action"], entry["outcome"], entry["count"])


# The audit log


def test_an_hour_of_rejections_is_one_entry(config, store, memory_nodes):
    """
    It has their count, the first and the last request's id, and the time of both.
    """
    clock = [NOON]
    api = a_client(config, store, memory_nodes, clock=clock)
    for number in range(3):
        clock[0] = NOON + timedelta(minutes=10 * number)
        api.get("/api/users", headers={"X-Request-Id": f"r-{number}"})

    full = replace(api, key=a_key(store))
    [entry] = full.get("/api/audit").json["entries"]
    assert ("users.list_users", "refused", 403, 3) == (
        entry["action"],
        entry["outcome"],
        entry["status"],
        entry["count"],
    )
    assert ("r-0", "r-2") == (entry["requestId"], entry["lastRequestId"])
    assert ("2026-01-31T12:00:00Z", "2026-01-31T12:20:00Z") == (entry["at"], entry["lastAt"])


def test_each_key_address_action_and_hour_has_its_entry(config, store, memory_nodes):
    """
    What differs in any of these is told apart.
    """
    clock = [NOON]
    api = a_client(config, store, memory_nodes, clock=clock)
    other = replace(api, key=keys.create(store, name="o", grant={"scopes": []}, now=NOON)[1])

    statuses(api, 2)
    other.get("/api/users")
    api.get("/api/nodes")
    api.get("/api/users", environ_overrides={"REMOTE_ADDR": "192.0.2.7"})
    clock[0] += timedelta(hours=1)
    api.get("/api/users")

    assert [1, 1, 1, 1, 2] == sorted(entry["count"] for entry in entries(store))


def test_a_network_has_one_entry(config, store, memory_nodes):
    """
    Whoever has a /64 of IPv6 fills the audit log no faster than who has one address.
    """
    api = a_client(config, store, memory_nodes)

    for number in range(3):
        api.get("/api/users", environ_overrides={"REMOTE_ADDR": f"2001:db8::{number}"})

    assert [3] == [entry["count"] for entry in entries(store)]


def test_made_up_methods_are_one_action(config, store, memory_nodes):
    """
    A stranger makes no entry of its own for each word.
    """
    api = replace(a_client(config, store, memory_nodes), key=None)

    for method in ("FLY", "SWIM", "WALK"):
        api.send(method, "/nothing")

    [entry] = entries(store)
    assert ("(other) (no such path)", 3) == (entry["action"], entry["count"])


@pytest.mark.heavy
def test_rejections_at_once_are_counted_in_one_entry(config, store, memory_nodes):
    """
    Of requests that come together none is lost, and none makes a second entry.
    """
    api = a_client(config, store, memory_nodes, rejections=0)

    with ThreadPoolExecutor(8) as threads:
        seen = list(threads.map(lambda _: api.get("/api/users").status, range(48)))

    assert ([403] * 48, [48]) == (seen, [entry["count"] for entry in entries(store)])


def test_an_entry_lasts_as_long_as_its_last_request(config, store, memory_nodes):
    """
    It is forgotten when the setting says after the last, not the first.
    """
    clock = [NOON]
    api = a_client(config, store, memory_nodes, clock=clock, audit_days=1)
    api.get("/api/users")
    clock[0] += timedelta(minutes=30)
    api.get("/api/users")

    assert [NOON + timedelta(days=1, minutes=30)] == [e["expires_at"] for e in entries(store)]


@pytest.mark.parametrize(
    ("since", "found"),
    [("12:00:00", 1), ("12:15:00", 1), ("12:20:00", 1), ("12:20:01", 0), ("13:30:00", 0)],
)
def test_an_entry_is_of_all_times_that_it_counts(config, store, memory_nodes, since, found):
    """
    Who asks for what came since a time sees an entry that began before it and went on after it.
    """
    clock = [NOON]
    api = a_client(config, store, memory_nodes, clock=clock)
    api.get("/api/users")
    clock[0] += timedelta(minutes=20)
    api.get("/api/users")

    listed = replace(api, key=a_key(store)).get(
        "/api/audit", query_string={"since": f"2026-01-31T{since}Z"}
    )

    assert found == len(listed.json["entries"])


def test_an_entry_of_one_change_counts_one(api):
    """
    The fields are there for every entry.
    """
    api.delete("/api/keys/nothing", headers={"X-Request-Id": "r-1"})

    [entry] = api.get("/api/audit").json["entries"]
    assert (1, "r-1", entry["at"]) == (entry["count"], entry["lastRequestId"], entry["lastAt"])


# Preflights


@pytest.mark.parametrize("origins", ["", "https://panel.example"])
def test_a_preflight_tells_no_paths(config, store, memory_nodes, origins):
    """
    OPTIONS needs no key, and is answered alike for paths that there are and others.
    """
    app = create_app(replace(config, cors_origins=origins), store, memory_nodes)
    api = ApiClient(app.test_client(), None)
    asked = {"Origin": "https://panel.example", "Access-Control-Request-Method": "POST"}
    paths = (
        "/api/users",
        "/api/nothing",
        "/",
        "/docs/",
        "/api/instances/suspend/x",
        "//x",
        "/metrics",
    )

    answers = [api.send("OPTIONS", path, headers=asked) for path in paths]

    assert {200} == {answer.status for answer in answers}
    assert 1 == len(
        {
            tuple(sorted((k, v) for k, v in answer.headers if k != "X-Request-Id"))
            for answer in answers
        }
    )
    assert [] == entries(store)
