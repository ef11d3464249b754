"""A request with several things wrong in it is one 400 that names all, and what may be meant."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from service import keys
from tests.support import DEPLOY, NOON, a_body, a_node, a_user, an_image, told

UNKNOWN = {"user": "nobody", "nodeId": "nowhere", "image": "nothing"}


def a_limited_key(api, store, **grant):
    """Make a client whose key may do no more than this."""
    value = keys.create(store, name="limited", grant=grant, now=NOON)[1]
    return replace(api, key=value)


def test_a_deploy_names_all_that_is_unknown(api, place, look):
    """
    What is not in the database is reported together; the code is that of the first.
    """
    before = look()

    answer = api.post(DEPLOY, a_body(place, **UNKNOWN))

    assert (400, "user_not_found") == (answer.status, answer.json["code"])
    assert {**UNKNOWN}.keys() == answer.json["details"].keys()
    assert before == look()


def test_a_deploy_names_what_is_malformed_with_what_is_unknown(api, place):
    """
    The fields that are right by themselves are looked up even when others are malformed.
    """
    answer = api.post(DEPLOY, a_body(place, **UNKNOWN, ports="none", memory="much"))

    assert {"memory", "ports", *UNKNOWN} == answer.json["details"].keys()


def test_a_deploy_names_the_rest_with_what_is_malformed(api, place):
    """
    A primary port that is none of the ports is reported beside a malformed field.
    """
    answer = api.post(DEPLOY, a_body(place, memory="much", primary="1"))

    assert {"memory", "primary"} == answer.json["details"].keys()


def test_a_deploy_names_variables_with_the_rest(api, store, place):
    """
    What an image asks for is reported beside an unknown user and a wrong primary port.
    """
    needed = {"type": "text", "default": None, "required": True}
    image = an_image(store, variables={"A": needed})

    answer = api.post(DEPLOY, a_body(place, image=image["_id"], user="nobody", primary="1"))

    assert {"variables", "user", "primary"} == answer.json["details"].keys()


@pytest.mark.parametrize(
    ("over", "code", "field"),
    [
        ({"user": "nobody"}, "user_not_found", "user"),
        ({"nodeId": "nowhere"}, "node_not_found", "nodeId"),
        ({"image": "nothing"}, "image_not_found", "image"),
        ({"primary": "1"}, "invalid_input", "primary"),
    ],
)
def test_one_wrong_field_keeps_its_code(api, place, over, code, field):
    """
    Clients branch on the code of what is unknown.
    """
    assert (400, code, [field]) == told(api.post(DEPLOY, a_body(place, **over)))


@pytest.mark.parametrize(("path", "status"), [(DEPLOY, 201), ("/api/instances", 202)])
def test_both_styles_name_the_same(api, place, path, status):
    """
    What is malformed, unknown and a wrong parameter of the query: one 400. Right, it is taken.
    """
    wrong = {**UNKNOWN, "memory": "much", "variables": None}

    answer = api.post(f"{path}?wait=long&pretty=1", a_body(place, **wrong))

    assert {"wait", "pretty", "memory", *UNKNOWN} == answer.json["details"].keys()
    assert status == api.post(path, a_body(place)).status


def test_null_variables_are_checked_as_none(api, store, place):
    """
    What an image asks for is missed beside a malformed field, where null was sent for it.
    """
    image = an_image(store, variables={"A": {"type": "text", "default": None, "required": True}})

    answer = api.post(DEPLOY, a_body(place, image=image["_id"], memory="much", variables=None))

    assert {"memory", "variables"} == answer.json["details"].keys()


@pytest.mark.parametrize("malformed", [{}, {"memory": "much"}, {"labels": 7}])
def test_a_change_names_all_that_is_wrong(api, place, look, malformed):
    """
    An unknown owner and image, a port that is none, cores that the node lacks: nothing is changed.
    """
    instance_id = api.post(DEPLOY, a_body(place)).json["Id"]
    before = look()
    wrong = {"user": "nobody", "image": "nothing", "primary": "1", "cpuset": "0-999"}

    answer = api.send("PATCH", f"/api/instances/{instance_id}", json={**wrong, **malformed})

    assert (400, {**wrong, **malformed}.keys()) == (answer.status, answer.json["details"].keys())
    assert before == look()


def test_a_change_names_nothing_because_of_what_is_malformed(api, place):
    """
    Whether the primary port is one of the ports is not known while those are malformed.
    """
    instance_id = api.post(DEPLOY, a_body(place)).json["Id"]

    answer = api.send(
        "PATCH", f"/api/instances/{instance_id}", json={"ports": "none", "primary": "1"}
    )

    assert (400, ["ports"]) == (answer.status, list(answer.json["details"]))


def test_a_changed_user_is_told_all(api, store):
    """
    A password that is too short is reported beside a malformed e-mail address.
    """
    user = a_user(store)

    answer = api.send("PATCH", f"/api/users/{user['_id']}", json={"email": 7, "password": "x"})

    assert (400, {"email", "password"}) == (answer.status, answer.json["details"].keys())


def test_a_changed_node_is_told_all(api, store, memory_nodes):
    """
    A name that none may have is reported beside what is malformed.
    """
    node = a_node(store, memory_nodes)

    answer = api.send("PATCH", f"/api/nodes/{node['_id']}", json={"name": "auto", "port": "x"})

    assert (400, {"name", "port"}) == (answer.status, answer.json["details"].keys())


def test_a_user_is_told_all(api):
    """
    A password that is too short is reported beside a malformed e-mail address.
    """
    answer = api.post("/api/auth/create-user", {"username": "", "email": 7, "password": "short"})

    assert {"username", "email", "password"} == answer.json["details"].keys()


def test_a_node_is_told_all(api):
    """
    What its driver needs is reported beside what is malformed, and nothing twice.
    """
    answer = api.post("/api/nodes/create", {"name": "", "driver": "skyportd", "port": "x"})

    details = answer.json["details"]
    assert {"name", "port", "tags", "ram", "disk", "processor", "address"} == details.keys()
    assert ["Must be a port between 1 and 65535."] == details["port"]


BAD_SCHEMA = {"A": {"schema": {"type": "number", "minimum": "x"}}}


@pytest.mark.parametrize("malformed", [{}, {"Image": 7}])
def test_an_image_is_told_all(api, look, malformed):
    """
    Wrong schemas of variables, and that it would run as a process, beside what is malformed.
    """
    before = look()
    wrong = {"Variables": BAD_SCHEMA, "process": True}

    answer = api.post("/api/images", {"Name": "a", "Image": "b", **wrong, **malformed})

    assert (400, {**wrong, **malformed}.keys()) == (answer.status, answer.json["details"].keys())
    assert before == look()


def test_a_replaced_image_is_told_all(api, store):
    """
    Wrong schemas of variables are reported beside what is malformed.
    """
    image = an_image(store)
    body = {"Name": "a", "Image": 7, "Variables": BAD_SCHEMA}

    answer = api.send("PUT", f"/api/images/{image['_id']}", json=body)

    assert (400, {"Image", "Variables"}) == (answer.status, answer.json["details"].keys())


def test_a_key_is_told_all(api):
    """
    A time that is over is reported beside scopes that the limits take away.
    """
    body = {"name": "bot", "scopes": ["nodes:write"], "nodes": ["n"],
            "expiresAt": "2020-01-01T00:00:00Z"}  # fmt: skip

    answer = api.post("/api/keys", body)

    assert (400, "invalid_input", ["expiresAt", "scopes"]) == told(answer)


@pytest.mark.parametrize("wrong", [{"name": 7}, {"scopes": ["none"]}])
def test_a_key_is_told_when_it_would_expire_with_the_rest(api, wrong):
    """
    A time that is over is reported beside what is malformed, and no key is made.
    """
    body = {"name": "bot", "scopes": ["*"], "expiresAt": "2020-01-01T00:00:00Z", **wrong}

    answer = api.post("/api/keys", body)

    assert (400, {"expiresAt", *wrong}) == (answer.status, answer.json["details"].keys())


@pytest.mark.parametrize("malformed", [{}, {"name": 7}, {"networks": ["none"]}])
def test_a_key_is_told_that_its_user_is_unknown_with_the_rest(api, malformed):
    """
    An unknown user is reported beside a time that is over and scopes that the limits take away,
    and beside what is malformed.
    """
    wrong = {"user": "nobody", "scopes": ["nodes:write"], "expiresAt": "2020-01-01T00:00:00Z"}

    answer = api.post("/api/keys", {"name": "bot", **wrong, **malformed})

    assert (400, {*wrong, *malformed}) == (answer.status, answer.json["details"].keys())


# What may be meant


def test_an_image_may_be_meant(api, store, place):
    """
    The catalogue has something like it.
    """
    an_image(store, name="Minecraft Java")

    answer = api.post(DEPLOY, a_body(place, image="Minecraft Jav"))

    assert ["There is no image 'Minecraft Jav'. Did you mean 'Minecraft Java'?"] == (
        answer.json["details"]["image"]
    )


def test_a_node_may_be_meant_among_other_mistakes(api, store, memory_nodes, place):
    """
    The suggestion stands where the node is named, also when more is wrong.
    """
    node = a_node(store, memory_nodes)
    typo = f"{node['_id'][:-1]}x"

    answer = api.post(DEPLOY, a_body(place, nodeId=typo, user="nobody"))

    assert [f"There is no node {typo!r}. Did you mean {node['_id']!r}?"] == (
        answer.json["details"]["nodeId"]
    )


def test_a_scope_may_be_meant(api):
    """
    Scopes that do not exist are compared with those that do.
    """
    answer = api.post("/api/keys", {"name": "bot", "scopes": ["instance:read"]})

    assert (
        "There is no such scope. Did you mean 'instances:read'?"
        in (answer.json["details"]["scopes"]["0"])
    )


def test_nothing_is_meant_for_who_may_not_see_it(api, store, place):
    """
    A key that may not list the images learns no name of one.
    """
    an_image(store, name="Minecraft Java")
    blind = a_limited_key(api, store, scopes=["instances:deploy"])

    answer = blind.post(DEPLOY, a_body(place, image="Minecraft Jav"))

    assert ["There is no image 'Minecraft Jav'."] == answer.json["details"]["image"]


def test_only_nodes_that_may_be_seen_are_suggested(api, store, memory_nodes, place):
    """
    A key that is limited to a node learns no name of another one; nor of any without the scope.
    """
    a_node(store, memory_nodes, name="helsinki-1")
    other = a_node(store, memory_nodes, name="berlin")
    grant = {"scopes": ["instances:*", "nodes:read"], "node_ids": [other["_id"]]}
    limited = a_limited_key(api, store, **grant)
    blind = a_limited_key(api, store, scopes=["instances:*"])
    body = a_body(place, nodeId="helsinki-2")

    told_to = {
        name: client.post(DEPLOY, body).json["details"]["nodeId"][0]
        for name, client in (("all", api), ("limited", limited), ("blind", blind))
    }

    none = "There is no node 'helsinki-2'."
    assert {
        "all": f"{none} Did you mean 'helsinki-1'?",
        "limited": none,
        "blind": none,
    } == told_to


def test_a_path_may_mean_another_node(api, store, memory_nodes):
    """
    A 404 suggests like a 400, and stays what it was otherwise.
    """
    a_node(store, memory_nodes, name="helsinki-1")

    answer = api.get("/api/nodes/helsinki-2")

    assert (404, "node_not_found", ["id"]) == told(answer)
    assert answer.json["details"]["id"][0].endswith("Did you mean 'helsinki-1'?")


# Whose port it is


def test_a_taken_port_names_its_instance(api, place):
    """
    After a deploy without an answer its caller finds what holds the port.
    """
    first = api.post(DEPLOY, a_body(place))

    answer = api.post(DEPLOY, a_body(place))

    assert (409, "port_taken") == (answer.status, answer.json["code"])
    assert first.json["Id"] == answer.json["details"]["instanceId"]


@pytest.mark.parametrize(
    "grant", [{"scopes": ["instances:deploy"]}, {"scopes": ["instances:*"], "user_id": "the other"}]
)
def test_a_taken_port_names_no_instance_that_may_not_be_seen(api, store, place, grant):
    """
    Without the scope to read instances, and outside of its limits, a key does not learn it.
    """
    api.post(DEPLOY, a_body(place))
    other = a_user(store)
    limits = {**grant, "user_id": other["_id"]} if "user_id" in grant else grant
    blind = a_limited_key(api, store, **limits)

    answer = blind.post(DEPLOY, a_body(place, user=other["_id"]))

    assert (409, "port_taken", ["ports"]) == told(answer)


def test_what_is_being_deleted_is_not_meant(api, store, place):
    """
    An image that goes is found no more, and asking whether it was meant would help nobody.
    """
    store.images.mark_deleting(place[2]["_id"], now=datetime.now(UTC))

    answer = api.post(DEPLOY, a_body(place))

    assert (400, "image_not_found", ["image"]) == told(answer)
    assert "Did you mean" not in answer.json["details"]["image"][0]
