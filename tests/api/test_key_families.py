"""Keys that are limited: their users, the keys that they make, and what a list of them reads."""

import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest

from service import delegation, keys, users
from service.app import prepare, utc_now
from service.errors import Conflict, NotFound, Unauthorized
from service.security.lockout import Lockout
from tests.support import NOON, ApiClient, a_deploy, a_key, a_user, an_app, told

CHILD = {"name": "child", "scopes": ["keys:*", "instances:read"]}


@pytest.fixture
def limited(config, store, memory_nodes):
    """Make clients whose keys are limited, of an app with these limits."""

    def make(*, clock=None, grant=None, child_keys_a_minute=30, **over):
        over["delegations"] = Lockout(store, limit=child_keys_a_minute)
        app = an_app(config, store, memory_nodes, now=lambda: (clock or [NOON])[0], **over)
        grant = {"user_id": "ada"} if grant is None else grant
        if "user_id" in grant and store.users.find(grant["user_id"]) is None:
            a_user(store, user_id=grant["user_id"])
        return ApiClient(app.test_client(), keys.create(store, name="k", grant=grant, now=NOON)[1])

    return make


def make_children(api, times):
    """Make keys; list the statuses."""
    return [api.post("/api/keys", CHILD).status for _ in range(times)]


# Users who are deleted


def test_the_keys_of_a_deleted_user_are_revoked(limited, store):
    """
    They are worthless at once, with those that they made; others stay.
    """
    api = limited()
    child = replace(api, key=api.post("/api/keys", CHILD).json["key"])
    other = limited(grant={"user_id": "bob"})

    revoked = users.delete(store, "ada")

    assert 2 == revoked
    assert [401, 401, 200] == [each.get("/api/name").status for each in (api, child, other)]


def test_a_key_does_not_open_a_new_user_of_the_same_id(limited, store):
    """
    Whoever had a key of the one before has none of the new one.
    """
    api = limited()
    users.delete(store, "ada")
    a_user(store, user_id="ada", username="another")

    answers = [api.get("/api/users"), api.post("/api/keys", CHILD)]

    assert [401, 401] == [answer.status for answer in answers]
    assert [] == store.keys.all()


def test_a_user_who_stays_keeps_the_keys(limited, store, place):
    """
    A deletion that is refused revokes nothing.
    """
    api = limited(grant={"user_id": place[0]["_id"]})
    assert 201 == api.post("/api/instances/deploy", a_deploy(*place)).status

    with pytest.raises(Exception, match="still owns"):
        users.delete(store, place[0]["_id"])

    assert 200 == api.get("/api/name").status


def test_no_key_is_made_for_nobody(api, store):
    """
    A user whom a key is limited to must exist: else the key would open whoever comes.
    """
    answer = api.post("/api/keys", {**CHILD, "user": "nobody"})

    assert (400, "user_not_found", ["user"]) == told(answer)
    assert 1 == store.keys.count()


@pytest.mark.heavy
def test_a_deletion_and_new_keys_do_not_pass_each_other(store):
    """
    Of a user who is gone no key is left, whatever is made meanwhile.
    """
    for number in range(8):
        user_id = f"user-{number}"
        a_user(store, user_id=user_id)

        def make(user_id=user_id):
            try:
                keys.create(store, name="k", grant={"user_id": user_id}, now=NOON)
            except NotFound:
                return False
            return True

        with ThreadPoolExecutor(4) as threads:
            made = [threads.submit(make) for _ in range(3)]
            threads.submit(users.delete, store, user_id).result()
            [each.result() for each in made]

    assert [] == store.keys.all()


# Keys that make keys


def test_a_limited_key_makes_so_many_keys(limited, store):
    """
    Beyond that it is a 409; when one is revoked there is room for another.
    """
    api = limited(max_child_keys=3)

    statuses = make_children(api, 4)
    answer = api.post("/api/keys", CHILD)
    child = next(key["id"] for key in api.get("/api/keys").json if key["name"] == CHILD["name"])
    api.delete(f"/api/keys/{child}")

    assert [201, 201, 201, 409] == statuses
    assert (409, "too_many_keys", ["keys"]) == told(answer)
    assert [201, 409] == make_children(api, 2)


@pytest.mark.parametrize(
    "grant", [{"user_id": "ada"}, {"instance_ids": ["i1"]}, {"node_ids": ["n1"]}]
)
def test_keys_of_keys_count_too(limited, store, grant):
    """
    A key that was made makes no more than what is left to the first one.
    """
    api = limited(max_child_keys=3, grant=grant)
    for _ in range(3):
        api = replace(api, key=api.post("/api/keys", CHILD).json["key"])

    assert [409] == make_children(api, 1)


@pytest.mark.heavy
def test_keys_that_are_made_at_once_are_counted(limited, store):
    """
    There are never more than may be, however many ask together.
    """
    api = limited(max_child_keys=5, child_keys_a_minute=0, grant={"instance_ids": ["i1"]})

    with ThreadPoolExecutor(8) as threads:
        statuses = list(threads.map(lambda _: api.post("/api/keys", CHILD).status, range(16)))

    assert [201] * 5 == [status for status in statuses if status == 201]
    assert 6 == len(store.keys.all())


def test_keys_that_an_earlier_version_made_count(limited, store, mongo_client, config):
    """
    Those know no family, but who made them.
    """
    api = limited(max_child_keys=2)
    make_children(api, 2)
    mongo_client[config.database]["keys"].update_many({}, {"$unset": {"family": ""}})

    assert [409] == make_children(api, 1)


def test_a_key_without_limits_makes_any_number(config, store, memory_nodes):
    """
    A dashboard may have a key for each of its customers.
    """
    app = an_app(config, store, memory_nodes, max_child_keys=2, delegations=Lockout(store, limit=2))
    api = ApiClient(app.test_client(), a_key(store))

    assert [201] * 5 == make_children(api, 5)


