"""Users by address: added, read, changed and deleted, with the web's own codes."""

import threading
from contextlib import suppress

import pytest

from service import instances, keys, users
from service.errors import Conflict, NotFound, UserNotEmpty
from service.model.ports import parse
from tests.support import ABSENT, AT_NOON, NOON, a_user, an_order, told

NEW = {"username": "Ada", "email": "Ada@example.org", "password": "correct horse", "userId": "u-1"}
BAD = {
    "username": (None, "", 7, {}, "x" * 65),
    "email": (None, "ada", [], 7),
    "password": (None, "short", 7, "x" * 1025),
    "admin": ("yes", 2, 0, 1, {}),
    "externalId": ("", 7, {}, "x" * 129, "a\0b"),
    "labels": ("x", [], {"a": 7}, {"a.b": "c"}, {"": "x"}, {"$a": "x"}, {"a": "x" * 256},
               {f"n{i}": "" for i in range(33)}),
}  # fmt: skip


def patch(api, path, body, **options):
    """Send PATCH with a JSON body."""
    return api.send("PATCH", path, json=body, **options)


@pytest.fixture
def stored(database):
    """Read a user's document past the store."""
    return lambda user_id="u-1": database["users"].find_one({"_id": user_id})


def test_a_user_is_added_at_an_address(api):
    """
    201 with the user and with its path, where it is read; never with a password.
    """
    added = api.post(
        "/api/users", {**NEW, "externalId": "ext-1", "labels": {"plan": "gold", "old": None}}
    )

    assert (201, "/api/users/u-1") == (added.status, added.headers["Location"])
    assert {
        "userId": "u-1",
        "username": "Ada",
        "email": "Ada@example.org",
        "admin": False,
        "accessTo": [],
        "suspended": False,
        "quota": dict.fromkeys(("instances", "memory", "cpu", "disk", "ports")),
        "warnings": [],
        "externalId": "ext-1",
        "labels": {"plan": "gold"},
        "createdAt": added.json["createdAt"],
    } == added.json
    assert added.json == api.get("/api/users/u-1").json


def test_a_user_without_an_id_gets_one(api):
    """
    What is not said is made up, and the path leads there.
    """
    added = api.post("/api/users", {**NEW, "userId": None})

    assert added.json["userId"] == api.get(added.headers["Location"]).json["userId"]


@pytest.mark.parametrize("field", BAD)
@pytest.mark.parametrize("changes", [False, True], ids=["added", "changed"])
def test_bad_input_is_a_400_that_names_the_field(api, store, stored, field, changes):
    """
    Nothing is stored of it.
    """
    if changes:
        a_user(store, user_id="u-1")
    before = stored()

    answers = [
        (patch(api, "/api/users/u-1", {field: bad}) if changes
         else api.post("/api/users", {**NEW, field: bad}))
        for bad in BAD[field]
    ]  # fmt: skip

    assert [(400, "invalid_input", [field])] * len(answers) == [told(each) for each in answers]
    assert before == stored()


def test_all_that_is_wrong_is_named_at_once(api, stored):
    """
    Wrong and unknown fields, wrong and unknown parameters: one 400.
    """
    answer = api.post("/api/users?pretty=1", {"username": "", "emial": "a@b.org", "password": "x"})

    assert 400 == answer.status
    assert {"pretty", "username", "email", "emial", "password"} == set(answer.json["details"])
    assert ["Unknown field. Did you mean 'email'?"] == answer.json["details"]["emial"]
    assert stored() is None


@pytest.mark.parametrize("user_id", ["", ".", "..", "a/b", "a b", "ä", "x" * 65])
def test_an_id_that_would_not_stand_in_a_path_is_refused(api, user_id):
    """
    The reference's endpoint still takes them.
    """
    assert (400, "invalid_input", ["userId"]) == told(
        api.post("/api/users", {**NEW, "userId": user_id})
    )


@pytest.mark.parametrize("field", ["userId", "username", "email", "externalId"])
def test_what_is_taken_is_a_409(api, field):
    """
    In any letter case, where cases do not matter; and the field is named.
    """
    first = {**NEW, "externalId": "ext-1"}
    other = {"userId": "u-2", "username": "bob", "email": "bob@example.org", "password": "x" * 8,
             "externalId": "ext-2"}  # fmt: skip
    api.post("/api/users", first)

    assert (409, "conflict", [field]) == told(
        api.post("/api/users", {**other, field: first[field]})
    )


