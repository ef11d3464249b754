"""The OpenAPI document: it is the one that is checked in, it is valid, and it tells the truth."""

import json
from functools import cache

import jsonschema
import pytest
from marshmallow import class_registry
from openapi_spec_validator import OpenAPIV31SpecValidator

from service import instances
from service.app import create_app
from service.cli.openapi import print_openapi
from service.config import Config
from service.contract.deploys import DeployedAnswer
from service.contract.images import ImageAnswer
from service.contract.instance_deletions import DeletedAnswer
from service.contract.instances import InstanceAnswer
from service.contract.nodes import CreatedNodeAnswer, NodeAnswer
from service.contract.users import CreatedUserAnswer, UserAnswer
from service.model.events import TYPES
from tests.support import (
    AT_NOON,
    OPENAPI,
    SPEC,
    a_deploy,
    a_node,
    a_user,
    an_image,
    an_order,
    run_due,
)

SCHEMAS = SPEC["components"]["schemas"]

# What the API's reference says, literally: its methods, paths and statuses.
REFERENCE = [
    ("GET", "/api/users", {"200", "500"}),
    ("POST", "/api/getUser", {"201", "400", "500"}),
    ("POST", "/api/auth/create-user", {"201", "400", "409", "500"}),
    ("GET", "/api/instances", {"200", "500"}),
    ("POST", "/api/instances/deploy", {"201", "400", "500"}),
    ("DELETE", "/api/instance/delete", {"201", "400", "500"}),
    ("POST", "/api/getUserInstance", {"200", "400", "500"}),
    ("POST", "/api/getInstance", {"200", "400", "500"}),
    ("POST", "/api/instances/suspend/{instance_id}", {"200", "400", "500"}),
    ("POST", "/api/instances/unsuspend/{instance_id}", {"200", "400", "500"}),
    ("GET", "/api/images", {"200", "500"}),
    ("GET", "/api/nodes", {"200", "500"}),
    ("POST", "/api/nodes/create", {"201", "400", "500"}),
    ("DELETE", "/api/nodes/delete", {"201", "400", "500"}),
]
REQUIRED = {
    "LookUpUser": {"type", "value"},
    "CreateUser": {"username", "email", "password"},
    "Deploy": {"image", "memory", "cpu", "ports", "nodeId", "name", "user", "primary"},
    "InstanceRef": {"id"},
    "UserRef": {"userId"},
    "NodeRef": {"nodeId"},
}
OPEN = {("GET", "/"), ("GET", "/healthz"), ("GET", "/readyz"), ("POST", "/nodes/configure")}


def list_operations():
    """List (method, path, operation)."""
    return [
        (method.upper(), path, operation)
        for path, operations in SPEC["paths"].items()
        for method, operation in operations.items()
        if method != "parameters"
    ]


OPERATIONS = list_operations()
NAMES = [f"{method} {path}" for method, path, _ in OPERATIONS]
REQUESTS = [
    (f"{method} {path}", operation["requestBody"]["content"]["application/json"])
    for method, path, operation in OPERATIONS
    if "requestBody" in operation
]
ANSWERS = [
    (f"{method} {path} {status}", answer["content"]["application/json"])
    for method, path, operation in OPERATIONS
    for status, answer in operation["responses"].items()
    if status not in ("204", "302", "304")  # which have no body
]
ANSWER_SCHEMAS = sorted(name for name in SCHEMAS if name.endswith(("Answer", "Summary")))


@cache
def make_app():
    """Make one app for all tests that only read its schemas."""
    return create_app(Config())


def find_problems(schema, value):
    """List what is wrong with a value by a schema of the document."""
    whole = {**schema, "components": SPEC["components"]}
    checker = jsonschema.Draft202012Validator.FORMAT_CHECKER
    found = jsonschema.Draft202012Validator(whole, format_checker=checker).iter_errors(value)
    return [f"{'/'.join(map(str, problem.path))}: {problem.message}" for problem in found]


def find_undocumented(name, value):
    """List the keys of an object that the schema of this name does not have, also further down."""
    properties = SCHEMAS[name]["properties"]
    unknown = [f"{name}.{key}" for key in value if key not in properties]
    for key, schema in properties.items():
        if "$ref" in schema and key in value and isinstance(value[key], dict):
            unknown += find_undocumented(schema["$ref"].rpartition("/")[2], value[key])
    return unknown


