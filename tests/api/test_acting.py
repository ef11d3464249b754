"""The header `Act-As`: what a key may do on behalf of a user, and who is written down."""

import logging
from dataclasses import replace

import pytest

from service import keys
from service.model.access import ACT, SCOPES
from tests.endpoints import ENDPOINTS
from tests.model.test_access import WHOLE, knock
from tests.support import (
    DEPLOY,
    NOON,
    SPEC,
    ApiClient,
    a_body,
    a_key,
    a_user,
    an_app,
    an_image,
    get,
    told,
)


class Acting:
    """A client that sends `Act-As` with each request."""

    def __init__(self, api, user_id):
        self.api, self.user_id = api, user_id

    def send(self, method, path, headers=None, **options):
        """Send a request on behalf of the user."""
        return self.api.send(
            method, path, headers={"Act-As": self.user_id, **(headers or {})}, **options
        )


def a_bearer(api, store, **grant):
    """Make a client whose key has this grant only."""
    return replace(api, key=keys.create(store, name="dashboard", grant=grant, now=NOON)[1])


@pytest.fixture
def people(store):
    """A plain user, another one, and an administrator."""
    a_user(store, user_id="ada", username="ada")
    a_user(store, user_id="bob", username="bob")
    a_user(store, user_id="root", username="root", admin=True)


@pytest.fixture
def owned(api, store, place, people):
    """An instance of each of both users, by their ids."""
    return {
        user_id: api.post(
            DEPLOY, a_body(place, user=user_id, ports=f"80:{port}", primary=port)
        ).json["Id"]
        for user_id, port in (("ada", 9401), ("bob", 9402))
    }


def list_rejections(client):
    """Send a request to each endpoint; return which scope each one that rejects it asks for."""
    answers = {endpoint: knock(client, *endpoint) for endpoint in ENDPOINTS}
    return {
        endpoint: answer.json["details"]["scope"][0]
        for endpoint, answer in answers.items()
        if answer.status == 403
    }


@pytest.mark.heavy
@pytest.mark.parametrize(("user_id", "without"), [("ada", {*WHOLE, ACT}), ("root", {ACT})])
def test_every_endpoint_on_behalf_of_a_user(api, store, people, user_id, without):
    """
    With a key that has all rights a plain user may what a key limited to the user may, and an
    administrator everything.
    """
    rejections = list_rejections(Acting(api, user_id))

    expected = {endpoint: s for endpoint, s in ENDPOINTS.items() if s in without}
    assert expected == rejections


@pytest.mark.matrix
@pytest.mark.parametrize("scope", [scope for scope in SCOPES if scope != ACT])
@pytest.mark.parametrize(("user_id", "without"), [("ada", {*WHOLE, ACT}), ("root", {ACT})])
def test_every_endpoint_on_behalf_of_a_user_with_each_scope(
    api, store, people, scope, user_id, without
):
    """
    A key with one scope beside that to act opens the endpoints of this one, if the user may.
    """
    bearer = a_bearer(api, store, scopes=[ACT, scope])

    rejections = list_rejections(Acting(bearer, user_id))

    allowed = {scope} - without
    assert {e: s for e, s in ENDPOINTS.items() if s and s not in allowed} == rejections


@pytest.mark.heavy
def test_a_key_without_the_scope_acts_for_nobody(api, store, people):
    """
    The header is never ignored: at every endpoint it is a 403 that names the scope.
    """
    bearer = a_bearer(api, store, scopes=[scope for scope in SCOPES if scope != ACT])

    rejections = list_rejections(Acting(bearer, "ada"))

    assert dict.fromkeys(ENDPOINTS, ACT) == rejections


@pytest.mark.parametrize("user_id", ["nobody", "", "ada,bob", "ADA"])
def test_an_unknown_user_is_a_400_that_names_the_header(api, people, owned, look, user_id):
    """
    Nothing is changed, whatever is asked for.
    """
    before = look()

    answers = [
        Acting(api, user_id).send("GET", "/api/instances"),
        Acting(api, user_id).send("POST", f"/api/instances/suspend/{owned['ada']}"),
        Acting(api, user_id).send("GET", "/api/nothing"),
    ]

    assert [(400, "user_not_found", ["Act-As"])] * 3 == [told(each) for each in answers]
    assert before == look()


