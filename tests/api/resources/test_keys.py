"""API keys by address: read, and changed where that gives nobody more rights."""

from datetime import timedelta

import pytest

from service import keys
from service.app import utc_now
from tests.support import NOON, a_node, told


def make(store, **grant):
    """Add a key; answer its id and headers that bear it."""
    key, value = keys.create(store, name="a key", grant=grant, now=NOON)
    return key["_id"], {"headers": {"x-api-key": value}}


def patch(api, key_id, body, **options):
    """Send PATCH for a key."""
    return api.send("PATCH", f"/api/keys/{key_id}", json=body, **options)


def in_days(count):
    """Write the time so many days from now."""
    return (utc_now() + timedelta(days=count)).replace(microsecond=0).isoformat()


def test_a_key_is_read_as_it_is_listed(api, store):
    """
    Never with its value.
    """
    key_id, _ = make(store)

    answer = api.get(f"/api/keys/{key_id}")

    listed = next(each for each in api.get("/api/keys").json if each["id"] == key_id)
    assert (200, listed) == (answer.status, answer.json)


@pytest.mark.parametrize("method", ["GET", "PATCH"])
def test_a_key_that_may_do_more_is_unknown(api, store, method):
    """
    A 404, like one that there is not.
    """
    other, _ = make(store)
    _, limited = make(store, scopes=["keys:*"])

    answers = [api.send(method, f"/api/keys/{key_id}", **limited) for key_id in (other, "nothing")]

    assert [(404, "key_not_found", ["id"])] * 2 == [told(answer) for answer in answers]


def test_a_name_and_an_expiry_are_changed(api, store):
    """
    The rest of the key stays as it is, and its value works on until then.
    """
    key_id, as_key = make(store)
    before = store.keys.get(key_id)

    changed = patch(api, key_id, {"name": "new", "expiresAt": in_days(1)})

    after = store.keys.get(key_id)
    assert (200, "new", 200) == (
        changed.status, changed.json["name"], api.get("/api/users", **as_key).status
    )  # fmt: skip
    assert after["expires_at"] is not None
    touched = ("name", "expires_at", "last_used_at", "revision", "changed_by")
    assert {**before, **{name: after[name] for name in touched}} == after


def test_null_takes_an_expiry_away(api, store):
    """
    As RFC 7396 has it.
    """
    key_id, _ = make(store, expires_at=utc_now() + timedelta(days=1))

    assert (200, None) == (
        (changed := patch(api, key_id, {"expiresAt": None})).status,
        changed.json["expiresAt"],
    )


@pytest.mark.parametrize(
    ("field", "bad"),
    [("name", None), ("name", ""), ("expiresAt", "2001-01-01T00:00:00Z"), ("expiresAt", "soon"),
     ("scopes", ["*"]), ("user", "u-1"), ("networks", None)],
)  # fmt: skip
def test_bad_changes_are_a_400(api, store, field, bad):
    """
    What a key may do is not changed here. Nothing is stored.
    """
    key_id, _ = make(store)
    before = store.keys.get(key_id)

    assert (400, "invalid_input", [field]) == told(patch(api, key_id, {field: bad}))
    assert before == store.keys.get(key_id)


@pytest.mark.parametrize("days", [None, 9])
def test_a_key_does_not_outlive_the_one_that_changes_it(api, store, days):
    """
    Itself neither: 403, and nothing is stored. Sooner is allowed.
    """
    key_id, as_key = make(store, expires_at=utc_now() + timedelta(days=5))
    before = store.keys.get(key_id)["expires_at"]

    assert (403, "forbidden", ["expiresAt"]) == told(
        patch(api, key_id, {"expiresAt": days and in_days(days)}, **as_key)
    )
    assert before == store.keys.get(key_id)["expires_at"]
    assert 200 == patch(api, key_id, {"expiresAt": in_days(2)}, **as_key).status


def test_a_key_is_limited_to_a_node_by_its_name(api, store, memory_nodes):
    """
    What is stored is its id, so that another node of that name is no part of it.
    """
    node = a_node(store, memory_nodes, name="helsinki-1")

    made = api.post("/api/keys", {"name": "x", "scopes": ["nodes:read"], "nodes": ["helsinki-1"]})

    assert (201, [node["_id"]]) == (made.status, made.json["nodes"])
