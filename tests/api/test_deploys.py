"""Deploying instances over HTTP: what is taken, what is refused, and what is left behind."""

from dataclasses import replace
from datetime import timedelta

import pytest

from service import probing
from service.app import create_app
from tests.support import (
    ABSENT,
    BAD_TEXT,
    DEPLOY,
    NO_TEXT,
    NOON,
    OBJECTS,
    ApiClient,
    a_body,
    a_key,
    a_node,
    an_image,
    get,
    run_due,
    told,
)

SCRIPT = {"Uri": "https://example.org/a.jar", "Path": "a.jar"}
JAVA = "quay.io/skyport/java:21"

BAD_INPUT = {
    "image": (*BAD_TEXT, "no-such-image", "image", ".*"),
    "imagename": (*OBJECTS, 7, "a\0b", "x" * 600),
    "nodeId": (*BAD_TEXT, "nowhere", ".*", "$ne"),
    "name": BAD_TEXT,
    "user": (*BAD_TEXT, "nobody", ".*", "$ne"),
    "memory": (*NO_TEXT, "abc", "-1", -1, 0, "0", 5, "1e3", "0x80", "128 apples", 0.5, 128.5, "NaN",
               "Infinity", 1e18, "9" * 30, "1,024", "١٢٨", "9" * 5000),
    "cpu": (*NO_TEXT, "abc", "-1", -1, 0, "0", 0.001, "1e1", "2 cores", 1025, 1e18, "50%", ".",
            "1/2", "9" * 5000),
    "ports": (*BAD_TEXT, "25565", "99999:1", "1:99999", "0:8080", "80:0", "1:abc", " ", "80:-1",
              "80:8080,81:8080", "80:8080,80:8081", "80:8080,", "80-90:80", "80:8080/tcp",
              "127.0.0.1:80:8080"),
    "primary": (*NO_TEXT, 0, -1, 80, "80", 8081, "8081", "81:8080", "80:8081", "http", 8080.5,
                "8080.0", 2**63, "8080:80"),
    "variables": ("abc", "[1]", "7", '"x"', "{", "NaN", [1], [[]], 7, True, {"A": {"$gt": ""}},
                  {"A": ["x"]}, {"A B": "x"}, {"": "x"}, {"$where": "x"}, {"A.B": "x"},
                  {"A=B": "x"}, {"A": "\0"}, {"A": "x" * 5000}),
}  # fmt: skip


def test_a_deploy_is_answered_at_once(api, place):
    """
    201 with the id under each name that clients read; the container follows.
    """
    answer = api.post(DEPLOY, a_body(place))

    instance_id = answer.json["Id"]
    assert (201, instance_id, instance_id, None, "INSTALLING") == (
        answer.status,
        answer.json["volumeId"],
        answer.json["VolumeId"],
        answer.json["ContainerId"],
        answer.json["state"],
    )
    assert answer.json["operationId"]
    assert answer.json["message"] == answer.json["Message"]


