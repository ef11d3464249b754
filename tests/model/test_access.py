"""What a key may do: the matrix of endpoints and kinds of key, limits, delegation and rotation."""

import itertools
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service import keys
from service.app import create_app
from service.errors import Conflict
from service.model.access import GRANTS, SCOPES, Access, expand, parse_network
from tests.endpoints import ENDPOINTS, UNDOCUMENTED
from tests.support import (
    NOON,
    SPEC,
    ApiClient,
    a_deploy,
    a_node,
    a_user,
    an_app,
    an_image,
    run_due,
    told,
)

WHOLE = {
    "users:write", "users:verify", "images:write", "nodes:write", "audit:read", "metrics:read",
}  # fmt: skip
LIMITS = {
    "user": ({"user_id": "ada"}, WHOLE),
    "instances": (
        {"instance_ids": ["i1"]},
        WHOLE | {"instances:deploy", "users:read", "users:act"},
    ),
    "nodes": ({"node_ids": ["n1"]}, WHOLE | {"users:read", "users:act"}),
    "user and nodes": ({"user_id": "ada", "node_ids": ["n1"]}, WHOLE),
}
"""Kinds of limits, and the scopes that go with them."""

USELESS = [(scope, limit) for limit, (_, without) in LIMITS.items() for scope in sorted(without)]
KINDS = [
    (grant, limit) for grant in GRANTS for limit in (None, *LIMITS) if (grant, limit) not in USELESS
]


def a_bearer(api, store, **grant):
    """Make a client whose key has this grant only; the user whom it is limited to exists."""
    user_id = grant.get("user_id")
    if user_id is not None and store.users.find(user_id) is None:
        a_user(store, user_id=user_id)
    return replace(api, key=keys.create(store, name="test", grant=grant, now=NOON)[1])


def knock(api, method, path):
    """Send a request without a body to a endpoint; there is nothing behind any id."""
    for name in ("instance_id", "image_id", "node_id", "operation_id", "key_id"):
        path = path.replace(f"{{{name}}}", "nothing")
    return api.send(method, path)


def is_meant(grant, scope):
    """Return by the spelling alone whether a grant means a scope."""
    return grant in ("*", scope, f"{scope.split(':')[0]}:*")


def test_every_endpoint_is_in_the_matrix():
    """
    The spec's endpoints that need a key are those above, and it names the scopes that they need.
    """
    documented = {
        (method.upper(), path): (operation["security"][0]["apiKey"] or [None])[0]
        for path, operations in SPEC["paths"].items()
        for method, operation in operations.items()
        if method != "parameters" and operation.get("security") != []
    }

    assert ENDPOINTS == documented | UNDOCUMENTED


def list_allowed(grants, without):
    """List the scopes that a key has by the spelling of its grants, but for `without`."""
    return {
        scope
        for scope in SCOPES
        if any(is_meant(grant, scope) for grant in grants) and scope not in without
    }


@pytest.mark.parametrize("limit", [None, *LIMITS])
def test_a_key_may_do_what_it_was_granted_within_its_limits(limit):
    """
    For each one and each two of all grants, and each kind of limits.
    """
    limits, without = LIMITS[limit] if limit else ({}, set())

    for grants in itertools.combinations_with_replacement(GRANTS, 2):
        access = Access(scopes=expand(grants), **limits)

        assert list_allowed(grants, without) == {scope for scope in SCOPES if access.may(scope)}


def list_rejections(bearer, endpoints=tuple(ENDPOINTS)):
    """Send a request to each endpoint; return which scope each one that rejects it asks for."""
    answers = {endpoint: knock(bearer, *endpoint) for endpoint in endpoints}
    assert 401 not in {answer.status for answer in answers.values()}
    assert {"forbidden"} >= {a.json["code"] for a in answers.values() if a.status == 403}
    return {
        endpoint: answer.json["details"]["scope"][0]
        for endpoint, answer in answers.items()
        if answer.status == 403
    }


def list_expected_rejections(grants, without=frozenset()):
    """List what `list_rejections` finds for a key with these grants and limits."""
    allowed = list_allowed(grants, without)
    return {
        endpoint: scope for endpoint, scope in ENDPOINTS.items() if scope and scope not in allowed
    }


