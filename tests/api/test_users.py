"""Users over HTTP: list, look up, add. Never a password, hashed or not."""

from dataclasses import replace

import pytest

from service import keys
from service.errors import InvalidInput
from tests.support import NOON, a_user

NEW = {"username": "Ada", "email": "Ada@example.org", "password": "correct horse", "userId": "u-1"}
NO_TEXT = ({"$gt": ""}, {}, ["x"], [], 7, True, None, "", "\0")
BAD_INPUT = {
    "username": (*NO_TEXT, "x" * 65),
    "email": (*NO_TEXT, "ada", "ada@", "@example.org", "a@b", "a" * 400 + "@example.org"),
    "password": (*NO_TEXT, "x", "x" * 7, "x" * 1025),
    "userId": (*(value for value in NO_TEXT if value is not None), "x" * 65),
    "admin": ("true", "yes", {}, [], "", 2, {"$gt": ""}),
}


@pytest.fixture
def users(mongo_client, config):
    """The collection of users, to look into."""
    return mongo_client[config.database]["users"]


def test_a_fresh_service_lists_no_users(api):
    """
    Without users the list is empty, and a list.
    """
    answer = api.get("/api/users")

    assert (200, []) == (answer.status, answer.json)


def test_users_are_listed_in_full(api, store):
    """
    The list is a bare array with all that clients read of a user, and no password.
    """
    a_user(store, user_id="u-1", username="ada", email="ada@example.org", admin=True)

    answer = api.get("/api/users")

    assert (
        200,
        [
            {
                "userId": "u-1",
                "username": "ada",
                "email": "ada@example.org",
                "admin": True,
                "accessTo": [],
                "suspended": False,
                "quota": dict.fromkeys(("instances", "memory", "cpu", "disk", "ports")),
                "warnings": [],
                "externalId": None,
                "labels": {},
                "createdAt": "2026-01-31T12:00:00Z",
            }
        ],
    ) == (answer.status, answer.json)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("email", "Ada@Example.org"),
        ("email", "ADA@EXAMPLE.ORG"),
        ("username", "Straße"),
        ("username", "STRASSE"),
        ("id", "u-1"),
    ],
)
def test_a_user_is_found(api, store, key, value):
    """
    An e-mail address or name, in any letter case, or an id finds the user, with 201.
    """
    a_user(store, user_id="u-1", username="Straße", email="Ada@Example.org")

    answer = api.post("/api/getUser", {"type": key, "value": value})

    assert 201 == answer.status
    assert ("u-1", "Straße", "Ada@Example.org") == (
        answer.json["userId"],
        answer.json["username"],
        answer.json["email"],
    )


@pytest.mark.parametrize("key", ["email", "username", "id"])
def test_an_unknown_user_is_a_400(api, store, key):
    """
    What is nobody's whole e-mail address, name or id finds nobody.
    """
    a_user(store, username="ada")

    answers = [
        api.post("/api/getUser", {"type": key, "value": value})
        for value in ("nobody", ".*", "ad", "ada@", "$ne")
    ]

    assert {(400, "user_not_found", ("value",))} == {
        (answer.status, answer.json["code"], tuple(answer.json["details"])) for answer in answers
    }


@pytest.mark.parametrize("field", ["type", "value"])
def test_a_look_up_takes_texts_only(api, store, field):
    """
    A type or a value that is no text is a 400 that names the field, whoever exists.
    """
    a_user(store)
    body = {"type": "email", "value": "ada@example.org"}

    answers = [(value, api.post("/api/getUser", {**body, field: value})) for value in NO_TEXT]

    assert [] == [
        (value, answer)
        for value, answer in answers
        if (400, [field]) != (answer.status, list(answer.json["details"]))
    ]


@pytest.mark.parametrize("key", ["password", "password_hash", "_id", "EMAIL"])
def test_only_some_fields_can_be_looked_up(api, key):
    """
    A type beyond email, username and id is a 400 that names the field.
    """
    answer = api.post("/api/getUser", {"type": key, "value": "x"})

    assert (400, ["type"]) == (answer.status, list(answer.json["details"]))


@pytest.mark.parametrize("body", [None, {}])
def test_a_look_up_needs_both_fields(api, body):
    """
    An empty or absent body names what is missing.
    """
    answer = api.post("/api/getUser", body)

    assert (400, ["type", "value"]) == (answer.status, list(answer.json["details"]))


def test_a_user_is_created(api, users):
    """
    The answer has the id that was sent, and the password is stored as an argon2id hash only.
    """
    answer = api.post("/api/auth/create-user", NEW)

    stored = users.find_one({"_id": "u-1"})
    assert (
        201,
        {"userId": "u-1", "username": "Ada", "email": "Ada@example.org", "admin": False},
    ) == (answer.status, answer.json)
    assert stored["password_hash"].startswith("$argon2id$")
    assert NEW["password"] not in str(stored)