def test_keys_are_not_made_too_fast(limited):
    """
    A limited key makes so many a minute, with those that it made; then it is a 429.
    """
    clock = [NOON]
    api = limited(clock=clock, child_keys_a_minute=2)
    child = replace(api, key=api.post("/api/keys", CHILD).json["key"])
    seen = [*make_children(api, 1), *make_children(child, 1)]

    clock[0] += timedelta(minutes=1)

    assert [201, 429, 201] == [*seen, *make_children(api, 1)]


def test_a_family_that_is_revoked_makes_no_keys(store):
    """
    A key that was revoked while its request was under way makes none.
    """
    document, _ = keys.create(store, name="k", grant={"instance_ids": ["i1"]}, now=NOON)
    keys.revoke(store, document["_id"])

    with pytest.raises(Unauthorized):
        delegation.delegate(
            store,
            document,
            name="c",
            grant={"scopes": ["*"]},
            compatibility=None,
            family=keys.find_family(document),
            now=NOON,
        )

    assert [] == store.keys.all()


# The list


@pytest.mark.heavy
@pytest.mark.fresh_database
@pytest.mark.parametrize(
    "grant", [{"user_id": "ada"}, {"instance_ids": ["i1"]}, {"node_ids": ["n1", "n2"]}]
)
def test_a_list_reads_only_what_may_be_seen(limited, store, mongo_client, config, grant):
    """
    However many keys there are of others, the database looks at none of them.
    """
    api = limited(grant=grant)
    make_children(api, 2)
    limited(grant={"user_id": "bob", "instance_ids": ["i2"], "node_ids": ["n3"]})
    for number in range(20):
        keys.create(store, name=f"other {number}", now=NOON)
    database = mongo_client[config.database]
    database.command("profile", 2)

    listed = api.get("/api/keys").json

    database.command("profile", 0)
    [read] = database["system.profile"].find(
        {"ns": f"{config.database}.keys", "op": "query", "command.sort": {"$exists": True}}
    )
    assert (3, 3) == (len(listed), read["docsExamined"])


# The key of the settings


def test_a_value_that_was_rotated_is_named_at_start(config, store, caplog):
    """
    It is not made a key anew, however often the key was rotated since, and the log says so.
    """
    settings = replace(config, api_key="chosen-by-somebody")
    prepare(settings, store)
    document = store.keys.all()[0]
    for _ in range(3):
        document, _ = keys.rotate(store, document, overlap_s=0, now=utc_now())
        caplog.clear()
        with caplog.at_level(logging.WARNING, "service.app"):
            prepare(settings, store)

        [record] = caplog.records
        assert "SKYQUAY_API_KEY is an old value" in record.getMessage()
        assert document["_id"] in record.getMessage()
        assert "it works no more" in record.getMessage()
        assert "chosen" not in record.getMessage()

    assert [document["_id"]] == [key["_id"] for key in store.keys.all()]
    with pytest.raises(Unauthorized):
        keys.authenticate(store, "chosen-by-somebody", now=utc_now())


def test_a_value_that_still_works_is_named_with_its_end(config, store, caplog):
    """
    While both values work, the log says until when.
    """
    settings = replace(config, api_key="chosen-by-somebody")
    prepare(settings, store)
    keys.rotate(store, store.keys.all()[0], overlap_s=3600, now=utc_now())

    with caplog.at_level(logging.WARNING, "service.app"):
        prepare(settings, store)

    assert "it works until 20" in caplog.text


def test_the_key_of_the_settings_is_quiet_while_it_works(config, store, caplog):
    """
    Nothing is said of a value that is the key's own.
    """
    settings = replace(config, api_key="chosen-by-somebody")

    with caplog.at_level(logging.WARNING, "service.app"):
        for _ in range(2):
            prepare(settings, store)

    assert [] == caplog.records


# Who exists


@pytest.mark.parametrize(
    "grant",
    [
        {"scopes": ["instances:read"]},
        {"instance_ids": ["i1"]},
        {"node_ids": ["n1"]},
        {"scopes": ["instances:read"], "user_id": "ada"},
    ],
)
def test_a_key_that_reads_no_users_does_not_learn_who_exists(limited, store, place, grant):
    """
    A user who exists and one who does not have the same answer.
    """
    api = limited(grant=grant)

    answers = [
        api.post("/api/getUserInstance", {"userId": user}) for user in (place[0]["_id"], "nobody")
    ]

    assert [(200, [])] * 2 == [(answer.status, answer.json) for answer in answers]


def test_a_key_that_reads_users_is_answered_as_ever(api, place):
    """
    An unknown user is a 400, and one without instances has none.
    """
    known, unknown = (
        api.post("/api/getUserInstance", {"userId": user}) for user in (place[0]["_id"], "nobody")
    )

    assert (200, []) == (known.status, known.json)
    assert (400, "user_not_found", ["userId"]) == told(unknown)


def test_a_key_that_reads_no_users_sees_its_own_instances(limited, place):
    """
    What it may read of instances is answered, whoever owns them.
    """
    api = limited(grant={"scopes": ["instances:*"], "user_id": place[0]["_id"]})
    made = api.post("/api/instances/deploy", a_deploy(*place)).json["Id"]

    answer = api.post("/api/getUserInstance", {"userId": place[0]["_id"]})

    assert [made] == [instance["Id"] for instance in answer.json]


def test_a_second_key_of_one_value_is_a_conflict(store):
    """
    The value of a key is its own.
    """
    keys.create(store, name="k", key="chosen-by-somebody", now=NOON)

    with pytest.raises(Conflict):
        keys.create(store, name="k", key="chosen-by-somebody", now=NOON)
