"""Who is calling, and whether they may."""

from typing import Any

from flask import current_app, g, request

from service import keys
from service.api.context import app_context, now
from service.errors import Forbidden, ServiceError, StoreUnavailable, Throttled, Unauthorized
from service.model.addresses import find_caller
from service.model.documents import Key

DOCS_ENDPOINTS = frozenset({"api-docs.openapi_json", "swagger_ui.show"})
"""Endpoints of the documentation, which are not ours to mark."""

STALE_AUTH = "endpoints that serve stale authentication"


def authenticate() -> None:
    """Find out whose key the request bears, and what of the store it may see.

    Raises Unauthorized where a key is needed, Forbidden when it may not do this, and Throttled for
    who sent too many wrong ones, or too many requests that were rejected.
    """
    whole, lockout = app_context().store, app_context().lockout
    address = request.remote_addr or ""
    caller = find_caller(address)
    if is_open():
        if find_mark("changes"):
            lockout.check(caller, now=now())  # a daemon's key can be guessed as well
        return
    value = _find_value()
    app_context().rejections.check(_repeated(value), now=now())
    if not keys.is_random(value):  # nobody guesses one that is, so its holder need not wait
        lockout.check(caller, value, now=now())
    try:
        g.key = _find_key(value, address)
    except Unauthorized:
        lockout.forget(STALE_AUTH, value)
        lockout.fail(caller, now=now())
        raise
    lockout.remember(caller, value)
    access = keys.access_of(g.key)
    if access.is_limited:
        g.store = whole.within(
            user_id=access.user_id, instance_ids=access.instance_ids, node_ids=access.node_ids
        )
    scope = find_mark("scope")
    if scope is not None and not access.may(scope):
        raise Forbidden(f"This API key may not do that: it needs {scope}.", scope=[scope])
    if serves_stale_auth():
        lockout.remember(STALE_AUTH, value, g.key)


def count_rejection(error: Unauthorized | Forbidden) -> ServiceError:
    """Count an error of this key and address; return the one to answer, a Throttled past the limit.

    Until the next minute the process then knows this endpoint to reject this key, without looking
    for it in the database. What the key may do goes on.
    """
    rejections = app_context().rejections
    key_id = g.key["_id"] if "key" in g else ""
    try:
        rejections.fail(f"rejected {key_id} {_caller()}", now=now())
    except Throttled as throttled:
        rejections.block(_repeated(_find_value()), now=now())
        return throttled
    return error


def _repeated(value: str) -> str:
    """Name what is rejected again when the same client repeats it."""
    return f"rejected {value} {_caller()} {request.endpoint}"


def _caller() -> str:
    return find_caller(request.remote_addr or "")


def serves_stale_auth() -> bool:
    """Return whether a key that was valid before is accepted while the database is away."""
    return bool(find_mark("serves_stale_auth"))


def _find_key(value: str, address: str) -> Key:
    ctx = app_context()
    try:
        return keys.authenticate(ctx.store, value, address=address, now=now())
    except StoreUnavailable:
        known = ctx.lockout.recall(STALE_AUTH, value) if serves_stale_auth() else None
        if known is None:
            raise
        keys.check(known, value, address=address, now=now())
        return known


def _find_value() -> str:
    """Find the key that was sent, also where programs that know no header of ours put it."""
    bearer = request.authorization
    token = bearer.token if bearer is not None and bearer.type == "bearer" else None
    return request.headers.get("x-api-key") or token or ""


def is_open() -> bool:
    """Return whether the request's endpoint needs no key. All that are not marked need one."""
    return request.endpoint in DOCS_ENDPOINTS or bool(find_mark("is_open"))


def find_mark(name: str) -> Any:
    """Return what the blueprint marked the request's endpoint with; None where there is none."""
    view = current_app.view_functions.get(request.endpoint or "")
    return getattr(view, name, None)
