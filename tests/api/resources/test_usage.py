"""What users have: promised, allowed and measured."""

import pytest

from service import keys
from service.model.documents import new_instance
from tests.support import NOON, a_user

AMOUNTS = {"instances": 1, "memory": 128, "cpu": 1, "disk": 0, "ports": 1}
NONE = dict.fromkeys(AMOUNTS)


@pytest.fixture
def usage_of(api):
    """Read the usage of a user."""
    return lambda user_id: api.get(f"/api/users/{user_id}/usage")


def own_usage(api, store, *, acts_for=None, **grant):
    """Read a key's own usage."""
    value = keys.create(store, name="bot", grant={"scopes": ["*"], **grant}, now=NOON)[1]
    headers = {"x-api-key": value, **({"Act-As": acts_for} if acts_for else {})}
    return api.get("/api/me/usage", headers=headers)


def test_it_has_what_is_promised_and_allowed(api, place, ready, usage_of):
    """
    With a warning where that is more.
    """
    user_id = place[0]["_id"]
    api.send("PATCH", f"/api/users/{user_id}", json={"quota": {"memory": 100}})

    usage = usage_of(user_id)

    assert (200, user_id, AMOUNTS) == (usage.status, usage.json["userId"], usage.json["promised"])
    assert {**NONE, "memory": 100} == usage.json["quota"]
    assert ["The quota of memory is exceeded: 128 of 100 MiB."] == usage.json["warnings"]
    nothing = {"instances": 0, "cpu": 0, "memoryBytes": 0, "diskBytes": 0}
    assert nothing == usage.json["measured"]


def test_it_has_what_was_sampled_last(store, database, place, ready, usage_of):
    """
    Of all of the user's instances together, and of nobody else's.
    """
    node_id = place[1]["_id"]
    store.sampling.sync(now=NOON)
    mine = {"at": NOON, "measured_at": NOON, "cpu_milli": 250, "memory_bytes": 7, "disk_bytes": 5}
    last = {ready: mine, "iothersinstan": {**mine, "memory_bytes": 1000}}
    database["sampling"].update_one({"_id": node_id}, {"$set": {"last": last}})

    measured = usage_of(place[0]["_id"]).json["measured"]

    assert {"instances": 1, "cpu": 0.25, "memoryBytes": 7, "diskBytes": 5} == measured


def test_of_very_many_nothing_is_added_up(database, place, usage_of):
    """
    There are statistics for them.
    """
    user_id = place[0]["_id"]
    fields = {
        "name": "n", "user_id": user_id, "node_id": "n", "image": "i:1", "image_id": None,
        "image_name": "i", "memory_mib": 1, "cpu_milli": 1, "ports": [], "primary": 1,
        "primary_port": 1,
    }  # fmt: skip
    database["instances"].insert_many(
        [{**new_instance(f"x{n}", **fields, now=NOON), "container_id": None} for n in range(501)]
    )

    assert usage_of(user_id).json["measured"] is None


def test_nobody_is_a_404(usage_of):
    """
    As for the user.
    """
    assert (404, "user_not_found") == ((answer := usage_of("x")).status, answer.json["code"])


def test_a_key_reads_its_own(api, store, place, ready):
    """
    Of the user to whom it is limited, or for whom it acts.
    """
    user_id = place[0]["_id"]

    answers = [
        own_usage(api, store, user_id=user_id),
        own_usage(api, store, acts_for=user_id),
    ]

    assert [(200, user_id, AMOUNTS)] * 2 == [
        (answer.status, answer.json["userId"], answer.json["promised"]) for answer in answers
    ]


def test_a_key_of_nobody_has_none(api, store):
    """
    The path names no user, so it is the request that is wrong.
    """
    answer = own_usage(api, store)

    assert (400, "user_not_found") == (answer.status, answer.json["code"])


def test_a_key_of_another_user_does_not_see_it(api, store, place):
    """
    It is a user who is not there.
    """
    other = a_user(store)["_id"]
    value = keys.create(store, name="bot", grant={"user_id": other}, now=NOON)[1]

    answer = api.get(f"/api/users/{place[0]['_id']}/usage", headers={"x-api-key": value})

    assert 404 == answer.status