def test_a_limited_key_does_not_learn_who_exists(api, store, people):
    """
    Somebody outside its limits, an administrator too, is as somebody who does not exist.
    """
    bearer = a_bearer(api, store, scopes=["*"], user_id="ada")

    own, *others = (
        Acting(bearer, user_id).send("GET", "/api/me") for user_id in ("ada", "bob", "root", "eve")
    )

    assert 200 == own.status
    assert {(400, "user_not_found")} == {(each.status, each.json["code"]) for each in others}
    said = {str(each.json["details"]).replace(user_id, "X")
            for each, user_id in zip(others, ("bob", "root", "eve"), strict=True)}  # fmt: skip
    assert 1 == len(said)


@pytest.mark.parametrize("limits", [{"node_ids": ["n1"]}, {"instance_ids": ["i1"]}])
def test_a_key_of_nodes_or_instances_acts_for_nobody(api, store, people, limits):
    """
    Of these no user is a part, so it would learn who exists.
    """
    bearer = a_bearer(api, store, scopes=["*"], **limits)

    answers = [Acting(bearer, user_id).send("GET", "/api/name") for user_id in ("ada", "eve")]

    assert [(403, [ACT])] * 2 == [(a.status, a.json["details"]["scope"]) for a in answers]


def test_lists_are_those_of_the_user(api, owned):
    """
    A plain user sees what is the user's own, an administrator all.
    """

    def seen(user_id):
        return {each["Id"] for each in Acting(api, user_id).send("GET", "/api/instances").json}

    assert ({owned["ada"]}, {owned["bob"]}, set(owned.values())) == (
        seen("ada"), seen("bob"), seen("root")
    )  # fmt: skip


def test_what_is_of_another_is_unknown(api, owned, look):
    """
    As for a key limited to the user: it is no 403, and nothing is changed.
    """
    before = look()
    ada = Acting(api, "ada")

    answers = [
        ada.send("GET", f"/api/instances/{owned['bob']}"),
        ada.send("PATCH", f"/api/instances/{owned['bob']}", json={"name": "mine"}),
        ada.send("DELETE", f"/api/instances/{owned['bob']}"),
        ada.send("PATCH", f"/api/instances/{owned['ada']}", json={"user": "bob"}),
    ]

    assert [404, 404, 404, 400] == [answer.status for answer in answers]
    assert before == look()


def test_only_an_administrator_sets_variables_of_administrators(api, store, place, people):
    """
    What `editableBy` keeps from owners is kept from plain users.
    """
    slots = {"type": "text", "required": False, "editable_by": "admin", "default": "8"}
    image = an_image(store, name="v", variables={"SLOTS": slots})
    body = a_body((place[0], place[1], image), user="ada", variables={"SLOTS": "99"})

    ada = Acting(api, "ada").send("POST", DEPLOY, json=body)
    root = Acting(api, "root").send("POST", DEPLOY, json=body)

    assert ((400, ["variables"]), 201) == ((ada.status, list(ada.json["details"])), root.status)


def test_management_addresses_of_nodes_are_hidden(api, owned):
    """
    From a plain user as from a limited key.
    """
    [plain], [whole] = (
        Acting(api, user_id).send("GET", "/api/nodes").json for user_id in ("ada", "root")
    )

    assert (None, True) == (plain["address"], whole["address"] is not None)


# Keys


def test_a_key_made_while_acting_is_limited_to_both(api, people):
    """
    It has the user's limit without being asked, and no scope that the user has not.
    """
    ada = Acting(api, "ada")

    made = ada.send("POST", "/api/keys", json={"name": "k", "scopes": ["instances:*"]})
    more = ada.send("POST", "/api/keys", json={"name": "k", "scopes": ["*"], "user": "bob"})

    assert (201, "ada") == (made.status, made.json["user"])
    assert (403, "forbidden", ["key"]) == told(more)


@pytest.mark.parametrize(("user_id", "scopes"), [("root", [ACT]), ("root", ["*"]), ("ada", [ACT])])
def test_no_key_that_acts_is_made_while_acting(api, store, people, user_id, scopes):
    """
    Not on behalf of an administrator either.
    """
    before = store.keys.count()

    answer = Acting(api, user_id).send("POST", "/api/keys", json={"name": "k", "scopes": scopes})

    assert (403, "forbidden", ["key"]) == told(answer)
    assert before == store.keys.count()


