"""PATCH of an instance, and its reinstallation, as clients see them."""

import pytest

from service import keys
from service.model.lifecycle import OperationStatus, Power
from tests.support import NOON, a_body, a_node, a_user, an_image, get, run_due, told


def path(instance_id, more=""):
    """Return the path of an instance."""
    return f"/api/instances/{instance_id}{more}"


def patch(api, instance_id, more="", **body):
    """Change an instance."""
    return api.send("PATCH", path(instance_id, more), json=body)


def test_a_name_and_an_owner_change_at_once(api, store, ready):
    """What needs no node needs no operation."""
    owner = a_user(store)

    answer = patch(api, ready, name="another", user=owner["_id"])

    assert (200, "another", owner["_id"]) == (
        answer.status,
        answer.json["Name"],
        answer.json["User"],
    )
    assert "operationId" not in answer.json
    assert "another" == get(api, ready)["Name"]


def test_labels_are_merged_and_an_external_id_is_unique(api, ready, place):
    """They change at once, null takes them away, and an id that is taken is a conflict."""
    api.post("/api/instances", a_body(place, ports="80:9090", primary="9090", externalId="a"))

    first = patch(api, ready, labels={"plan": "gold", "tier": "1"}, externalId="b")
    taken = patch(api, ready, labels={"plan": "silver"}, externalId="a")
    after = patch(api, ready, labels={"tier": None}, externalId=None)

    assert ({"plan": "gold", "tier": "1"}, "b") == (first.json["labels"], first.json["externalId"])
    assert (409, ["externalId"]) == (taken.status, [*taken.json["details"]])
    assert ({"plan": "gold"}, None) == (after.json["labels"], after.json["externalId"])
    assert "operationId" not in after.json


@pytest.mark.heavy
def test_an_owner_changes_no_variable_of_administrators(api, store, memory_nodes):
    """Neither directly, nor by setting it under another image that knows nothing of it."""
    reserved = {"type": "text", "default": "d", "required": False, "editable_by": "admin"}
    image, other = an_image(store, variables={"A": reserved}), an_image(store)
    user, node = a_user(store), a_node(store, memory_nodes)
    _, owner = keys.create(
        store,
        name="owner",
        grant={"scopes": ["instances:deploy"], "user_id": user["_id"]},
        now=NOON,
    )
    made = [
        api.post("/api/instances/deploy", a_body(
            (user, node, each), variables={"A": "x"}, ports=f"80:{port}", primary=str(port)
        )).json["Id"]
        for each, port in ((image, 8001), (other, 8002))
    ]  # fmt: skip
    run_due(store, memory_nodes)

    answers = [
        api.send("PATCH", path(instance_id), json=body, headers={"x-api-key": owner})
        for instance_id, body in (
            (made[0], {"variables": {"A": "y"}}),
            (made[0], {"variables": {"A": None}}),
            (made[0], {"variables": {"A": "x"}}),
            (made[1], {"image": image["_id"]}),
            (made[1], {"image": image["_id"], "variables": {"A": "d"}}),
        )
    ]

    assert [400, 400, 200, 400, 202] == [answer.status for answer in answers]
    assert ["variables"] == [*answers[3].json["details"]]


@pytest.mark.heavy
def test_what_needs_a_container_is_an_operation(api, store, memory_nodes, ready):
    """The answer names the operation, and has the instance as it still is."""
    answer = patch(api, ready, memory="256M", cpu="0.5", ports="80:9090", primary=9090)

    operation_id = answer.json["operationId"]
    assert (202, f"/api/operations/{operation_id}", 128) == (
        answer.status,
        answer.headers["Location"],
        answer.json["Memory"],
    )
    run_due(store, memory_nodes)
    after = get(api, ready)
    assert ("succeeded", 256, 0.5, "80:9090", 9090) == (
        api.get(f"/api/operations/{operation_id}").json["status"],
        *(after[name] for name in ("Memory", "Cpu", "Ports", "Primary")),
    )