def compare(name, value):
    """List all in which an answer and the schema of this name disagree."""
    # As clients see it: through the very JSON that is sent.
    sent = json.loads(make_app().json.dumps(value))
    return find_problems({"$ref": f"#/components/schemas/{name}"}, sent) + find_undocumented(
        name, sent
    )


def walk(value):
    """List every object in the document."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [value] * isinstance(value, dict) + [found for part in inner for found in walk(part)]


def an_instance(store, memory_nodes, **over):
    """Add an instance, and find its node."""
    order = an_order(a_user(store), a_node(store, memory_nodes), an_image(store), **over)
    instance, operation = instances.deploy(store, order, origin=AT_NOON)
    return instance, store.nodes.get(instance["node_id"]), operation


def new(node, key):
    """Make what is answered of a node that was just added."""
    return {**node, "one_time_key": key, "panel_url": "https://skyquay.example.org"}


# The document


def test_the_document_is_checked_in():
    """
    openapi/openapi.json is what `skyquay openapi` prints.
    """
    assert OPENAPI.read_text() == print_openapi(make_app())


def test_the_document_is_served(api):
    """
    /openapi.json is the same document.
    """
    answer = api.get("/openapi.json")

    assert (200, SPEC) == (answer.status, answer.json)


@pytest.mark.heavy
def test_the_document_is_valid():
    """
    The document is OpenAPI 3.1.
    """
    problems = [error.message for error in OpenAPIV31SpecValidator(SPEC).iter_errors()]

    assert ([], "3.1.0") == (problems, SPEC["openapi"])


def list_successes(operation):
    """List the statuses of success of what is done; what creates something may be only tried."""
    found = {status for status in operation["responses"] if status < "300"}
    is_tried = any(each.get("name") == "dryRun" for each in operation.get("parameters", ()))
    return found - {"200"} if is_tried and "201" in found else found


@pytest.mark.parametrize(("method", "path", "statuses"), REFERENCE)
def test_the_reference_is_kept(method, path, statuses):
    """
    Each path of the API's reference is there with its method and all its statuses.
    """
    operation = SPEC["paths"][path][method.lower()]

    assert statuses | {"401"} <= operation["responses"].keys()
    assert {s for s in statuses if s < "300"} == list_successes(operation)


@pytest.mark.parametrize(("name", "required"), REQUIRED.items())
def test_the_required_fields_are_those_of_the_reference(name, required):
    """
    What the reference does not call optional is required, and nothing else is.
    """
    assert required == set(SCHEMAS[name]["required"])


@pytest.mark.parametrize(("method", "path", "operation"), OPERATIONS, ids=NAMES)
def test_every_operation_is_explained(method, path, operation):
    """
    It has a summary that is one sentence and no Markdown, a tag, and an answer of success, besides
    that of an operation which has not ended; where it never waits for that, there is no other.
    That of a deploy which is only tried is not counted.
    """
    assert operation["summary"].endswith(".")
    assert "`" not in operation["summary"]
    assert 1 == len(operation["tags"])
    successes = list_successes(operation)
    assert 1 == len(
        successes - {"202"} or successes
    )  # which is the answer while the operation runs


def test_every_parameter_is_explained():
    """
    A name alone does not tell what may stand there, unless it is an id in the path or one of some
    words.
    """
    unexplained = {
        (path, parameter["name"])
        for method, path, operation in OPERATIONS
        for parameter in operation.get("parameters", [])
        if parameter.get("in") == "query" and "enum" not in str(parameter["schema"])
        if "description" not in parameter
    }

    assert set() == unexplained


def test_every_path_is_documented():
    """
    No path of the app is missing in the document, but for those that are not JSON.
    """
    rules = {
        rule.rule.replace("<", "{").replace(">", "}")
        for rule in make_app().url_map.iter_rules()
        if not rule.endpoint.startswith(
            ("api-docs.", "console.", "errors.", "swagger_ui.", "metrics.")
        )
    }

    assert rules == SPEC["paths"].keys()


def test_the_key_is_documented():
    """
    The key is a header, needed everywhere but where it is not; a ticket opens what is live.
    """
    unsecured = {
        (method, path) for method, path, operation in OPERATIONS if operation.get("security") == []
    }

    live = {
        (method, path)
        for method, path, operation in OPERATIONS
        if {"ticket": []} in operation.get("security", ())
    }

    schemes = SPEC["components"]["securitySchemes"]
    assert {"type": "apiKey", "in": "header", "name": "x-api-key"} == schemes["apiKey"]
    assert ("query", "ticket") == (schemes["ticket"]["in"], schemes["ticket"]["name"])
    assert live == {
        (method, path)
        for method, path, operation in OPERATIONS
        if "text/event-stream" in operation["responses"].get("200", {}).get("content", {})
    }
    assert ([{"apiKey": []}], OPEN) == (SPEC["security"], unsecured)


def test_the_catalogue_of_events_is_its_section_of_webhooks():
    """
    Each type is there, with what an event of it has; what it is about is what a GET answers.
    """
    seen = {
        name: operation["post"]["requestBody"]["content"]["application/json"]["schema"]["allOf"]
        for name, operation in SPEC["webhooks"].items()
    }

    assert sorted(TYPES) == sorted(seen)
    assert {name: name for name in TYPES} == {
        name: own["properties"]["type"]["const"] for name, (_, own) in seen.items()
    }
    references = {found["$ref"] for found in walk(seen) if "$ref" in found}
    assert {"EventAnswer", "InstanceAnswer", "NodeAnswer"} <= {
        reference.rpartition("/")[2] for reference in references
    }
    assert references <= {f"#/components/schemas/{name}" for name in SPEC["components"]["schemas"]}


def test_fields_may_be_added():
    """
    No schema forbids fields that it does not have: requests may bear some, answers may gain some.
    """
    closed = [found for found in walk(SPEC) if found.get("additionalProperties") is False]

    assert [] == closed


def test_no_password_leaves():
    """
    A password goes in with one request, and nothing like it comes out.
    """
    secret = ("password", "hash", "secret", "apikey", "digest")

    told = {
        f"{name}.{key}"
        for name in ANSWER_SCHEMAS
        for key in SCHEMAS[name]["properties"]
        if any(word in key.lower() for word in secret)
    }

    assert {
        "InstanceAnswer.secretVariables",  # their names
        "NewWebhookAnswer.secret",  # once
        "NewWebhookAnswer.oldSecretExpiresAt",
        "WebhookAnswer.oldSecretExpiresAt",
    } == told


# Examples


@pytest.mark.parametrize(("name", "content"), REQUESTS, ids=[name for name, _ in REQUESTS])
def test_every_request_has_a_good_example(name, content):
    """
    A request's example matches its schema in the document, and is loaded by the schema itself.
    """
    name = content["schema"]["$ref"].rpartition("/")[2]

    class_registry.get_class(name)().load(content["example"])  # which raises if it is wrong

    assert [] == find_problems(content["schema"], content["example"])


@pytest.mark.parametrize("operation", NAMES)
def test_every_answer_has_a_good_example(operation):
    """
    The example of each of its answers matches that one's schema, and has no other field.
    """
    problems = []
    for name, content in ANSWERS:
        if name.rpartition(" ")[0] != operation:
            continue
        schema, example = content["schema"], content["example"]
        is_list = schema.get("type") == "array"
        reference = (schema["items"] if is_list else schema)["$ref"].rpartition("/")[2]
        for each in example if is_list else [example]:
            problems += [(name, problem) for problem in compare(reference, each)]

    assert [] == problems


@pytest.mark.parametrize("name", ANSWER_SCHEMAS)
def test_every_field_of_an_answer_is_in_an_example(name):
    """
    Examples show all required fields, so nobody has to guess what is in an answer.
    """
    shown = [
        found
        for _, content in ANSWERS
        for found in walk(content["example"])
        if SCHEMAS[name].get("required", []) and set(SCHEMAS[name]["required"]) <= found.keys()
    ]

    assert shown


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("memory", [512, "512", "512M", 0.5]),
        ("cpu", [1, "1", 0.5]),
        ("primary", [25565, "25565", "25565:25565"]),
        ("variables", [{"A": "1"}, '{"A": "1"}', None, []]),
        ("imagename", ["Paper", None]),
        ("disk", [10, "10", None]),
    ],
)
def test_every_accepted_type_is_documented(field, values):
    """
    Whatever a deploy takes from real clients is valid by the document too.
    """
    schema = SCHEMAS["Deploy"]["properties"][field]

    assert [] == [problem for value in values for problem in find_problems(schema, value)]


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("tags", ["eu", ["eu"], None]),
        ("ram", ["32", 32, None]),
        ("disk", ["500", 500, 0.5, None]),
        ("processor", ["Ryzen 7", 8, None]),
        ("port", ["3002", 3002, None]),
    ],
)
def test_every_accepted_type_of_a_node_is_documented(field, values):
    """
    Whatever the creation of a node takes is valid by the document too.
    """
    schema = SCHEMAS["CreateNode"]["properties"][field]

    assert [] == [problem for value in values for problem in find_problems(schema, value)]


# What is shaped, and what is documented


def test_users_are_shaped_as_documented(store):
    """
    Users that are stored, and were just added, are answered as documented.
    """
    user = a_user(store)

    assert [] == compare("UserAnswer", UserAnswer.shape(user))
    assert [] == compare("CreatedUserAnswer", CreatedUserAnswer.shape(user))


@pytest.mark.parametrize(
    "over", [{}, {"cmd": "sh run.sh"}, {"cmd": ["run"], "stop_command": "stop", "env": ["A=1"]}]
)
def test_images_are_shaped_as_documented(store, over):
    """
    Images are answered as documented, whatever kind of command they have.
    """
    assert [] == compare("ImageAnswer", ImageAnswer.shape(an_image(store, **over)))


@pytest.mark.parametrize(
    "over", [{}, {"tags": ["eu"], "ram": "32", "port": 3002}, {"driver": "skyportd"}]
)
def test_nodes_are_shaped_as_documented(store, memory_nodes, over):
    """
    Nodes are answered as documented, whether they were seen or not, and enrol a daemon or not.
    """
    node = a_node(store, memory_nodes, **over)

    assert [] == compare("NodeAnswer", NodeAnswer.shape(node))
    for key in (None, "sesame"):
        assert [] == compare("CreatedNodeAnswer", CreatedNodeAnswer.shape(new(node, key)))


@pytest.mark.parametrize(
    "over", [{}, {"disk_gb": 2.5, "cpu_milli": 1500}, {"primary": 8080, "variables": {"A": "1"}}]
)
def test_instances_are_shaped_as_documented(store, memory_nodes, over):
    """
    Instances are answered as documented, before and after the deployment, with a node or without.
    """
    instance, node, operation = an_instance(store, memory_nodes, **over)
    run_due(store, memory_nodes)
    ready = store.instances.get(instance["_id"])
    taken_on, settled = {"operation_id": operation["_id"]}, {"operation_id": None}

    problems = [
        *compare("DeployedAnswer", DeployedAnswer.shape({**instance, **taken_on})),
        *compare("InstanceAnswer", InstanceAnswer.shape({**instance, "node": node, **taken_on})),
        *compare("InstanceAnswer", InstanceAnswer.shape({**ready, "node": node, **settled})),
        *compare("InstanceAnswer", InstanceAnswer.shape({**ready, "node": None, **settled})),
    ]

    assert [] == problems


def test_a_deletion_is_shaped_as_documented(store, memory_nodes):
    """
    A deletion is answered as documented, whether the instance is gone or goes.
    """
    instance, _, _ = an_instance(store, memory_nodes)
    operation = instances.delete(store, instance["_id"], origin=AT_NOON)
    before = DeletedAnswer.shape(operation)
    run_due(store, memory_nodes)

    after = DeletedAnswer.shape(store.operations.get(operation["_id"]))

    assert [] == compare("DeletedAnswer", before) + compare("DeletedAnswer", after)
    assert ["DELETING", "DELETED"] == [before["state"], after["state"]]


def test_a_suspension_is_shaped_as_documented(api, store, memory_nodes):
    """
    The answer to a suspension is an instance with the operation, as documented.
    """
    body = a_deploy(a_user(store), a_node(store, memory_nodes), an_image(store))
    instance_id = api.post("/api/instances/deploy", body).json["Id"]
    run_due(store, memory_nodes)

    answer = api.post(f"/api/instances/suspend/{instance_id}")

    assert [] == compare("InstanceAnswer", answer.json)
    assert answer.json["operationId"]


@pytest.mark.parametrize(
    ("path", "name"),
    [("/", "HomeAnswer"), ("/api/name", "NameAnswer"), ("/healthz", "HealthAnswer"),
     ("/readyz", "HealthAnswer"), ("/nope", "ErrorAnswer")],
)  # fmt: skip
def test_other_answers_are_as_documented(api, path, name):
    """
    What the service says of itself agrees with the document, errors included.
    """
    assert [] == compare(name, api.get(path).json)


def test_no_key_of_a_node_is_shaped(store, memory_nodes):
    """
    A field that a node's document gains, such as its key, is not in the answer.
    """
    node = a_node(store, memory_nodes)

    with_secrets = {**node, "secret": "sesame", "configure_key_hash": "sesame"}

    told = str(CreatedNodeAnswer.shape(new(with_secrets, None)))

    assert "sesame" not in told
