"""The one place where errors become answers."""

import logging
import re
from typing import Any

from flask import Response, current_app
from werkzeug.exceptions import (
    HTTPException,
    MethodNotAllowed,
    NotFound,
    RequestEntityTooLarge,
)

from service.api.auth import count_rejection
from service.api.call import Rate, current_call
from service.api.context import app_context
from service.api.encoding import json_answer
from service.api.hints import add_hints
from service.api.throttle import set_headers
from service.contract.error_catalogue import make_problem
from service.errors import Forbidden, ServiceError, StoreUnavailable, Throttled, Unauthorized
from service.telemetry.metrics import record_refusal

log = logging.getLogger(__name__)

_PROBLEM = "application/problem+json"


def render_service_error(error: ServiceError) -> Response:
    """Answer an error of ours."""
    if isinstance(error, (Unauthorized, Forbidden)):
        error = count_rejection(error)
    if error.status >= 500:
        log.warning(error.message, extra={"code": error.code})
    call = current_call()
    if call.request.blueprint == "instances" and not call.is_dry:
        record_refusal(error)
    if isinstance(error, StoreUnavailable):
        app_context().away.set()
    add_hints(error)
    answer = _render(error.status, error.message, error.code, error.details)
    if error.retry_after_s is not None:
        answer.headers["Retry-After"] = str(error.retry_after_s)
    if isinstance(error, Throttled):
        set_headers(answer, Rate(error.limit, remaining=0, reset_s=error.retry_after_s or 1))
    return answer


def render_http_error(error: HTTPException) -> Response:
    """Answer an error of the framework: an unknown path, a wrong method, a body too large."""
    code = re.sub(r"[^a-z]+", "_", error.name.lower())
    answer = _render(error.code or 500, _explain(error), code, {})
    for name, value in error.get_headers():
        if name.lower() not in ("content-type", "content-length"):
            answer.headers[name] = value
    return answer


def render_unknown(error: Exception) -> Response:
    """Answer what nobody foresaw: logged with the request's id, and no details for the client."""
    if app_context().command is not None:
        # The command shows it.
        current_call().request.environ.setdefault("skyquay.crashes", []).append(error)
    log.error("request.crashed", exc_info=error)
    return _render(500, "Unexpected error; the operator finds it in the log.", "internal_error", {})


def _render(status: int, message: str, code: str, details: dict[str, Any]) -> Response:
    """Shape every error there is.

    It is JSON of RFC 9457, and called so to who asks for that: others may know JSON alone.
    """
    call = current_call()
    call.error_code = code
    problem = make_problem(status, message, code, details, request_id=call.request_id)
    answer = json_answer(problem, status)
    if call.request.accept_mimetypes[_PROBLEM] and _PROBLEM in call.request.headers["Accept"]:
        answer.content_type = _PROBLEM
    return answer


def _explain(error: HTTPException) -> str:
    match error:
        case NotFound():
            return "There is no such path."
        case MethodNotAllowed():
            methods = sorted(set(error.valid_methods or ()) - {"HEAD", "OPTIONS"})
            return f"This path takes {', '.join(methods)}."
        case RequestEntityTooLarge():
            return f"The body is larger than {current_app.config['MAX_CONTENT_LENGTH']} bytes."
        case _:
            return error.description or error.name