def test_an_instance_is_shown_in_full(api, store, memory_nodes, place):
    """
    A READY instance has every field that clients read, spelled and typed as they read it.
    """
    user, node, image = place
    body = a_body(place, disk=10, variables={"MODE": "fast"})
    instance_id = api.post(DEPLOY, body).json["Id"]
    run_due(store, memory_nodes)

    shown = get(api, instance_id)

    assert shown.pop("createdAt") < "2100"
    assert shown.pop("readyAt") < "2100"
    assert "2026-01-31T12:00:00Z" == shown.pop("updatedAt")
    assert {
        "Id": instance_id,
        "VolumeId": instance_id,
        "ContainerId": f"memory-{instance_id}",
        "Name": "an instance",
        "User": user["_id"],
        "Node": {
            "id": node["_id"],
            "name": "node",
            "address": "",
            "port": None,
            "status": "Online",
        },
        "Image": image["image"],
        "ImageName": image["name"],
        "AltImages": image["alt_images"],
        "StopCommand": None,
        "Memory": 128,
        "Cpu": 1,
        "Disk": 10,
        "Ports": "80:8080",
        "portNames": {},
        "Primary": "8080",
        "connect": None,
        "ExposedPorts": {"80/tcp": {}, "80/udp": {}},
        "PortBindings": {"80/tcp": [{"HostPort": "8080"}], "80/udp": [{"HostPort": "8080"}]},
        "Env": ["MODE=fast"],
        "Variables": {"MODE": "fast"},
        "secretVariables": [],
        "swap": 0,
        "cpuset": None,
        "stopGrace": None,
        "autoStart": True,
        "timezone": None,
        "InternalState": "READY",
        "suspended": False,
        "suspendedWithUser": False,
        "power": "running",
        "error": None,
        "externalId": None,
        "labels": {},
        "exitCode": None,
        "oomKilled": None,
        "restarts": 0,
        "startedAt": "2026-01-31T11:00:00Z",
        "phase": "ready",
        "ready": None,
        "notReadyReason": None,
        "warnings": [],
    } == shown


def test_a_deploy_runs_on_its_node(api, store, memory_nodes, place):
    """
    What was ordered is what the node is told to run.
    """
    _, node, _ = place
    body = a_body(place, memory="256", cpu="0.5", variables='{"MODE": "fast"}')
    instance_id = api.post(DEPLOY, body).json["Id"]
    run_due(store, memory_nodes)

    container = memory_nodes[node["_id"]].containers[instance_id]

    assert (256, 500, {"MODE": "fast"}, "running") == (
        container.spec.memory_mib,
        container.spec.cpu_milli,
        dict(container.spec.env),
        container.power,
    )


@pytest.mark.parametrize("field", BAD_INPUT)
def test_bad_input_leaves_nothing_behind(api, memory_nodes, place, look, field):
    """
    A wrong field is a 400 that names it alone; nothing is stored, and the node is not called.
    """
    before, calls = look(), memory_nodes[place[1]["_id"]].calls

    answers = [
        (value, api.post(DEPLOY, a_body(place, **{field: value}))) for value in BAD_INPUT[field]
    ]

    assert [] == [
        (value, answer)
        for value, answer in answers
        if (400, [field]) != (answer.status, list(answer.json["details"]))
    ]
    assert (before, calls) == (look(), memory_nodes[place[1]["_id"]].calls)


def test_all_wrong_fields_are_named_at_once(api):
    """
    Who sends nothing learns of all that is needed in one answer.
    """
    answer = api.post(DEPLOY, {})

    needed = {"image", "memory", "cpu", "ports", "primary", "nodeId", "name", "user"}
    assert (400, needed) == (answer.status, answer.json["details"].keys())


@pytest.mark.parametrize(
    ("field", "code"),
    [("user", "user_not_found"), ("nodeId", "node_not_found"), ("image", "image_not_found")],
)
def test_what_is_unknown_has_a_code(api, place, field, code):
    """
    A program can tell an unknown user, node and image apart.
    """
    answer = api.post(DEPLOY, a_body(place, **{field: "nothing"}))

    assert (400, code, [field]) == told(answer)


@pytest.mark.parametrize(
    ("sent", "memory"),
    [
        (512, 512),
        ("512", 512),
        (512.0, 512),
        ("512M", 512),
        ("512 MiB", 512),
        ("2g", 2048),
        ("0.5G", 512),
        (6, 6),
    ],
)
def test_memory_is_taken_in_many_forms(api, place, sent, memory):
    """
    `memory` may be a number or a text, with a unit or without, and comes back as a number.
    """
    deployed = api.post(DEPLOY, a_body(place, memory=sent))

    assert (201, memory) == (deployed.status, get(api, deployed.json["Id"])["Memory"])


