"""What is done for every request, before its view and after it."""

import random
import re
from collections.abc import Callable

import structlog
from flask import Flask, Response, g
from flask.globals import request_ctx

from service.api import audit_trail, compatibility, compression, headers, idempotency, telemetry
from service.api.auth import authenticate
from service.api.call import Call, current_call
from service.api.context import BRIEFLY_S, Context, app_context
from service.api.endpoints import POLICIES
from service.api.policy import EndpointPolicy
from service.api.throttle import Throttle
from service.config import Config
from service.model.addresses import find_caller
from service.telemetry import metrics

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_NO_ENDPOINT = EndpointPolicy()
"""A path that there is not needs a key like most that there are, and so says nothing."""


def register(app: Flask, config: Config) -> None:
    """Have every request take these steps, from the first to the last.

    A step before the view that answers ends them: then the view is left out. What a step or the
    view raises becomes an answer too, and all answers take the steps after the view. Raises
    ConfigError for settings that cannot be used.
    """
    throttle = Throttle(config)
    before: tuple[Callable[[Call], Response | None], ...] = (
        _answer_preflight,
        _prepare_database,
        authenticate,
        throttle.count,
        idempotency.begin,
        audit_trail.begin,
    )
    after: tuple[Callable[[Call, Response], Response], ...] = (
        audit_trail.finish,
        idempotency.finish,
        compatibility.adapt,
        headers.protect,
        compression.compress,
        _add_request_id,
        throttle.report,
        telemetry.record,
    )

    @app.before_request
    def take_steps_before() -> Response | None:
        g.call = call = _begin_call()
        for step in before:
            answer = step(call)
            if answer is not None:
                return answer
        return None

    headers.allow_origins(app, config)  # registered before the others, so done after them

    @app.after_request
    def take_steps_after(answer: Response) -> Response:
        call = current_call()
        for step in after:
            answer = step(call, answer)
        return answer

    @app.teardown_request
    def end(_: BaseException | None) -> None:
        if "call" in g:
            g.call.end_bound()
            g.call.end_cause()
        structlog.contextvars.clear_contextvars()


def _begin_call() -> Call:
    ctx, request = app_context(), request_ctx.request
    given = request.headers.get("X-Request-Id", "")
    call = Call(
        ctx=ctx,
        request=request,
        request_id=given if _REQUEST_ID.fullmatch(given) else _make_request_id(),
        policy=POLICIES.get(request.endpoint or "", _NO_ENDPOINT),
        store=ctx.store,
        network=find_caller(request.remote_addr or ""),
    )
    structlog.contextvars.bind_contextvars(request_id=call.request_id)
    return call


def _make_request_id() -> str:
    # It is no secret; what is, asks the system, and lets another thread have the interpreter.
    return f"{random.getrandbits(64):016x}"


def _answer_preflight(call: Call) -> Response | None:
    """Answer OPTIONS alike for every path: it needs no key, so it says nothing of what there is."""
    return Response() if call.request.method == "OPTIONS" else None


def _prepare_database(call: Call) -> None:
    """Make the database ready, and bound what it may take. Raises StoreUnavailable."""
    ctx = call.ctx
    if call.policy.needs_database:
        if ctx.away.is_set():
            _ping(ctx)
        ctx.prepare()
        call.begin_bound()
    elif call.policy.needs_key:
        ctx.prepare()
        call.begin_bound(metrics.DATABASE_TIMEOUT_S)


def _ping(ctx: Context) -> None:
    """Raise StoreUnavailable soon while the database is away.

    When it goes away requests wait for it, as a failover takes seconds. But if all did so for as
    long as it is away, they would hold all threads, and nobody could see that the process runs.
    """
    with ctx.store.bounded(BRIEFLY_S):
        ctx.store.ping()
    ctx.away.clear()


def _add_request_id(call: Call, answer: Response) -> Response:
    answer.headers.add("X-Request-Id", call.request_id)
    return answer