@pytest.mark.parametrize("scope", SCOPES)
def test_every_endpoint_needs_its_own_scope(api, store, scope):
    """
    With its scope alone an endpoint is open; with all others it is not, and names what it asks for.
    """
    own = {endpoint: needed for endpoint, needed in ENDPOINTS.items() if needed == scope}
    others = [other for other in SCOPES if other != scope]

    opened = list_rejections(a_bearer(api, store, scopes=[scope]), own)
    rejected = list_rejections(a_bearer(api, store, scopes=others), own)

    assert ({}, own) == (opened, rejected)


@pytest.mark.matrix
@pytest.mark.parametrize("scope", SCOPES)
def test_no_endpoint_needs_another_scope(api, store, scope):
    """
    With a scope alone the endpoints that need it are open, with all others those alone are not.
    """
    others = [other for other in SCOPES if other != scope]

    for grants in ([scope], others):
        rejections = list_rejections(a_bearer(api, store, scopes=grants))

        assert list_expected_rejections(grants) == rejections


@pytest.mark.heavy
@pytest.mark.parametrize("limit", LIMITS)
def test_every_endpoint_with_a_limited_key(api, store, limit):
    """
    A limit takes the scopes away that have no part that could be limited.
    """
    limits, without = LIMITS[limit]

    rejections = list_rejections(a_bearer(api, store, scopes=["*"], **limits))

    assert list_expected_rejections(["*"], without) == rejections


@pytest.mark.matrix
@pytest.mark.parametrize(("grant", "limit"), KINDS)
def test_every_endpoint_with_every_kind_of_key(api, store, grant, limit):
    """
    A key opens the endpoints that it has the scope for, and gets a 403 with the scope's name at all
    others.
    """
    limits, without = LIMITS[limit] if limit else ({}, set())

    rejections = list_rejections(a_bearer(api, store, scopes=[grant], **limits))

    assert list_expected_rejections([grant], without) == rejections


@pytest.mark.parametrize(("scope", "limit"), USELESS)
def test_no_key_is_made_for_what_its_limits_take_away(api, store, scope, limit):
    """
    A scope that is named would never work, so nobody is left to wonder: it is a 400.
    """
    names = {"user_id": "user", "instance_ids": "instances", "node_ids": "nodes"}
    limits = {names[name]: value for name, value in LIMITS[limit][0].items()}
    if "user" in limits:
        limits["user"] = a_user(store)["_id"]
    before = store.keys.count()

    answer = api.post("/api/keys", {"name": "b", "scopes": ["keys:read", scope], **limits})

    assert (400, "invalid_input", ["scopes"]) == told(answer)
    assert [f"A key with these limits never has {scope!r}."] == answer.json["details"]["scopes"]
    assert before == store.keys.count()


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("grant", "status"),
    [
        ({"expires_at": NOON - timedelta(days=1)}, 401),
        ({"networks": ["192.0.2.0/24"]}, 403),
        ({"networks": ["127.0.0.0/8"]}, None),
        ({"networks": ["2001:db8::/32", "127.0.0.1"]}, None),
        ({"networks": ["::/0"]}, 403),
    ],
)
def test_every_endpoint_with_a_key_out_of_place(config, store, memory_nodes, grant, status):
    """
    An expired key is a 401 at every endpoint, and one from elsewhere a 403.
    """
    app = an_app(config, store, memory_nodes, now=lambda: NOON)
    bearer = a_bearer(ApiClient(app.test_client(), None), store, **grant)

    statuses = {knock(bearer, *endpoint).status for endpoint in ENDPOINTS}

    assert statuses == {status} if status else statuses.isdisjoint({401, 403})


@pytest.mark.parametrize(
    ("address", "admitted"),
    [("::ffff:10.1.2.3", True), ("10.1.2.3", True), ("::ffff:10.2.2.3", False), ("", False)],
)
def test_an_ipv4_address_is_one_however_it_is_written(address, admitted):
    """
    A socket of both families tells an IPv4 client's address inside an IPv6 one.
    """
    access = Access(scopes=frozenset(), networks=(parse_network("10.1.0.0/16"),))

    assert admitted == access.admits(address)


# Limits


@pytest.fixture
def world(api, store, memory_nodes):
    """Two users with an instance each on each of two nodes, by (user, node)."""
    nodes = [a_node(store, memory_nodes) for _ in range(2)]
    image = an_image(store)
    world = {}
    for number, (name, node) in enumerate(itertools.product(("ada", "bob"), nodes)):
        user = store.users.find(name) or a_user(store, username=name, user_id=name)
        body = a_deploy(user, node, image, ports=f"80:{9000 + number}", primary=9000 + number)
        world[name, node["_id"]] = api.post("/api/instances/deploy", body).json["Id"]
    run_due(store, memory_nodes)
    return world


