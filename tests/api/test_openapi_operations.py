"""What the OpenAPI document says of each operation, for those who generate clients from it."""

import re
from collections import Counter

import pytest

from service.model.lifecycle import (
    InstanceState,
    NodeStatus,
    OperationKind,
    OperationStatus,
    Outcome,
    Power,
)
from tests.support import OPENAPI, SPEC

SCHEMAS = SPEC["components"]["schemas"]
ERRORS = OPENAPI.parent.parent.joinpath("docs/errors.md").read_text("utf-8")
EVERYWHERE = {
    "Allow",
    "Cache-Control",
    "Content-Length",
    "Content-Security-Policy",
    "Content-Type",
    "Referrer-Policy",
    "Vary",
    "X-Content-Type-Options",
}
"""Headers that tell clients nothing about their requests."""

OPERATIONS = {
    (method.upper(), path): operation
    for path, operations in SPEC["paths"].items()
    for method, operation in operations.items()
    if method != "parameters"
}


def list_parameters(operation):
    """List the parameters of an operation, also those that are described for several at once."""
    shared = SPEC["components"]["parameters"]
    return [
        shared[parameter["$ref"].rpartition("/")[2]] if "$ref" in parameter else parameter
        for parameter in operation.get("parameters", [])
    ]


def test_every_operation_has_an_id_of_its_own():
    """
    Each is the name of one function in a generated client: a verb and a noun, in camel case.
    """
    names = Counter(operation["operationId"] for operation in OPERATIONS.values())

    assert [] == [name for name, times in names.items() if times > 1]
    assert [] == [name for name in names if not re.fullmatch("[a-z]+([A-Z][a-z]+)+", name)]


def test_ids_are_the_names_of_views():
    """
    A view's name is the operation's, so that code and clients speak of the same.
    """
    found = {
        path: OPERATIONS[path]["operationId"]
        for path in (
            ("POST", "/api/instances/deploy"),
            ("POST", "/api/instances/{instance_id}/start"),
            ("GET", "/api/instances"),
        )
    }

    assert ["deployInstance", "startInstance", "listInstances"] == list(found.values())


def test_what_is_in_a_path_is_explained():
    """
    Each parameter of a path says what it is, with an example.
    """
    parameters = [
        parameter for path in SPEC["paths"].values() for parameter in path.get("parameters", [])
    ]

    assert parameters
    assert [] == [
        parameter["name"]
        for parameter in parameters
        if not (parameter["description"] and parameter["example"])
    ]


# Schemas


@pytest.mark.parametrize(
    "kind", [InstanceState, NodeStatus, OperationKind, OperationStatus, Outcome, Power]
)
def test_enumerations_are_schemas_of_their_own(kind):
    """
    What has one of some values has the name and the values of the code's own enumeration.
    """
    assert [member.value for member in kind] == SCHEMAS[kind.__name__]["enum"]


def test_every_code_is_in_the_document():
    """
    The code of an error is one of those that the page of errors lists.
    """
    table = {code for _, code in re.findall(r"^\| (\d{3}) \| `(\w+)`", ERRORS, re.MULTILINE)}

    assert {"$ref": "#/components/schemas/ErrorCode"} == (
        SCHEMAS["ErrorAnswer"]["properties"]["code"]
    )
    assert sorted(table) == SCHEMAS["ErrorCode"]["enum"]


def test_no_field_has_a_default():
    """
    Generators take a field with a default for one that is always there; words say it instead.
    """
    assert [] == [
        f"{name}.{field}"
        for name, schema in SCHEMAS.items()
        for field, described in schema.get("properties", {}).items()
        if "default" in described
    ]
    assert SCHEMAS["Deploy"]["properties"]["queue"]["description"].endswith("Default: `false`.")


def test_a_query_has_no_null():
    """
    What a query does not say is left out of it.
    """
    schemas = [
        parameter["schema"]
        for operation in OPERATIONS.values()
        for parameter in list_parameters(operation)
    ]

    assert [] == [schema for schema in schemas if "null" in schema.get("type", ())]


# Errors


@pytest.mark.parametrize("place", OPERATIONS, ids=" ".join)
def test_an_operations_errors_are_its_own(place):
    """
    What is wrong in the example of a 400 is in a request of this operation, and not another's.
    Where all of it is right, the example is a parameter that no operation has.
    """
    operation = OPERATIONS[place]
    example = operation["responses"]["400"]["content"]["application/json"]["example"]

    parameters = {parameter["name"] for parameter in list_parameters(operation)}
    if "requestBody" in operation:
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        parameters |= SCHEMAS[schema["$ref"].rpartition("/")[2]]["properties"].keys()
    if "_id}" in place[1]:
        parameters.add("id")
    unknown = {"pretty": ["Unknown parameter. This takes none."]}
    assert example["details"].keys() <= parameters or example["details"] == unknown


@pytest.mark.parametrize("place", OPERATIONS, ids=" ".join)
def test_the_missing_scope_is_the_operations_own(place):
    """
    The example of a 403 names the scope that this operation needs.
    """
    operation = OPERATIONS[place]
    scopes = [scope for needed in operation["security"] for scope in needed.get("apiKey", ())]
    if not scopes:
        return

    example = operation["responses"]["403"]["content"]["application/json"]["example"]

    assert {"scope": scopes} == example["details"]


def test_an_error_may_say_more_than_its_status():
    """
    What a view says of an error by its class has that's code, and its meaning.
    """
    answer = OPERATIONS["POST", "/api/instances/deploy"]["responses"]["409"]

    assert "port_taken" == answer["content"]["application/json"]["example"]["code"]
    assert "- `capacity_exceeded`: " in answer["description"]


# Headers


def list_headers(place, status):
    """List the headers that the document has for an answer."""
    return set(OPERATIONS[place]["responses"][str(status)].get("headers", {}))


def test_headers_are_explained():
    """
    Each header has a description and a type, once.
    """
    for name, header in SPEC["components"]["headers"].items():
        assert header["description"].endswith("."), name
        assert header["schema"]["type"] in ("string", "integer"), name


@pytest.mark.parametrize("place", [place for place in OPERATIONS if "{" not in place[1]])
def test_headers_are_declared_where_they_are_sent(api, place):
    """
    Whatever an operation answers, the document has all headers that are not every web server's.
    """
    method, path = place
    answer = api.send(method, path, json={} if method != "GET" else None)

    sent = {name for name, _ in answer.headers} - EVERYWHERE
    assert sent <= list_headers(place, answer.status)


def test_limits_are_declared():
    """
    What may be refused for coming too often says how often it may come, and when again.
    """
    limits = {"RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset"}
    place = ("GET", "/api/instances")

    assert limits | {"X-Request-Id"} <= list_headers(place, 200)
    assert limits | {"Retry-After"} <= list_headers(place, 429)
    assert limits.isdisjoint(list_headers(("GET", "/healthz"), 200))
    assert "Location" in list_headers(("GET", "/"), 302)