@pytest.mark.parametrize(
    ("sent", "cpu"), [(1, 1), ("1", 1), (0.5, 0.5), ("0.5", 0.5), (2.0, 2), ("0.01", 0.01)]
)
def test_cpu_is_taken_in_many_forms(api, place, sent, cpu):
    """
    `cpu` may be a number or a text, and comes back as a number.
    """
    deployed = api.post(DEPLOY, a_body(place, cpu=sent))

    assert (201, cpu) == (deployed.status, get(api, deployed.json["Id"])["Cpu"])


@pytest.mark.parametrize("primary", [25565, "25565", "25565:25565"])
def test_primary_is_taken_in_many_forms(api, place, primary):
    """
    `primary` may be a number, a text or a pair, and comes back as it was sent.
    """
    body = a_body(place, ports="25565:25565,8123:8123", primary=primary)

    deployed = api.post(DEPLOY, body)

    assert (201, primary) == (deployed.status, get(api, deployed.json["Id"])["Primary"])


def test_ports_may_be_many(api, place):
    """
    Several mappings are all published, and spaces around them do not matter.
    """
    body = a_body(place, ports="80:8080, 443:8443", primary="443:8443")

    deployed = api.post(DEPLOY, body)

    shown = get(api, deployed.json["Id"])
    assert (201, "80:8080,443:8443") == (deployed.status, shown["Ports"])
    assert {"80/tcp", "80/udp", "443/tcp", "443/udp"} == shown["PortBindings"].keys()


@pytest.mark.parametrize(
    ("sent", "variables"),
    [
        ({"A": "1"}, {"A": "1"}),
        ('{"A": "1"}', {"A": "1"}),
        ({"A": 1, "B": True, "C": 1.5, "D": None}, {"A": "1", "B": "true", "C": "1.5"}),
        ({"A": "x=y\nz"}, {"A": "x=y\nz"}),
        (ABSENT, {}),
        *((nothing, {}) for nothing in (None, [], {}, "", " ", "null", "{}", "[]")),
    ],
)
def test_variables_are_taken_in_many_forms(api, place, sent, variables):
    """
    `variables` may be an object, JSON text of one, or one of many ways to say none.
    """
    deployed = api.post(DEPLOY, a_body(place, variables=sent))

    assert (201, variables) == (deployed.status, get(api, deployed.json["Id"])["Variables"])


@pytest.mark.parametrize("sent", [{}, {"VERSION": ""}, {"VERSION": None}, '{"OTHER": "1"}'])
def test_a_required_variable_is_required(api, store, place, look, sent):
    """
    One that has no value and no default is a 400 that names it, and nothing is stored.
    """
    image = an_image(
        store, variables={"VERSION": {"type": "text", "default": None, "required": True}}
    )
    before = look()

    answer = api.post(DEPLOY, a_body(place, image=image["_id"], variables=sent))

    assert (400, {"variables": {"VERSION": ["This variable is required."]}}) == (
        answer.status,
        answer.json["details"],
    )
    assert before == look()


def test_a_default_fills_a_required_variable(api, store, place):
    """
    A required variable that was not sent has its image's default.
    """
    image = an_image(
        store, variables={"VERSION": {"type": "text", "default": "21", "required": True}}
    )

    deployed = api.post(DEPLOY, a_body(place, image=image["_id"]))

    shown = get(api, deployed.json["Id"])
    assert ({"VERSION": "21"}, ["VERSION=21"]) == (shown["Variables"], shown["Env"])


@pytest.mark.parametrize("field", ["_id", "name", "image"])
def test_an_image_is_found_in_many_ways(api, store, place, field):
    """
    `image` may be an image's id, its name or its container image.
    """
    image = an_image(store, name="Paper", image=JAVA)

    deployed = api.post(DEPLOY, a_body(place, image=image[field]))

    shown = get(api, deployed.json["Id"])
    assert (201, "Paper", JAVA) == (deployed.status, shown["ImageName"], shown["Image"])