def list_ids(api):
    """List the ids of the instances that a client sees."""
    return {instance["Id"] for instance in api.get("/api/instances").json}


@pytest.mark.heavy
def test_a_key_of_an_owner_sees_the_owners_instances(api, store, world):
    """
    Lists have the owner's instances, operations and account alone.
    """
    bearer = a_bearer(api, store, user_id="ada")
    own = {instance for (user, _), instance in world.items() if user == "ada"}

    operations = {each["instanceId"] for each in bearer.get("/api/operations").json}

    assert own == list_ids(bearer)
    assert own == operations
    assert ["ada"] == [user["userId"] for user in bearer.get("/api/users").json]
    assert 2 == len(bearer.get("/api/nodes").json)


@pytest.mark.heavy
def test_a_key_of_nodes_sees_what_is_on_them(api, store, world):
    """
    A key that is limited to a node sees this node, and the instances and operations there.
    """
    node_id = next(node for _, node in world)
    bearer = a_bearer(api, store, node_ids=[node_id])
    there = {instance for (_, node), instance in world.items() if node == node_id}

    operations = {each["instanceId"] for each in bearer.get("/api/operations").json}

    assert there == list_ids(bearer)
    assert there == operations
    assert [node_id] == [node["id"] for node in bearer.get("/api/nodes").json]


@pytest.mark.heavy
@pytest.mark.parametrize("limit", [{"node_ids": ["n1"]}, {"instance_ids": ["i1"]}])
def test_a_key_of_nodes_or_instances_lists_no_users(api, store, world, limit):
    """
    It would see everybody's names and addresses, whoever's instances it is limited to.
    """
    answer = a_bearer(api, store, **limit).get("/api/users")

    assert (403, ["users:read"]) == (answer.status, answer.json["details"]["scope"])


@pytest.mark.heavy
def test_limits_add_up(api, store, world):
    """
    A key that is limited in two ways sees what is within both.
    """
    (user, node_id), instance_id = next(iter(world.items()))

    bearer = a_bearer(api, store, user_id=user, node_ids=[node_id])
    named = a_bearer(api, store, user_id=user, instance_ids=list(world.values()))

    assert {instance_id} == list_ids(bearer)
    assert {i for (u, _), i in world.items() if u == user} == list_ids(named)


LOOK_UPS = {
    "getInstance": lambda api, i: api.post("/api/getInstance", {"id": i}),
    "delete": lambda api, i: api.delete("/api/instance/delete", {"id": i}),
    "force": lambda api, i: api.delete("/api/instance/delete", {"id": i, "force": True}),
    "suspend": lambda api, i: api.post(f"/api/instances/suspend/{i}"),
    "unsuspend": lambda api, i: api.post(f"/api/instances/unsuspend/{i}"),
    "start": lambda api, i: api.post(f"/api/instances/{i}/start"),
    "stop": lambda api, i: api.post(f"/api/instances/{i}/stop"),
    "restart": lambda api, i: api.post(f"/api/instances/{i}/restart"),
    "kill": lambda api, i: api.post(f"/api/instances/{i}/kill"),
    "logs": lambda api, i: api.get(f"/api/instances/{i}/logs"),
    "command": lambda api, i: api.post(f"/api/instances/{i}/command", {"line": "x"}),
    "stats": lambda api, i: api.get(f"/api/instances/{i}/stats"),
}
BEYOND_THE_REFERENCE = ("command", "stats")


@pytest.mark.heavy
@pytest.mark.parametrize("name", LOOK_UPS)
@pytest.mark.parametrize("limit", ["user_id", "node_ids", "instance_ids"])
def test_a_strangers_instance_is_as_one_that_does_not_exist(api, store, world, look, name, limit):
    """
    The answers differ in the id that was sent only, and nothing is changed.
    """
    (user, node_id), own = next(iter(world.items()))
    stranger = next(i for (u, n), i in world.items() if u != user and n != node_id)
    limits = {"user_id": user, "node_ids": [node_id], "instance_ids": [own]}
    bearer = a_bearer(api, store, **{limit: limits[limit]})
    before = look()

    answer, unknown = (LOOK_UPS[name](bearer, i) for i in (stranger, "iaaaaaaaaaaa"))

    status = 404 if name in BEYOND_THE_REFERENCE else 400
    assert (status, "instance_not_found", ["id"]) == told(answer)
    said, of_unknown = ({**each.json, "instance": None} for each in (answer, unknown))
    assert str(of_unknown).replace("iaaaaaaaaaaa", stranger) == str(said)
    assert before == look()