@pytest.mark.heavy
def test_a_patch_waits_for_its_end(api, store, ready, worker):
    """With `wait` the answer is the changed instance."""
    answer = patch(api, ready, "?wait=30", memory=256)

    assert (200, 256, "running") == (answer.status, answer.json["Memory"], answer.json["power"])


@pytest.mark.heavy
def test_a_patch_that_is_undone_is_an_error(api, store, here, ready, worker):
    """With `wait` the answer says why the new container did not start."""
    image = an_image(store)
    here.short_lived_images.add(image["image"])

    answer = patch(api, ready, "?wait=30", image=image["_id"])

    assert (500, "node_failure") == (answer.status, answer.json["code"])
    assert "ended as soon as" in answer.json["error"]
    assert "running" == get(api, ready)["power"]


def test_variables_are_merged(api, store, memory_nodes, here, place):
    """Those that are sent are changed, null is the image's default, and the others stay."""
    variable = {"type": "text", "default": "d", "required": False}
    image = an_image(store, env=["OWN=1"], variables=dict.fromkeys(("A", "B", "C"), variable))
    deployed = api.post("/api/instances/deploy", a_body((*place[:2], image), variables={
        "A": "a", "B": "b", "C": "c", "X": "x"
    })).json["Id"]  # fmt: skip
    run_due(store, memory_nodes)

    patch(api, deployed, variables={"A": 7, "B": None, "X": None})
    run_due(store, memory_nodes)

    assert {"A": "7", "B": "d", "C": "c"} == get(api, deployed)["Variables"]
    assert {"OWN": "1", "A": "7", "B": "d", "C": "c"} == here.containers[deployed].spec.env


@pytest.mark.heavy
def test_a_secret_stays_one_with_another_image(api, store, memory_nodes, here, place):
    """A value that was never answered is not answered because another image runs with it."""
    variable = {"type": "text", "default": "", "required": False, "secret": True}
    image = an_image(store, variables={"TOKEN": variable})
    body = a_body((*place[:2], image), variables={"TOKEN": "hidden"})
    deployed = api.post("/api/instances/deploy", body).json["Id"]
    run_due(store, memory_nodes)

    patch(api, deployed, image=an_image(store)["_id"])
    run_due(store, memory_nodes)

    after = get(api, deployed)
    assert "hidden" == here.containers[deployed].spec.env["TOKEN"]
    assert (["TOKEN"], {}, []) == (after["secretVariables"], after["Variables"], after["Env"])


def test_a_new_secret_is_masked_before_the_change_has_ended(api, store, here, ready, place):
    """What the new program prints is masked although the instance is still the old one."""
    variable = {"type": "text", "default": "", "required": False, "secret": True}
    image = an_image(store, variables={"TOKEN": variable})
    patch(api, ready, image=image["_id"], variables={"TOKEN": "very-hidden"})
    here.containers[ready].log = "my token is very-hidden\n"

    answer = api.get(path(ready, "/logs"))

    assert "very-hidden" not in str(answer.json)


def test_nothing_new_is_no_operation(api, ready):
    """Who sends what is there already gets it, at once."""
    answer = patch(api, ready, memory=128, cpu=1, ports="80:8080")

    assert (200, False) == (answer.status, "operationId" in answer.json)


def test_an_empty_patch_changes_nothing(api, look, ready):
    """An empty body is a request for nothing."""
    before = look()["operations"]

    assert 200 == patch(api, ready).status
    assert before == look()["operations"]


WRONG = {
    "memory": [0, "much", None, -1, []],
    "cpu": [0, None, "fast", {}],
    "ports": ["", None, "80", "80:99999", "80:80,81:80", 7],
    "primary": [1, None, "x", []],
    "name": ["", None, 7, "x" * 256, "a\0b"],
    "user": ["", None, "nobody", 7],
    "image": ["", None, "no-such", 7],
    "variables": [{"A B": "x"}, {"A": []}, 7, "no json"],
    "memroy": [128],
}


