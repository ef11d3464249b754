"""The commands, compared with the OpenAPI document: nothing that the API offers is missing."""

import ast
from pathlib import Path

import click
import pytest

from service import cli
from service.cli.endpoints import ENDPOINTS
from service.cli.schema_options import SchemaOption
from tests.support import SPEC

SOURCES = Path(cli.__file__).parent

WITHOUT_COMMAND = {
    # The reference's addresses: those beyond it do the same.
    "createUser", "lookUpUser", "lookUpInstance", "listUserInstances", "deployInstance",
    "deleteInstance", "createNode", "deleteNode",
    "verifyPassword",  # a dashboard asks it for who logs in there
    "createEventTicket",  # for browsers, which send no headers
    "configureNode",  # a node's daemon calls it
    "getHome", "getName", "checkHealth", "checkReadiness",  # for monitoring, without a key
}  # fmt: skip

ARGUMENTS = {
    ("addUser", "username"),
    ("addUser", "email"),
    ("addNode", "name"),
    ("sendInstanceCommand", "line"),
}
OTHERWISE = {
    ("addUser", "password"),  # asked for
    ("editUser", "password"),  # `users set-password` asks for it
    ("listEvents", "Last-Event-ID"),  # --after is the same
    ("getInstanceLogs", "Last-Event-ID"),  # --follow goes on by itself
}
IN_A_FILE = {"importImage", "replaceImage", "startBulkOperation"}
"""Whose body is a whole document."""

FOLLOWED = {"addInstance", "editInstance", "reinstallInstance", "removeInstance",
            "restoreInstance"}  # fmt: skip
"""Which wait for their operation by looking at it."""

ACTIONS = {"startInstance", "stopInstance", "restartInstance", "killInstance", "suspendInstance",
           "unsuspendInstance"}  # fmt: skip
"""Whose `wait` is the server's own, and whose body has nothing but the id of the path."""


def list_operations():
    """List every operation of the document with its method and path."""
    for path, methods in SPEC["paths"].items():
        for method, operation in methods.items():
            if method != "parameters":
                yield operation, method.upper(), path


def list_commands(group, context):
    """List all commands, those in groups too."""
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from list_commands(command, context)
        else:
            yield command


def resolve(node):
    """Follow a reference of the document."""
    while "$ref" in node:
        found = SPEC
        for part in node["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        node = found
    return node


def list_fields(operation):
    """List the fields of an operation's body."""
    if "requestBody" not in operation or operation["operationId"] in IN_A_FILE | ACTIONS:
        return set()
    schema = resolve(operation["requestBody"]["content"]["application/json"]["schema"])
    return set(schema["properties"])


def list_parameters(operation):
    """List what an operation takes beside its path and its body."""
    known = {"Idempotency-Key"}  # every POST has one
    known.add("Act-As")  # every command has --as
    if operation["operationId"] in FOLLOWED | ACTIONS:
        known |= {"wait", "untilPhase"}
    parameters = [resolve(each) for each in operation.get("parameters", ())]
    return {each["name"] for each in parameters if each["in"] != "path"} - known


@pytest.fixture(scope="module")
def options():
    """All options that are for a field or a parameter: the operation, and the name on the wire."""
    context = click.Context(cli.main)
    return {
        (option.operation, option.wire_name)
        for command in list_commands(cli.main, context)
        for option in command.params
        if isinstance(option, SchemaOption)
    }


def test_every_operation_has_a_command():
    """What has none is in the list above, with the reason."""
    documented = {
        operation["operationId"]: (method, path) for operation, method, path in list_operations()
    }

    wanted = {name: way for name, way in documented.items() if name not in WITHOUT_COMMAND}
    assert wanted == dict(ENDPOINTS)
    assert set(documented) >= WITHOUT_COMMAND


def test_every_endpoint_is_called():
    """Each row of the table stands in a command."""
    texts = {
        node.value
        for path in SOURCES.glob("*.py")
        if path.name != "endpoints.py"
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }

    assert set(ENDPOINTS) <= texts


def test_every_field_has_an_option(options):
    """What a body may have can be given: as an option, an argument or a file."""
    fields = {
        (operation["operationId"], field)
        for operation, _, _ in list_operations()
        if operation["operationId"] in ENDPOINTS
        for field in list_fields(operation)
    }

    assert set() == fields - options - ARGUMENTS - OTHERWISE


def test_every_parameter_has_an_option(options):
    """Every filter, and every other parameter of a query or a header, can be given."""
    parameters = {
        (operation["operationId"], name)
        for operation, _, _ in list_operations()
        if operation["operationId"] in ENDPOINTS
        for name in list_parameters(operation)
    }

    assert set() == parameters - options - OTHERWISE


def test_no_option_is_for_nothing(options):
    """What an option sends is known to the API."""
    known = {
        (operation["operationId"], name)
        for operation, _, _ in list_operations()
        for name in list_fields(operation) | list_parameters(operation)
    }

    assert set() == options - known