@pytest.mark.heavy
def test_a_strangers_container_is_unknown_too(api, store, world):
    """
    Containers' ids, which are accepted as well, are no way around.
    """
    stranger = next(i for (user, _), i in world.items() if user == "bob")
    container_id = store.instances.get(stranger)["container_id"]

    answer = a_bearer(api, store, user_id="ada").post("/api/getInstance", {"id": container_id})

    assert (400, "instance_not_found", ["id"]) == told(answer)


@pytest.mark.heavy
@pytest.mark.parametrize("endpoint", ["", "/retry", "/cancel"])
def test_a_strangers_operation_is_as_one_that_does_not_exist(api, store, world, endpoint):
    """
    An operation of another's instance is unknown at all its endpoints.
    """
    stranger = next(i for (user, _), i in world.items() if user == "bob")
    operation_id = store.operations.find_latest(stranger)["_id"]
    bearer = a_bearer(api, store, user_id="ada")

    answer = bearer.send("POST" if endpoint else "GET", f"/api/operations/{operation_id}{endpoint}")

    assert (400, "operation_not_found", ["id"]) == told(answer)


@pytest.mark.heavy
def test_the_operation_of_a_deleted_instance_is_seen(api, store, memory_nodes, world):
    """
    The outcome of a deletion can be asked for by the owner's key.
    """
    own = next(i for (user, _), i in world.items() if user == "ada")
    bearer = a_bearer(api, store, user_id="ada")
    operation_id = bearer.delete("/api/instance/delete", {"id": own}).json["operationId"]
    run_due(store, memory_nodes)

    answer = bearer.get(f"/api/operations/{operation_id}")

    assert (200, "succeeded") == (answer.status, answer.json["status"])


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("limits", "over", "code"),
    [
        ({"user_id": "ada"}, {"user": "bob"}, "user_not_found"),
        ({"node_ids": ["elsewhere"]}, {}, "node_not_found"),
        ({"user_id": "ada"}, {}, None),
    ],
)
def test_a_limited_key_deploys_within_its_limits(api, store, world, limits, over, code):
    """
    A deploy for somebody else, or elsewhere, is a 400 as for somebody who does not exist.
    """
    (_, node_id), _ = next(iter(world.items()))
    user, node = store.users.get("ada"), store.nodes.get(node_id)
    body = a_deploy(user, node, store.images.all()[0], ports="80:9100", primary=9100)

    answer = a_bearer(api, store, **limits).post("/api/instances/deploy", {**body, **over})

    assert (code is None, code) == (answer.status == 201, answer.json.get("code"))


@pytest.mark.heavy
def test_another_user_is_unknown_to_an_owners_key(api, store, world):
    """
    Neither the user nor the user's instances can be looked up.
    """
    bearer = a_bearer(api, store, user_id="ada")

    user = bearer.post("/api/getUser", {"type": "username", "value": "bob"})
    theirs = bearer.post("/api/getUserInstance", {"userId": "bob"})

    assert (400, "user_not_found", ["value"]) == told(user)
    assert (400, "user_not_found", ["userId"]) == told(theirs)


# Making keys


def test_a_key_is_made_shown_once_and_works(api, store):
    """
    The value is in the answer, not in the list nor the database, and opens what was granted.
    """
    made = api.post("/api/keys", {"name": "bot", "scopes": ["users:read"]})

    value = made.json["key"]
    bot = replace(api, key=value)
    stored = store.keys.get(made.json["id"])
    assert 201 == made.status
    assert [200, 403] == [bot.get("/api/users").status, bot.get("/api/nodes").status]
    assert value.startswith(made.json["prefix"])
    assert value not in str(stored) + str(api.get("/api/keys").json)
    assert keys.digest(value) == stored["digest"]


def test_the_use_of_a_key_is_noted_to_the_minute(config, store, memory_nodes):
    """
    `lastUsedAt` moves at most once a minute.
    """
    clock = [NOON]
    app = create_app(config, store, memory_nodes, now=lambda: clock[0])
    document, value = keys.create(store, name="k", now=NOON)
    noted = []

    for seconds in (0, 59, 60):
        clock[0] = NOON + timedelta(seconds=seconds)
        ApiClient(app.test_client(), value).get("/api/name")
        noted.append((store.keys.get(document["_id"])["last_used_at"] - NOON).total_seconds())

    assert [0, 0, 60] == noted