@pytest.mark.parametrize(
    ("field", "value"), [(field, value) for field, values in WRONG.items() for value in values]
)
def test_a_wrong_field_is_named_and_nothing_is_stored(api, look, ready, field, value):
    """Whatever is wrong is a 400 that names it; nothing is changed."""
    before = look()

    answer = patch(api, ready, **{"cpu": 0.25, field: value})

    assert (400, True) == (answer.status, field in answer.json["details"]), answer.json
    assert before == look()


def test_all_wrong_fields_are_named_at_once(api, ready):
    """A client need not find them one by one."""
    answer = patch(api, ready, memory="much", cpu="fast", nmae="x")

    assert {"memory", "cpu", "nmae"} == answer.json["details"].keys()
    assert "Did you mean 'name'?" in answer.json["details"]["nmae"][0]


def test_a_primary_port_that_goes_is_a_400(api, ready):
    """Who changes the ports says which one is the primary, if that is another one by now."""
    assert (400, "invalid_input", ["primary"]) == told(patch(api, ready, ports="80:9090"))


def test_a_merge_patch_is_json(api, ready):
    """RFC 7396 has a content type of its own."""
    answer = api.send(
        "PATCH",
        path(ready),
        data='{"name": "another"}',
        headers={"Content-Type": "application/merge-patch+json"},
    )

    assert (200, "another") == (answer.status, answer.json["Name"])


@pytest.mark.parametrize("request_", [("PATCH", ""), ("POST", "/reinstall")])
def test_an_unknown_instance_is_a_404(api, request_):
    """What the path names does not exist."""
    method, more = request_

    assert 404 == api.send(method, path("ixxxxxxxxxxx", more), json={}).status


def test_conflicts_have_their_codes(api, store, memory_nodes, ready, place):
    """A port of another's, and more than the node has, are conflicts that say so."""
    other = api.post("/api/instances/deploy", a_body(place, ports="80:9090", primary="9090")).json[
        "Id"
    ]

    taken = patch(api, ready, ports="80:9090", primary="9090")
    early = patch(api, other, memory=256)

    assert (409, "port_taken") == (taken.status, taken.json["code"])
    assert (409, "instance_not_ready") == (early.status, early.json["code"])


def test_a_node_without_room_is_a_conflict(api, store, memory_nodes):
    """The difference must fit on the node."""
    place = a_user(store), a_node(store, memory_nodes, ram="200M"), an_image(store)
    deployed = api.post("/api/instances/deploy", a_body(place)).json["Id"]
    run_due(store, memory_nodes)

    answer = patch(api, deployed, memory=256)

    assert (409, "capacity_exceeded") == (answer.status, answer.json["code"])


def test_the_audit_log_has_what_is_wanted(api, store, ready):
    """An entry says what was there, and what was asked for."""
    patch(api, ready, memory=256, name="another")

    entry = api.get("/api/audit", query_string={"target": ready}).json["entries"][0]
    assert [128, 256] == [entry[when]["Memory"] for when in ("before", "after")]
    assert "another" == entry["after"]["Name"]


def test_a_reinstallation_keeps_the_files(api, store, memory_nodes, here, ready):
    """Without a body the files stay."""
    here.volumes[ready].append("world")

    answer = api.post(path(ready, "/reinstall"))
    run_due(store, memory_nodes)

    operation = api.get(answer.headers["Location"]).json
    assert (202, "reinstall", OperationStatus.SUCCEEDED) == (
        answer.status,
        operation["kind"],
        operation["status"],
    )
    assert (["world"], Power.RUNNING) == (here.volumes[ready], here.containers[ready].power)


def test_a_reinstallation_deletes_the_files_when_asked(api, store, memory_nodes, here, ready):
    """With `keepVolume` false nothing of before is left."""
    here.volumes[ready].append("world")

    api.post(path(ready, "/reinstall"), {"keepVolume": False})
    run_due(store, memory_nodes)

    assert [] == here.volumes[ready]
