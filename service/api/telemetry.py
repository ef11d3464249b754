"""Log and measure each request; expose the metrics."""

import logging
import time

import structlog
from flask import Blueprint, Flask, Response, g, request

from service.api.context import app_context
from service.telemetry import metrics

log = logging.getLogger("skyquay.request")

blueprint = Blueprint("metrics", __name__)

_QUIET = frozenset({"health.healthz", "health.readyz", "metrics.show"})
"""What is asked again and again by those who watch over us."""

_REJECTED = frozenset({401, 403, 429})


@blueprint.get("/metrics")
def show() -> Response:
    """Return the metrics, as Prometheus reads them. Not JSON, so not in the OpenAPI document."""
    return Response(metrics.render(app_context().store), content_type=metrics.CONTENT_TYPE)


vars(show).update(scope="metrics:read", serves_stale_auth=True)


def register(app: Flask) -> None:
    """Measure and log all requests. To be registered first: what comes later is inside."""
    app.register_blueprint(blueprint)
    app.before_request(_begin)
    app.after_request(_record)
    app.teardown_request(_forget)


def _begin() -> None:
    g.measured_from = time.perf_counter()
    structlog.contextvars.clear_contextvars()


def _record(answer: Response) -> Response:
    seconds = time.perf_counter() - g.measured_from
    # Never the path: what stands there in place of an id may be anything.
    route = request.url_rule.rule if request.url_rule else "(none)"
    method = request.method if route != "(none)" else "(any)"
    metrics.REQUESTS.labels(method, route, answer.status_code).observe(seconds)
    if answer.status_code in _REJECTED:
        metrics.REJECTED.labels(g.get("error_code", "unknown")).inc()
    key = g.get("key")
    log.log(
        logging.DEBUG if request.endpoint in _QUIET else logging.INFO,
        "request.answered",
        extra={
            "method": request.method,
            "route": route,
            "status": answer.status_code,
            "ms": round(seconds * 1000, 1),
            "key_id": key["_id"] if key else None,
            "address": request.remote_addr,
            "code": g.get("error_code"),
        },
    )
    return answer


def _forget(_: BaseException | None) -> None:
    structlog.contextvars.clear_contextvars()