@pytest.mark.parametrize("user_id", ["ada", "root"])
def test_a_key_that_acts_does_not_change_itself(api, store, people, user_id):
    """
    It may do more than both, so it is unknown: neither rotated, nor revoked, nor prolonged.
    """
    [key] = store.keys.all()
    acting = Acting(api, user_id)

    answers = [
        acting.send("GET", f"/api/keys/{key['_id']}"),
        acting.send("PATCH", f"/api/keys/{key['_id']}", json={"name": "other"}),
        acting.send("POST", f"/api/keys/{key['_id']}/rotate"),
        acting.send("DELETE", f"/api/keys/{key['_id']}"),
    ]

    assert [404, 404, 400, 400] == [answer.status for answer in answers]
    assert key["digest"] == store.keys.get(key["_id"])["digest"]


def test_keys_made_for_users_do_not_use_up_what_a_limited_key_may_make(
    config, store, memory_nodes, people
):
    """
    A key without limits makes any number of them, whether it acts or says the limit itself.
    """
    app = an_app(config, store, memory_nodes, max_child_keys=1)
    api = ApiClient(app.test_client(), a_key(store))

    body = {"name": "k", "scopes": ["instances:read"]}
    made = [Acting(api, "ada").send("POST", "/api/keys", json=body).status for _ in range(3)]

    assert [201] * 3 == made


# The user changes


def test_a_deleted_user_is_acted_for_no_more(api, store, people):
    """
    From the next request on.
    """
    before = Acting(api, "bob").send("GET", "/api/instances").status

    api.delete("/api/users/bob")
    after = Acting(api, "bob").send("GET", "/api/instances")

    assert (200, (400, "user_not_found", ["Act-As"])) == (before, told(after))


def test_who_is_no_administrator_any_more_has_the_rights_of_a_plain_user(api, people):
    """
    From the next request on.
    """
    before = Acting(api, "root").send("POST", "/api/users", json={})

    api.send("PATCH", "/api/users/root", json={"admin": False})
    after = Acting(api, "root").send("POST", "/api/users", json={})

    assert (400, 403) == (before.status, after.status)


# What is written down


def test_the_audit_log_has_the_key_and_the_user(api, store, owned):
    """
    Of changes and of rejected requests; it can be filtered by the user.
    """
    [key] = store.keys.all()
    Acting(api, "ada").send("PATCH", f"/api/instances/{owned['ada']}", json={"name": "new"})
    Acting(api, "ada").send("DELETE", "/api/users/bob")
    Acting(api, "bob").send("DELETE", "/api/users/ada")

    found = api.get("/api/audit", query_string={"actsFor": "ada"}).json["entries"]
    everybody = api.get("/api/audit", query_string={"outcome": "refused"}).json["entries"]

    assert [
        ("users.remove_user", 403, "ada", key["_id"]),
        ("instances.edit_instance", 200, "ada", key["_id"]),
    ] == [(each["action"], each["status"], each["actsFor"], each["key"]) for each in found]
    assert ["bob", "ada"] == [each["actsFor"] for each in everybody]


def test_the_log_has_the_key_and_the_user(api, people, caplog):
    """
    Each request's line.
    """
    with caplog.at_level(logging.INFO, "skyquay.request"):
        Acting(api, "ada").send("GET", "/api/name")
        api.get("/api/name")

    assert ["ada", None] == [record.acts_for for record in caplog.records[-2:]]


def test_me_says_for_whom_the_key_acts(api, store, people):
    """
    The key is as it is; what it may do is narrowed.
    """
    me = Acting(api, "ada").send("GET", "/api/me").json

    assert ("ada", "ada", None, ["*"]) == (
        me["actsFor"], me["user"]["userId"], me["key"]["user"], me["key"]["scopes"]
    )  # fmt: skip
    assert sorted({*SCOPES} - WHOLE - {ACT}) == me["scopes"]
    assert api.get("/api/me").json["actsFor"] is None


# Retries, lists and caches


