"""What the OpenAPI document says of each operation, for those who generate clients from it."""

import re
from collections import Counter

from tests.support import SPEC

OPERATIONS = {
    (method.upper(), path): operation
    for path, operations in SPEC["paths"].items()
    for method, operation in operations.items()
    if method != "parameters"
}


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
