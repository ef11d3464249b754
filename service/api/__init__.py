"""The endpoints: blueprints, the documentation, and the one place where errors become answers."""

import logging
import re
import secrets
import time
from threading import Lock
from typing import Any

import flask_smorest
import orjson
import structlog
from flask import Flask, Response, g, jsonify, request
from flask.json.provider import JSONProvider
from flask_swagger_ui import get_swaggerui_blueprint
from werkzeug.exceptions import (
    HTTPException,
    MethodNotAllowed,
    NotFound,
    RequestEntityTooLarge,
)

from service.api import (
    audit,
    audit_trail,
    enrolment,
    headers,
    health,
    home,
    images,
    instances,
    keys,
    nodes,
    operations,
    telemetry,
    throttle,
    users,
)
from service.api.auth import authenticate, count_rejection, is_open, serves_stale_auth
from service.api.compatibility import adapt
from service.api.context import app_context, begin_bound, end_bound, require_database
from service.config import Config
from service.contract.base import ErrorAnswer
from service.errors import Forbidden, ServiceError, StoreUnavailable, Throttled, Unauthorized
from service.telemetry import metrics

log = logging.getLogger(__name__)

BLUEPRINTS = (
    home.blueprint,
    users.blueprint,
    instances.blueprint,
    images.blueprint,
    nodes.blueprint,
    enrolment.blueprint,
    operations.blueprint,
    keys.blueprint,
    audit.blueprint,
    health.blueprint,
)

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)


class OrjsonProvider(JSONProvider):
    """JSON by orjson: strict, fast, and datetimes as RFC 3339."""

    def dumps(self, obj: Any, **kwargs: Any) -> str:
        """Write JSON text."""
        return orjson.dumps(obj, option=orjson.OPT_UTC_Z | orjson.OPT_NON_STR_KEYS).decode()

    def loads(self, s: str | bytes, **kwargs: Any) -> Any:
        """Read JSON text. Refuses NaN, lone surrogates and what is no UTF-8."""
        return orjson.loads(s)


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
                for blp in self._documented:
                    blp.register_views_in_doc(
                        self, self._app, self.spec, name=blp.name, parameters=None
                    )
                    self.spec.tag({"name": blp.name, "description": blp.description})
                self._document = orjson.dumps(self.spec.to_dict(), option=orjson.OPT_INDENT_2)
        return Response(self._document, mimetype="application/json")

    def _register_pagination_header(self) -> None:
        """Document no pages of lists; there are none."""

    def handle_http_exception(self, error: HTTPException) -> Response:
        """Answer an error of the framework: an unknown path, a wrong method, a body too large."""
        status = error.code or 500
        code = re.sub(r"[^a-z]+", "_", error.name.lower())
        answer = render(status, _explain(error), code, {})
        for name, value in error.get_headers():
            if name.lower() not in ("content-type", "content-length"):
                answer.headers[name] = value
        return answer


def _explain(error: HTTPException) -> str:
    match error:
        case NotFound():
            return "There is no such path."
        case MethodNotAllowed():
            methods = sorted(set(error.valid_methods or ()) - {"HEAD", "OPTIONS"})
            return f"This path takes {', '.join(methods)}."
        case RequestEntityTooLarge():
            return f"The body is larger than {app_context().config.max_body_bytes} bytes."
        case _:
            return error.description or error.name


def register(app: Flask, config: Config) -> Api:
    """Give the app its endpoints: paths, documentation, authentication and errors."""
    app.json = OrjsonProvider(app)
    app.url_map.strict_slashes = False
    api = Api(app)
    api.spec.components.security_scheme(
        "apiKey", {"type": "apiKey", "in": "header", "name": "x-api-key"}
    )
    api.spec.options["security"] = [{"apiKey": []}]
    for blueprint in BLUEPRINTS:
        api.register_blueprint(blueprint)
    app.register_blueprint(
        get_swaggerui_blueprint(
            "/docs",
            "/openapi.json",
            config={
                "app_name": "Skyquay API",
                "persistAuthorization": True,
                "validatorUrl": None,
                "oauth2RedirectUrl": "",  # else the page would tell what it was asked for as
            },
        )
    )
    telemetry.register(app)
    app.before_request(_name_request)
    app.before_request(_answer_preflight)
    app.before_request(_prepare)
    app.teardown_request(end_bound)
    app.before_request(authenticate)
    throttle.register(app, config)
    app.before_request(audit_trail.begin)
    # Answers pass these from the last to the first.
    app.after_request(_sign_answer)
    headers.register(app, config)
    app.after_request(adapt)
    app.after_request(audit_trail.finish)
    app.register_error_handler(ServiceError, render_service_error)
    app.register_error_handler(Exception, render_unknown)
    return api


def render_service_error(error: ServiceError) -> Response:
    """Answer an error of ours."""
    if isinstance(error, (Unauthorized, Forbidden)):
        error = count_rejection(error)
    if error.status >= 500:
        log.warning(error.message, extra={"code": error.code})
    if isinstance(error, StoreUnavailable):
        app_context().away.set()
    answer = render(error.status, error.message, error.code, error.details)
    if error.retry_after_s is not None:
        answer.headers["Retry-After"] = str(error.retry_after_s)
    if isinstance(error, Throttled):
        throttle.set_headers(
            answer, limit=error.limit, remaining=0, wait_s=error.retry_after_s or 1
        )
    return answer


def render_unknown(error: Exception) -> Response:
    """Answer what nobody foresaw: logged with the request's id, and no details for the client."""
    log.error("request.crashed", exc_info=error)
    return render(500, "Unexpected error; the operator finds it in the log.", "internal_error", {})


def render(status: int, message: str, code: str, details: dict[str, Any]) -> Response:
    """Shape every error there is."""
    g.error_code = code
    answer = jsonify({"error": message, "code": code, "details": details})
    answer.status_code = status
    return answer


def _prepare() -> None:
    # Endpoints that need no key answer without the database.
    if not is_open():
        if not serves_stale_auth():
            require_database()
        app_context().prepare()
        begin_bound(metrics.DATABASE_TIMEOUT_S if serves_stale_auth() else None)


def _name_request() -> None:
    given = request.headers.get("X-Request-Id", "")
    g.began_at = time.time()
    g.request_id = given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
    structlog.contextvars.bind_contextvars(request_id=g.request_id)


def _answer_preflight() -> Response | None:
    """Answer OPTIONS alike for every path: it needs no key, so it says nothing of what there is."""
    return Response() if request.method == "OPTIONS" else None


def _sign_answer(answer: Response) -> Response:
    if "request_id" in g:
        answer.headers["X-Request-Id"] = g.request_id
    return answer
