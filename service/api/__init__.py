"""The endpoints, the pipeline around them, and their documentation."""

from threading import Lock
from typing import Any

import flask_smorest
import orjson
from flask import Flask, Response
from werkzeug.exceptions import HTTPException

from service.api import (
    acting_docs,
    console,
    docs,
    document,
    error_page,
    event_docs,
    idempotency_docs,
    live_docs,
    live_request,
    pipeline,
    rendering,
    telemetry,
)
from service.api.addressing import IdConverter
from service.api.encoding import OrjsonProvider
from service.api.endpoints import BLUEPRINTS
from service.config import Config
from service.contract.base import ErrorAnswer
from service.errors import ServiceError


class Api(flask_smorest.Api):
    """flask-smorest's Api with our errors. Its document is written when it is first asked for."""

    ERROR_SCHEMA = ErrorAnswer
    DEFAULT_ERROR_RESPONSE_NAME = None

    def __init__(self, app: Flask) -> None:
        self._documented: list[flask_smorest.Blueprint] = []
        self._document: bytes | None = None
        self._document_lock = Lock()
        super().__init__(app)

    def register_blueprint(self, blp: flask_smorest.Blueprint, **options: Any) -> None:
        """Register the views; they are documented when the document is first asked for."""
        self._app.extensions["flask-smorest"]["blp_name_to_api"][blp.name] = self
        self._app.register_blueprint(blp, **options)
        self._documented.append(blp)

    def _openapi_json(self) -> Response:
        with self._document_lock:
            if self._document is None:
                super()._register_responses()
                document.prepare(self.spec, self.ma_plugin.converter)
                for blp in self._documented:
                    blp.register_views_in_doc(
                        self, self._app, self.spec, name=blp.name, parameters=None
                    )
                    self.spec.tag({"name": blp.name, "description": blp.description})
                written = document.complete(self.spec.to_dict())
                idempotency_docs.describe(written, self._app.url_map)
                acting_docs.describe(written)
                live_docs.describe(written)
                written["webhooks"] = event_docs.list_webhooks()
                self._document = orjson.dumps(written, option=orjson.OPT_INDENT_2)
        return Response(self._document, mimetype="application/json")

    def _register_responses(self) -> None:
        """Wait until the document is asked for."""

    def _register_pagination_header(self) -> None:
        """Document no pages of lists; there are none."""

    def handle_http_exception(self, error: HTTPException) -> Response:
        """Answer an error of the framework."""
        return rendering.render_http_error(error)


def register(app: Flask, config: Config) -> Api:
    """Give the app its endpoints: paths, documentation, authentication and errors."""
    app.json = OrjsonProvider(app)
    app.url_map.strict_slashes = False
    app.url_map.converters["default"] = IdConverter
    api = Api(app)
    api.register_converter(IdConverter, lambda _: {"type": "string", "minLength": 1})
    api.spec.components.security_scheme(
        "apiKey", {"type": "apiKey", "in": "header", "name": "x-api-key"}
    )
    api.spec.components.security_scheme(live_request.TICKET, live_docs.TICKET_SCHEME)
    api.spec.options["security"] = [{"apiKey": []}]
    for blueprint in BLUEPRINTS:
        api.register_blueprint(blueprint)
    app.register_blueprint(console.blueprint)
    app.register_blueprint(docs.blueprint)
    app.register_blueprint(error_page.blueprint)
    app.register_blueprint(telemetry.blueprint)
    pipeline.register(app, config)
    app.register_error_handler(ServiceError, rendering.render_service_error)
    app.register_error_handler(Exception, rendering.render_unknown)
    return api
