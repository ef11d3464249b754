"""The routes of all apps that tests make: nothing in them is of one app, and they take long."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from unittest import mock

from flask import Flask

from service import api
from service.api import pipeline
from service.api.encoding import OrjsonProvider
from service.app import create_app
from service.config import Config


@cache
def _first() -> Flask:
    return create_app(Config())


def _register(app: Flask, config: Config) -> None:
    first = _first()
    app.url_map, app.view_functions = first.url_map, dict(first.view_functions)
    app.blueprints, app.error_handler_spec = first.blueprints, first.error_handler_spec
    app.extensions["flask-smorest"] = first.extensions["flask-smorest"]
    for name in ("before_request_funcs", "after_request_funcs", "teardown_request_funcs"):
        # What is not of one blueprint is the pipeline's, which heeds settings and counts.
        of_blueprints = {key: list(each) for key, each in getattr(first, name).items() if key}
        getattr(app, name).update(of_blueprints)
    app.json = OrjsonProvider(app)
    pipeline.register(app, config)


@contextmanager
def shared_routes() -> Iterator[None]:
    """Have apps that are made inside share their routes. None may add one, then."""
    _first()
    with mock.patch.object(api, "register", _register):
        yield