def test_an_idempotency_key_is_one_for_each_user(api, place, people):
    """
    The same text for another user is another request, whether or not the bodies are the same.
    """
    headers = {"Idempotency-Key": "once"}

    def deploy(user_id, port):
        body = a_body(place, user=user_id, ports=f"80:{port}", primary=port)
        return Acting(api, user_id).send("POST", DEPLOY, json=body, headers=headers)

    first, other, again = deploy("ada", 9411), deploy("bob", 9412), deploy("ada", 9411)
    own = api.post(DEPLOY, a_body(place, ports="80:9413", primary=9413), headers=headers)

    assert [201, 201, 201, 201] == [each.status for each in (first, other, again, own)]
    assert first.json["Id"] == again.json["Id"]
    assert 3 == len({first.json["Id"], other.json["Id"], own.json["Id"]})


def test_an_etag_is_of_one_view(api, owned):
    """
    What another user sees is not what the client has already; the cache is told by `Vary`.
    """
    ada = Acting(api, "ada").send("GET", "/api/instances")
    etag = ada.headers["ETag"]

    statuses = [
        client.send("GET", "/api/instances", headers={"If-None-Match": etag}).status
        for client in (Acting(api, "ada"), Acting(api, "bob"), api)
    ]

    assert [304, 200, 200] == statuses
    assert "Act-As" in ada.headers["Vary"]


def test_a_list_of_nodes_is_cached_for_each_view(api, owned):
    """
    What was encoded for somebody who may see it all is not shown to who may not, nor the reverse.
    """
    seen = [
        client.send("GET", "/api/nodes").json[0]["address"] is None
        for client in (api, Acting(api, "ada"), api, Acting(api, "root"), Acting(api, "ada"))
    ]

    assert [False, True, False, False, True] == seen


def test_a_cursor_is_of_one_users_list(api, people):
    """
    That of another user's list is none of this one.
    """
    page = Acting(api, "root").send("GET", "/api/users?limit=1")
    target = page.headers["Link"].partition(">")[0].removeprefix("<")

    answers = [client.send("GET", target) for client in (Acting(api, "root"), Acting(api, "ada"))]

    assert (200, (400, "invalid_input", ["cursor"])) == (answers[0].status, told(answers[1]))


def test_the_limit_of_requests_is_the_keys(config, store, memory_nodes, people):
    """
    Users share it, for whom one key acts.
    """
    app = an_app(replace(config, key_rate=2), store, memory_nodes)
    api = ApiClient(app.test_client(), a_key(store))

    statuses = [Acting(api, user).send("GET", "/api/name").status for user in ("ada", "bob", "ada")]

    assert [200, 200, 429] == statuses


def test_who_is_rejected_too_often_for_one_user_goes_on_for_another(
    config, store, memory_nodes, people
):
    """
    The endpoint is closed for the user alone who may not use it.
    """
    app = an_app(config, store, memory_nodes, rejections=1)
    api = ApiClient(app.test_client(), a_key(store))

    plain = [Acting(api, "ada").send("DELETE", "/api/users/x").status for _ in range(3)]
    admin = Acting(api, "root").send("DELETE", "/api/users/x").status

    assert ([403, 429, 429], 404) == (plain, admin)


def test_the_document_declares_the_header():
    """
    At each operation that needs a key, and at no other.
    """
    reference = {"$ref": "#/components/parameters/ActAs"}
    declared = {
        (method.upper(), path)
        for path, operations in SPEC["paths"].items()
        for method, operation in operations.items()
        if method != "parameters" and reference in operation.get("parameters", [])
    }

    assert {e for e in ENDPOINTS if e != ("GET", "/metrics")} == declared


def test_an_administrators_own_settings(api, owned):
    """
    An administrator changes what is of others, as the key may.
    """
    answer = Acting(api, "root").send(
        "PATCH", f"/api/instances/{owned['bob']}", json={"name": "renamed"}
    )

    assert (200, "renamed") == (answer.status, get(api, owned["bob"])["Name"])


def test_a_method_that_a_path_does_not_take_has_no_user(api):
    """
    That is what is wrong with the request, whomever it names.
    """
    assert 405 == Acting(api, "nobody").send("TRACE", "/api/users").status