@pytest.mark.parametrize(
    ("grant", "wanted"),
    [
        ({"scopes": ["keys:*", "users:read"]}, {"scopes": ["users:*"]}),
        ({"scopes": ["keys:*", "users:read"]}, {"scopes": ["*"]}),
        ({"user_id": "ada"}, {"scopes": ["*"], "user": "bob"}),
        ({"node_ids": ["n1"]}, {"scopes": ["*"], "nodes": ["n1", "n2"]}),
        ({"instance_ids": ["i1"]}, {"scopes": ["*"], "instances": ["i2"]}),
        ({"networks": ["127.0.0.0/8"]}, {"scopes": ["*"], "networks": ["0.0.0.0/0"]}),
        (
            {"expires_at": NOON + timedelta(days=1)},
            {"scopes": ["*"], "expiresAt": "2199-12-31T00:00:00Z"},
        ),
    ],
)
def test_a_key_makes_none_that_may_do_more(config, store, memory_nodes, grant, wanted):
    """
    What the maker may not do itself is a 403, and no key is made.
    """
    app = an_app(config, store, memory_nodes, now=lambda: NOON)
    bearer = a_bearer(ApiClient(app.test_client(), None), store, **grant)
    before = store.keys.count()

    answer = bearer.post("/api/keys", {"name": "more", **wanted})

    assert (403, "forbidden", ["key"]) == told(answer)
    assert before == store.keys.count()


def test_limits_pass_on(api, store):
    """
    What limits a key limits those that it makes, without being said again.
    """
    bearer = a_bearer(api, store, user_id="ada", networks=["127.0.0.0/8"])

    made = bearer.post("/api/keys", {"name": "child", "scopes": ["instances:read"]}).json

    assert ("ada", ["127.0.0.0/8"]) == (made["user"], made["networks"])


def test_a_key_sees_and_ends_none_that_may_do_more(api, store):
    """
    A stronger key is not listed, and is unknown to who would rotate or revoke it.
    """
    bearer = a_bearer(api, store, scopes=["keys:*"])
    strong = keys.create(store, name="strong", now=NOON)[0]["_id"]

    listed = {key["id"] for key in bearer.get("/api/keys").json}
    answers = [bearer.post(f"/api/keys/{strong}/rotate"), bearer.delete(f"/api/keys/{strong}")]

    assert strong not in listed
    assert [(400, "key_not_found", ["id"])] * 2 == [told(answer) for answer in answers]
    assert store.keys.find(strong)


def test_a_revoked_key_is_worthless_at_once(api, store):
    """
    The request after the deletion is a 401.
    """
    made = api.post("/api/keys", {"name": "bot", "scopes": ["*"]}).json
    bot = replace(api, key=made["key"])
    before = bot.get("/api/name").status

    gone = api.delete(f"/api/keys/{made['id']}")

    assert (200, made["id"]) == (gone.status, gone.json["id"])
    assert (200, 401) == (before, bot.get("/api/name").status)


@pytest.mark.parametrize(
    ("over", "field"),
    [
        ({"scopes": ["users:fly"]}, "scopes"),
        ({"scopes": []}, "scopes"),
        ({"scopes": None}, "scopes"),
        ({"scopes": "users:read"}, "scopes"),
        ({"name": ""}, "name"),
        ({"user": {"$gt": ""}}, "user"),
        ({"instances": "i1"}, "instances"),
        ({"nodes": [{"$ne": None}]}, "nodes"),
        ({"networks": ["everywhere"]}, "networks"),
        ({"expiresAt": "2001-01-01T00:00:00Z"}, "expiresAt"),
        ({"expiresAt": "9999-12-31T23:59:59-12:00"}, "expiresAt"),
        ({"expiresAt": 7}, "expiresAt"),
        ({"compatibility": "9"}, "compatibility"),
    ],
)
def test_a_wrong_field_of_a_key_is_named(api, store, over, field):
    """
    Bad input is a 400 that names the field, and no key is made.
    """
    before = store.keys.count()

    answer = api.post("/api/keys", {"name": "bot", "scopes": ["users:read"], **over})

    assert (400, "invalid_input", [field]) == told(answer)
    assert before == store.keys.count()


# Rotation


