"""Who is calling: the key, what it may do, and the version."""

from datetime import timedelta
from importlib.metadata import version

from service import keys
from service.app import utc_now
from service.model.access import SCOPES
from tests.support import NOON, a_user


def me_of(api, store, **grant):
    """Ask as a new key."""
    value = keys.create(store, name="bot", grant=grant, now=NOON)[1]
    return value, api.get("/api/me", headers={"x-api-key": value})


def test_a_key_without_limits_may_do_everything(api, store):
    """
    Each scope is listed, and no user.
    """
    _, answer = me_of(api, store)

    assert (200, sorted(SCOPES), None, version("skyquay")) == (
        answer.status, answer.json["scopes"], answer.json["user"], answer.json["version"]
    )  # fmt: skip


def test_a_key_learns_what_its_limits_leave(api, store):
    """
    Not what it was granted, but what it may do; and its limits.
    """
    a_user(store, user_id="u-1", username="ada")

    _, answer = me_of(
        api,
        store,
        scopes=["users:*", "instances:read"],
        user_id="u-1",
        expires_at=utc_now() + timedelta(days=1),
    )

    assert (["instances:read", "users:act", "users:read"], "ada") == (
        answer.json["scopes"],
        answer.json["user"]["username"],
    )
    assert ("u-1", True) == (
        answer.json["key"]["user"], answer.json["key"]["expiresAt"] is not None
    )  # fmt: skip


def test_a_key_that_reads_no_users_is_shown_none(api, store):
    """
    Not even the one that it is limited to.
    """
    a_user(store, user_id="u-1")

    _, answer = me_of(api, store, scopes=["instances:read"], user_id="u-1")

    assert ("u-1", None) == (answer.json["key"]["user"], answer.json["user"])


def test_a_keys_value_is_not_told(api, store):
    """
    Who logs answers keeps no key.
    """
    value, answer = me_of(api, store)

    assert value not in str(answer.json)


def test_an_old_value_may_change_no_keys(api, store):
    """
    As long as it works beside the new one it may do less, and is told so.
    """
    key, value = keys.create(store, name="bot", grant={}, now=NOON)
    keys.rotate(store, key, overlap_s=3600, now=utc_now())

    answer = api.get("/api/me", headers={"x-api-key": value})

    assert {"keys:write"} == set(SCOPES) - set(answer.json["scopes"])


def test_it_needs_a_key(api):
    """
    401 without one.
    """
    assert 401 == api.get("/api/me", headers={"x-api-key": "wrong"}).status