@pytest.mark.parametrize("absent", [{}, {"userId": None}])
def test_an_id_is_made_up_where_none_is_sent(api, users, absent):
    """
    Without a `userId`, or with null, the user gets one, which the answer tells.
    """
    body = {name: value for name, value in NEW.items() if name != "userId"}

    answer = api.post("/api/auth/create-user", {**body, **absent})

    assert (201, users.find_one()["_id"]) == (answer.status, answer.json["userId"])


@pytest.mark.parametrize(("sent", "admin"), [(True, True), (False, False), (None, False)])
def test_a_user_can_be_an_administrator(api, sent, admin):
    """
    `admin` is as it was sent, and false for null.
    """
    answer = api.post("/api/auth/create-user", {**NEW, "admin": sent})

    assert (201, admin) == (answer.status, answer.json["admin"])


def test_a_created_user_is_found(api):
    """
    Who is created is found by the id that was sent, as dashboards do.
    """
    api.post("/api/auth/create-user", NEW)

    answer = api.post("/api/getUser", {"type": "id", "value": "u-1"})

    assert (201, "Ada") == (answer.status, answer.json["username"])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("email", "ada@EXAMPLE.org"),
        ("username", "aDA"),
        ("userId", "u-1"),
    ],
)
def test_a_user_is_unique(api, users, field, value):
    """
    An e-mail address or name taken in any letter case, or a taken id, is a 409 that names it.
    """
    api.post("/api/auth/create-user", NEW)
    other = {
        "username": "Bea",
        "email": "bea@example.org",
        "password": "long enough",
        "userId": "u-2",
    }

    answer = api.post("/api/auth/create-user", {**other, field: value})

    assert (409, "conflict", {field: ["Taken already."]}) == (
        answer.status,
        answer.json["code"],
        answer.json["details"],
    )
    assert ["u-1"] == users.distinct("_id")


@pytest.mark.parametrize("field", ["username", "email", "password"])
def test_a_user_needs_three_fields(api, users, field):
    """
    A missing field is a 400 that names it, and nobody is added.
    """
    body = {name: value for name, value in NEW.items() if name != field}

    answer = api.post("/api/auth/create-user", body)

    assert (400, [field], 0) == (
        answer.status,
        list(answer.json["details"]),
        users.count_documents({}),
    )


@pytest.mark.parametrize("field", BAD_INPUT)
def test_a_wrong_field_of_a_user_is_named(api, users, field):
    """
    A field of the wrong type, form or length is a 400 that names it, and nobody is added.
    """
    answers = [
        (value, api.post("/api/auth/create-user", {**NEW, field: value}))
        for value in BAD_INPUT[field]
    ]

    assert [] == [
        (value, answer)
        for value, answer in answers
        if (400, [field]) != (answer.status, list(answer.json["details"]))
    ]
    assert 0 == users.count_documents({})


def test_extra_fields_of_a_user_are_ignored(api, users):
    """
    A field that we do not know is no error, and is not stored.
    """
    answer = api.post("/api/auth/create-user", {**NEW, "password_hash": "x", "accessTo": ["i-1"]})

    stored = users.find_one()
    assert (201, []) == (answer.status, stored["access_to"])
    assert stored["password_hash"].startswith("$argon2id$")


def test_no_answer_holds_a_hash(api, users):
    """
    Whatever tells of a user tells nothing of the password.
    """
    answers = [
        api.post("/api/auth/create-user", NEW),
        api.get("/api/users"),
        *(
            api.post("/api/getUser", {"type": key, "value": NEW[field]})
            for key, field in (("email", "email"), ("username", "username"), ("id", "userId"))
        ),
    ]

    hashed = users.find_one()["password_hash"]
    told = " ".join(str(answer.json) for answer in answers)
    assert [201, 200, 201, 201, 201] == [answer.status for answer in answers]
    assert not [
        secret for secret in (hashed, "argon2", "assword", NEW["password"]) if secret in told
    ]


def test_a_password_of_eight_characters_will_do(api):
    """
    Characters count, not bytes.
    """
    assert 201 == api.post("/api/auth/create-user", {**NEW, "password": "äöüäöüäö"}).status


def test_a_short_password_is_refused(api, users):
    """
    It is a 400 that says how long it must be.
    """
    answer = api.post("/api/auth/create-user", {**NEW, "password": "1234567"})

    assert (400, {"password": ["Must have at least 8 characters."]}, 0) == (
        answer.status,
        answer.json["details"],
        users.count_documents({}),
    )


def test_another_length_may_be_asked_for(store):
    """
    Whoever adds a user says how long the password is, at the least.
    """
    with pytest.raises(InvalidInput, match="too short"):
        a_user(store, password="xy", min_password_length=3)
    user = a_user(store, password="xyz", min_password_length=3)

    assert [user] == store.users.all()


def test_clients_of_the_older_panel_may_use_short_passwords(api, store):
    """
    It asked for no length, and a key with `compatibility` is answered as it did.
    """
    key = keys.create(store, name="k", compatibility="0.3.0", now=NOON)[1]

    answer = replace(api, key=key).post("/api/auth/create-user", {**NEW, "password": "x"})

    assert 201 == answer.status