def test_both_values_work_while_they_overlap(config, store, memory_nodes):
    """
    After a rotation the old value works as long as was asked for, and the new one from the start.
    """
    clock = [NOON]
    app = create_app(config, store, memory_nodes, now=lambda: clock[0])
    document, old = keys.create(store, name="k", now=NOON)
    api = ApiClient(app.test_client(), old)

    rotated = api.post(f"/api/keys/{document['_id']}/rotate", {"overlap": 60})
    new = replace(api, key=rotated.json["key"])
    seen = []
    for seconds in (0, 59, 60):
        clock[0] = NOON + timedelta(seconds=seconds)
        seen.append((api.get("/api/name").status, new.get("/api/name").status))

    assert 201 == rotated.status
    assert [(200, 200), (200, 200), (401, 200)] == seen


def test_a_second_rotation_ends_the_first_value(api, store):
    """
    Of three values the two newest work.
    """
    document, first = keys.create(store, name="k", now=NOON)
    second = api.post(f"/api/keys/{document['_id']}/rotate").json["key"]
    third = api.post(f"/api/keys/{document['_id']}/rotate").json["key"]

    statuses = [replace(api, key=key).get("/api/name").status for key in (first, second, third)]

    assert [401, 200, 200] == statuses


def test_who_has_the_old_value_does_not_take_the_key_over(api, store):
    """
    While both work, the old value, which may be what leaked, makes, rotates and revokes no keys.
    """
    document, old = keys.create(store, name="k", now=NOON)
    path = f"/api/keys/{document['_id']}"
    new = api.post(f"{path}/rotate").json["key"]
    holder = replace(api, key=old)

    answers = [
        holder.post(f"{path}/rotate"),
        holder.post("/api/keys", {"name": "mine", "scopes": ["*"]}),
        holder.delete(path),
    ]

    refused = [(answer.status, answer.json["details"]["scope"]) for answer in answers]
    assert [(403, ["keys:write"])] * 3 == refused
    assert [200, 200] == [replace(api, key=value).get("/api/users").status for value in (old, new)]


def test_of_two_rotations_at_once_one_is_told(store):
    """
    Who rotates a key as it was before somebody else did gets a 409, and no value.
    """
    document, _ = keys.create(store, name="k", now=NOON)
    _, value = keys.rotate(store, document, overlap_s=0, now=NOON)

    with pytest.raises(Conflict, match="rotated or revoked"):
        keys.rotate(store, document, overlap_s=0, now=NOON)

    assert keys.authenticate(store, value, now=NOON)


@pytest.mark.parametrize("overlap", [-1, "soon", 1e12, None, True])
def test_an_overlap_is_a_number_of_seconds(api, store, overlap):
    """
    What is no bounded number is a 400 that names it, and the key stays.
    """
    document, value = keys.create(store, name="k", now=NOON)

    answer = api.post(f"/api/keys/{document['_id']}/rotate", {"overlap": overlap})

    assert (400, "invalid_input", ["overlap"]) == told(answer)
    assert keys.authenticate(store, value, now=NOON)


# Laws

IDS = st.none() | st.frozensets(st.sampled_from("abc"), min_size=1)
ACCESSES = st.builds(
    Access,
    scopes=st.lists(st.sampled_from(GRANTS), min_size=1, max_size=3).map(expand),
    user_id=st.sampled_from([None, "a", "b"]),
    instance_ids=IDS,
    node_ids=IDS,
    networks=st.sampled_from(["10.0.0.0/8", "10.1.0.0/16", "::/0", "0.0.0.0/0"]).map(
        lambda text: (parse_network(text),)
    )
    | st.none(),
    expires_at=st.sampled_from([None, NOON, NOON + timedelta(days=1)]),
)


@given(ACCESSES, ACCESSES, ACCESSES)
def test_covering_is_transitive(first, second, third):
    """
    No chain of keys that make keys leads to more than the first one has.
    """
    if first.covers(second) and second.covers(third):
        assert first.covers(third)


@given(ACCESSES, ACCESSES, st.sampled_from(["10.1.2.3", "10.9.9.9", "192.0.2.1", "::1"]))
def test_what_is_covered_is_no_more(maker, made, address):
    """
    Whatever a covered access may do, where it may be used from, its maker may and can as well.
    """
    if maker.covers(made):
        assert all(maker.may(scope) for scope in SCOPES if made.may(scope))
        assert maker.admits(address) or not made.admits(address)


@given(ACCESSES)
def test_everything_covers_itself(access):
    """
    A key may make another like itself, and see itself in the list.
    """
    assert access.covers(access)