@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
def test_an_unknown_user_is_a_404(api, method):
    """
    Beyond the reference, what a path names and does not exist is a 404.
    """
    assert (404, "user_not_found") == told(api.send(method, "/api/users/nobody"))[:2]


def test_what_is_absent_stays_as_it_is(api, store, stored):
    """
    A change names what changes, and leaves the rest alone, passwords too.
    """
    a_user(store, user_id="u-1", username="ada", admin=True, password="correct horse")
    before = stored()

    changed = patch(api, "/api/users/u-1", {"username": "Lovelace"})

    assert (200, "Lovelace", True) == (changed.status, changed.json["username"],
                                       changed.json["admin"])  # fmt: skip
    assert {**before, "username": "Lovelace", "username_key": "lovelace", "revision": 2} == {
        **{name: value for name, value in stored().items() if name != "changed_by"},
        "updated_at": before["updated_at"],
    }


def test_everything_of_a_user_can_be_changed(api, store):
    """
    The user is found by the new name, and logs in with the new password.
    """
    a_user(store, user_id="u-1")

    changed = patch(
        api,
        "/api/users/u-1",
        {"username": "Eve", "email": "Eve@example.org", "password": "battery staple", "admin": True,
         "externalId": "ext-9", "labels": {"plan": "gold"}},
        headers={"Content-Type": "application/merge-patch+json"},
    )  # fmt: skip

    assert (200, True, "ext-9") == (changed.status, changed.json["admin"],
                                    changed.json["externalId"])  # fmt: skip
    assert users.verify(store, "email", "eve@EXAMPLE.org", "battery staple", now=NOON)
    assert users.verify(store, "username", "eve", "battery staple", now=NOON)


def test_labels_are_merged(api, store):
    """
    As RFC 7396 has it: null takes one away, and what is not named stays. Null takes away all.
    """
    a_user(store, user_id="u-1", labels={"plan": "gold", "team": "red"}, external_id="ext-1")

    merged = patch(api, "/api/users/u-1", {"labels": {"plan": None, "site": "north"}}).json
    emptied = patch(api, "/api/users/u-1", {"labels": None, "externalId": None}).json

    assert {"team": "red", "site": "north"} == merged["labels"]
    assert ("ext-1", {}, None) == (merged["externalId"], emptied["labels"], emptied["externalId"])


def test_labels_are_counted_once_they_are_merged(api, store, stored):
    """
    What a document has already counts, so that no number of changes exceeds the bound.
    """
    a_user(store, user_id="u-1", labels={f"a{i}": "" for i in range(20)})

    assert (400, "invalid_input", ["labels"]) == told(
        patch(api, "/api/users/u-1", {"labels": {f"b{i}": "" for i in range(13)}})
    )
    assert 20 == len(stored()["labels"])


@pytest.mark.parametrize("field", ["username", "email", "externalId"])
def test_a_change_to_what_is_taken_is_a_409(api, store, stored, field):
    """
    And changes nothing, the other fields neither.
    """
    taken = {"username": "bob", "email": "bob@example.org", "externalId": "ext-2"}
    a_user(store, username="Bob", email="Bob@example.org", external_id="ext-2")
    a_user(store, user_id="u-1")
    before = stored()

    answer = patch(api, "/api/users/u-1", {"admin": True, field: taken[field]})

    assert (409, "conflict", [field]) == told(answer)
    assert before == stored()


