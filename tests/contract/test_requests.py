"""What requests load is what the views say that they take."""

import inspect
from typing import get_args, get_type_hints

import pytest

from service.app import create_app
from service.config import Config
from service.contract.base import Request


def list_views():
    """List (endpoint, view, its request schemas in the order of its parameters)."""
    for endpoint, view in create_app(Config()).view_functions.items():
        documented = vars(view).get("_apidoc", {}).get("arguments", {}).get("parameters", [])
        schemas = [each["schema"] for each in documented if each["in"] in ("json", "query")]
        if schemas:
            yield pytest.param(inspect.unwrap(view), schemas[::-1], id=endpoint)


def find_loaded(schema):
    """Find the type that a request is declared to load."""
    base = next(base for base in schema.__orig_bases__ if issubclass(base.__origin__, Request))
    return get_args(base)[0]


@pytest.mark.parametrize(("view", "schemas"), list(list_views()))
def test_a_view_takes_what_its_requests_load(view, schemas):
    """
    The first parameters of a view have the types that its schemas load, which mypy cannot compare.
    """
    hints = get_type_hints(view)
    taken = [hints[name] for name in list(inspect.signature(view).parameters)[: len(schemas)]]

    assert [find_loaded(schema) for schema in schemas] == taken