def test_an_alternative_image_is_what_runs(api, store, place):
    """
    Who asks for one of an image's alternatives gets that one.
    """
    an_image(store, name="Paper", image=JAVA, alt_images=[JAVA, "java:17"])

    deployed = api.post(DEPLOY, a_body(place, image="java:17"))

    shown = get(api, deployed.json["Id"])
    assert ("Paper", "java:17") == (shown["ImageName"], shown["Image"])


@pytest.mark.parametrize(
    ("sent", "name"),
    [
        ({}, "Spigot"),
        ({"imagename": None}, "Spigot"),
        ({"imagename": "Paper"}, "Paper"),
        ({"imagename": "Spigot"}, "Spigot"),
    ],
)
def test_imagename_tells_images_apart(api, store, place, sent, name):
    """
    Where several images run one container image, `imagename` picks; without it, the oldest is it.
    """
    an_image(store, name="Spigot", image=JAVA)
    an_image(store, name="Paper", image=JAVA, now=NOON + timedelta(hours=1))

    deployed = api.post(DEPLOY, a_body(place, image=JAVA, **sent))

    assert (201, name) == (deployed.status, get(api, deployed.json["Id"])["ImageName"])


def test_an_imagename_that_is_none_of_them_is_refused(api, store, place, look):
    """
    An `imagename` that no image of this container image has is a 400 that lists them.
    """
    an_image(store, name="Paper", image=JAVA)
    before = look()

    answer = api.post(DEPLOY, a_body(place, image=JAVA, imagename="Forge"))

    assert (400, {"imagename": ["Must be one of Paper."]}) == (
        answer.status,
        answer.json["details"],
    )
    assert before == look()


@pytest.mark.parametrize("allowed", [True, False])
def test_other_images_run_where_the_settings_allow(config, store, memory_nodes, place, allowed):
    """
    A container image outside the catalogue is a 400, unless any image is allowed.
    """
    app = create_app(replace(config, allow_any_image=allowed), store, memory_nodes)
    api = ApiClient(app.test_client(), a_key(store))

    answer = api.post(DEPLOY, a_body(place, image="nginx:1.29"))

    assert (201 if allowed else 400) == answer.status


@pytest.mark.parametrize(
    ("sent", "disk"), [(10, 10), ("10", 10), (2.5, 2.5), (None, None), ("much", None), ([], None)]
)
def test_disk_is_shown_where_it_can_be_read(api, place, sent, disk):
    """
    `disk` is not enforced, so whatever it is it is no error; it is shown when it is a number.
    """
    deployed = api.post(DEPLOY, a_body(place, disk=sent))

    assert (201, disk) == (deployed.status, get(api, deployed.json["Id"]).get("Disk"))


def test_extra_fields_are_ignored(api, place):
    """
    A field that we do not know is no error, and changes nothing that we do know.
    """
    extra = {"discordserver": "1", "Id": "mine", "_id": "mine", "state": "READY", "suspended": True}

    deployed = api.post(DEPLOY, a_body(place, **extra))

    shown = get(api, deployed.json["Id"])
    assert (201, "INSTALLING", False) == (
        deployed.status,
        shown["InternalState"],
        shown["suspended"],
    )
    assert "mine" != deployed.json["Id"]


def test_a_taken_port_is_a_conflict(api, place, look):
    """
    A host port of another instance of the node is a 409 that names it, and nothing is left.
    """
    holder = api.post(DEPLOY, a_body(place, ports="80:8080,81:8081")).json["Id"]
    before = look()

    answer = api.post(DEPLOY, a_body(place, ports="9000:9000,90:8081", primary="9000"))

    assert (409, "port_taken", {"ports": ["8081 is taken."], "instanceId": holder}) == (
        answer.status,
        answer.json["code"],
        answer.json["details"],
    )
    assert before == look()


def test_a_port_is_taken_on_one_node_only(api, store, memory_nodes, place):
    """
    Another node can publish the same port.
    """
    other = a_node(store, memory_nodes)
    api.post(DEPLOY, a_body(place))

    answer = api.post(DEPLOY, a_body(place, nodeId=other["_id"]))

    assert 201 == answer.status


