"""Log and measure each request; expose the metrics."""

import logging
from functools import partial

from flask import Blueprint, Response
from structlog.contextvars import bound_contextvars

from service.api.call import Call
from service.api.context import app_context
from service.telemetry import metrics

log = logging.getLogger("skyquay.request")

blueprint = Blueprint("metrics", __name__)

_REJECTED = frozenset({401, 403, 429})


@blueprint.get("/metrics")
def show() -> Response:
    """Return the metrics, as Prometheus reads them. Not JSON, so not in the OpenAPI document."""
    ctx = app_context()
    text = metrics.render(ctx.store, most=ctx.config.metrics_instances)
    return Response(text, content_type=metrics.CONTENT_TYPE)


def record(call: Call, answer: Response) -> Response:
    """Measure and log the request; one whose answer is streamed when that ends, or is cut off."""
    request = call.request
    # Never the path: what stands there in place of an id may be anything.
    route = request.url_rule.rule if request.url_rule else "(none)"
    facts = {"method": request.method, "route": route, "address": request.remote_addr}
    if answer.is_streamed and not answer.direct_passthrough:
        answer.call_on_close(partial(_record_streamed, call, answer, facts))
    else:
        _record(call, answer, facts)
    return answer


def _record_streamed(call: Call, answer: Response, facts: dict[str, str | None]) -> None:
    # The request is over by then, but for its answer.
    with bound_contextvars(request_id=call.request_id):
        _record(call, answer, facts)


def _record(call: Call, answer: Response, facts: dict[str, str | None]) -> None:
    seconds = call.spent_s
    method = facts["method"] if facts["route"] != "(none)" else "(any)"
    metrics.REQUESTS.labels(method, facts["route"], answer.status_code).observe(seconds)
    if answer.status_code in _REJECTED:
        metrics.REJECTED.labels(call.error_code or "unknown").inc()
    log.log(
        logging.DEBUG if call.policy.for_monitoring else logging.INFO,
        "request.answered",
        extra={
            **facts,
            "status": answer.status_code,
            "ms": round(seconds * 1000, 1),
            "key_id": call.key_id,
            "acts_for": call.acts_for,
            "code": call.error_code,
        },
    )