def test_of_two_who_want_a_name_at_once_one_gets_it(store):
    """
    The others are told that it is taken, whatever the order.
    """
    racers = [a_user(store)["_id"] for _ in range(6)]
    results = []

    def race(user_id):
        try:
            results.append(users.edit(store, user_id, {"username": "winner"}, now=NOON)["_id"])
        except Conflict as exc:
            results.append(exc.code)

    threads = [threading.Thread(target=race, args=[user_id]) for user_id in racers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert 5 == results.count("conflict")
    assert [store.users.find_by_username("winner")["_id"]] == [
        result for result in results if result != "conflict"
    ]


def test_labels_that_are_added_at_once_are_all_there(store):
    """
    Nobody's change is overwritten with what was read before it.
    """
    user_id = a_user(store)["_id"]
    names = [f"n{i}" for i in range(6)]
    threads = [
        threading.Thread(
            target=users.edit, args=[store, user_id, {"labels": {name: "x"}}], kwargs={"now": NOON}
        )
        for name in names
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert set(names) == set(store.users.get(user_id)["labels"])


def test_a_deleted_user_is_gone_with_the_keys_that_are_limited_to_it(api, store):
    """
    204 without a body; then the user is unknown, and the keys are worthless.
    """
    a_user(store, user_id="u-1")
    key, _ = keys.create(store, name="of u-1", grant={"user_id": "u-1"}, now=NOON)

    gone = api.delete("/api/users/u-1")

    assert (204, None, 404) == (gone.status, gone.json, api.get("/api/users/u-1").status)
    assert store.keys.find(key["_id"]) is None


def test_a_user_who_owns_instances_stays(api, store, place):
    """
    409 with their number; nothing is revoked.
    """
    user, node, image = place
    keys.create(store, name="of the user", grant={"user_id": user["_id"]}, now=NOON)
    instances.deploy(store, an_order(user, node, image), origin=AT_NOON)

    answer = api.delete(f"/api/users/{user['_id']}")

    assert (409, "user_not_empty", {"userId": ["Owns 1 instances."]}) == (
        answer.status,
        answer.json["code"],
        answer.json["details"],
    )
    assert 1 == len(store.keys.list_limited(user_id=user["_id"], instance_ids=None, node_ids=None))


@pytest.mark.heavy
def test_a_deletion_and_a_deploy_cannot_cross(store, place):
    """
    However they race, there is never an instance of nobody.
    """
    _, node, image = place
    lost = []
    for port in range(8000, 8008):
        user = a_user(store)
        order = an_order(user, node, image, ports=parse(f"80:{port}"), primary=port)

        def deploy(order=order):
            with suppress(NotFound):
                instances.deploy(store, order, origin=AT_NOON)

        def delete(user=user):
            with suppress(UserNotEmpty):
                users.delete(store, user["_id"])

        racers = [threading.Thread(target=deploy), threading.Thread(target=delete)]
        for racer in racers:
            racer.start()
        for racer in racers:
            racer.join()
        owned = store.instances.list_owned(user["_id"])
        lost += owned if store.users.find(user["_id"]) is None else []

    assert [] == lost


def test_changes_are_in_the_audit_log(api, store):
    """
    With what changed; of a password that it did, and never what it is.
    """
    a_user(store, user_id="u-1")
    patch(api, "/api/users/u-1", {"admin": True, "password": "battery staple"})
    api.delete("/api/users/u-1")

    deleted, changed = api.get("/api/audit").json["entries"][:2]

    assert ("users.edit_user", "u-1") == (changed["action"], changed["target"])
    assert {"admin": True, "passwordChanged": True} == {
        name: changed["after"][name] for name in ("admin", "passwordChanged")
    }
    assert ("users.remove_user", "u-1", "done") == (
        deleted["action"], deleted["target"], deleted["outcome"]
    )  # fmt: skip
    assert "battery" not in str(changed)


def test_a_key_that_is_limited_to_a_user_reads_that_one_alone(api, store):
    """
    Another user is unknown to it, and it changes none.
    """
    a_user(store, user_id="u-1")
    a_user(store, user_id="u-2")
    limited = keys.create(store, name="limited", grant={"user_id": "u-1"}, now=NOON)[1]
    as_limited = {"headers": {"x-api-key": limited}}

    assert [200, 404, 403] == [
        api.get("/api/users/u-1", **as_limited).status,
        api.get("/api/users/u-2", **as_limited).status,
        patch(api, "/api/users/u-1", {}, **as_limited).status,
    ]


@pytest.mark.parametrize("body", [ABSENT, {}])
def test_nothing_to_change_changes_nothing(api, store, body):
    """
    No body counts as an empty one.
    """
    a_user(store, user_id="u-1", username="ada")

    answer = patch(api, "/api/users/u-1", None if body == ABSENT else body)

    assert (200, "ada") == (answer.status, answer.json["username"])