def test_a_full_node_is_a_conflict(api, store, memory_nodes, place, look):
    """
    More memory than is left is a 409 with the numbers, and nothing is left.
    """
    node = a_node(store, memory_nodes, ram="1")
    api.post(DEPLOY, a_body(place, nodeId=node["_id"], memory=700))
    before = look()

    answer = api.post(DEPLOY, a_body(place, nodeId=node["_id"], memory=400, ports="1:1", primary=1))

    assert (409, "capacity_exceeded") == (answer.status, answer.json["code"])
    assert {"requestedMib": 400, "allocatedMib": 700, "capacityMib": 1024} == answer.json["details"]
    assert before == look()


def test_a_node_can_be_filled_to_the_brim(api, store, memory_nodes, place):
    """
    Exactly what is left is given.
    """
    node = a_node(store, memory_nodes, ram="1")

    answer = api.post(DEPLOY, a_body(place, nodeId=node["_id"], memory=1024))

    assert 201 == answer.status


def test_a_node_that_is_down_takes_nothing_on(api, store, memory_nodes, place, look):
    """
    A deploy to an Offline node is a 500 node_offline; nothing is stored, and it is not called.
    """
    node = place[1]
    memory_nodes[node["_id"]].faults.silence("Connection refused.")
    probing.probe(store, memory_nodes, node, now=NOON)
    before, calls = look(), memory_nodes[node["_id"]].calls

    answer = api.post(DEPLOY, a_body(place))

    assert (500, "node_offline", {"nodeId": node["_id"]}) == (
        answer.status,
        answer.json["code"],
        answer.json["details"],
    )
    assert (before, calls) == (look(), memory_nodes[node["_id"]].calls)


def test_a_node_that_was_never_enrolled_takes_nothing_on(api, place, look):
    """
    A deploy to an Unconfigured node is a 500 node_offline that says so, and nothing is stored.
    """
    node = api.post(
        "/api/nodes/create",
        {
            "name": "n",
            "tags": "t",
            "ram": 1,
            "disk": 1,
            "processor": "p",
            "address": "a.example",
            "port": 3002,
        },
    ).json
    before = look()

    answer = api.post(DEPLOY, a_body(place, nodeId=node["id"]))

    assert (500, "node_offline", "The node is Unconfigured.") == (
        answer.status,
        answer.json["code"],
        answer.json["error"],
    )
    assert before == look()


def test_a_wrong_field_counts_before_a_node_that_is_down(api, store, memory_nodes, place):
    """
    A deploy that could never succeed is a 400, even while the node is down.
    """
    memory_nodes[place[1]["_id"]].faults.silence()
    probing.probe(store, memory_nodes, place[1], now=NOON)

    answer = api.post(DEPLOY, a_body(place, primary="9999"))

    assert (400, "invalid_input", ["primary"]) == told(answer)


@pytest.mark.parametrize(
    ("driver", "over", "fields"),
    [
        ("process", {"process": False}, ["image", "variables"]),
        ("process", {"scripts": {"Install": [SCRIPT]}}, ["image", "variables"]),
        ("docker", {"scripts": {"Install": [SCRIPT]}}, ["image"]),
        ("process", {}, ["variables"]),
    ],
)
def test_a_node_refuses_what_it_cannot_run(api, store, place, driver, over, fields):
    """
    Images with scripts, and on process nodes unmarked images and undeclared variables, are 400s.
    """
    node = api.post(
        "/api/nodes/create", {"name": "n", "driver": driver, "address": "unix:///x.sock"}
    ).json
    order = {"nodeId": node["id"], "image": an_image(store, **over)["_id"]}

    answer = api.post(DEPLOY, a_body(place, **order, variables={"LD_PRELOAD": "/tmp/x.so"}))

    assert (400, "invalid_input", fields) == told(answer)
    assert [] == store.instances.all()
