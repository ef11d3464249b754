"""Log and measure each request; expose the metrics."""

import logging

from flask import Blueprint, Response

from service.api.call import Call
from service.api.context import app_context
from service.telemetry import metrics

log = logging.getLogger("skyquay.request")

blueprint = Blueprint("metrics", __name__)

_REJECTED = frozenset({401, 403, 429})


@blueprint.get("/metrics")
def show() -> Response:
    """Return the metrics, as Prometheus reads them. Not JSON, so not in the OpenAPI document."""
    return Response(metrics.render(app_context().store), content_type=metrics.CONTENT_TYPE)


def record(call: Call, answer: Response) -> Response:
    """Measure and log the request."""
    seconds, request = call.spent_s, call.request
    # Never the path: what stands there in place of an id may be anything.
    route = request.url_rule.rule if request.url_rule else "(none)"
    method = request.method if route != "(none)" else "(any)"
    metrics.REQUESTS.labels(method, route, answer.status_code).observe(seconds)
    if answer.status_code in _REJECTED:
        metrics.REJECTED.labels(call.error_code or "unknown").inc()
    log.log(
        logging.DEBUG if call.policy.for_monitoring else logging.INFO,
        "request.answered",
        extra={
            "method": request.method,
            "route": route,
            "status": answer.status_code,
            "ms": round(seconds * 1000, 1),
            "key_id": call.key_id,
            "address": request.remote_addr,
            "code": call.error_code,
        },
    )
    return answer
