"""Who is calling, and whether they may."""

from datetime import datetime

from flask import Request
from werkzeug.exceptions import MethodNotAllowed

from service import keys, rights, tickets
from service.api.call import Call, current_call
from service.api.context import app_context, now
from service.api.live_request import EVENT_STREAM, TICKET, prefers_live
from service.errors import Forbidden, ServiceError, StoreUnavailable, Throttled, Unauthorized
from service.model.documents import Key

ACT_AS = "Act-As"
"""The header with the id of the user for whom the key acts."""

STALE_AUTH = "endpoints that serve stale authentication"


def authenticate(call: Call) -> None:
    """Find out whose key the request bears, for whom it acts, and what of the store it may see.

    Raises Unauthorized where a key is needed, Forbidden when it may not do this, NotFound when it
    cannot act for the user, and Throttled for who sent too many wrong ones, or too many requests
    that were rejected.
    """
    ctx, policy, at = call.ctx, call.policy, now()
    if ctx.command is not None:
        call.key = keys.draft_local_administrator(now=at)
    elif policy.needs_key:
        call.key = _identify(call, at)
    else:
        if policy.changes:
            ctx.lockout.check(call.network, now=at)  # a daemon's key can be guessed as well
        return
    call.rights = call.key
    user_id = call.request.headers.get(ACT_AS) if call.ticket is None else call.ticket["acts_for"]
    is_taken = not isinstance(call.request.routing_exception, MethodNotAllowed)
    if user_id is not None and is_taken:
        call.rights, call.user = rights.act_for(ctx.store, call.key, user_id)
    call.begin_cause()
    call.store = rights.limit(ctx.store, call.rights, acts_for=call.acts_for)
    if policy.scope is not None:
        rights.require(call.rights, policy.scope, acts_for=call.acts_for)
    if not policy.needs_database:
        ctx.lockout.remember(STALE_AUTH, _find_value(call.request), call.key)


def _identify(call: Call, at: datetime) -> Key:
    """Find the key that the request bears. Raises Unauthorized and Throttled."""
    lockout, value = call.ctx.lockout, _find_value(call.request)
    call.ctx.rejections.check(_repeated(call), now=at)
    if ticket := _find_ticket(call):
        call.ticket = tickets.redeem(call.ctx.store, ticket, now=at)
        call.digest = call.ticket["key_digest"]
        address = call.request.remote_addr or ""
        return keys.recognize(call.ctx.store, call.digest, address=address, now=at)
    if call.policy.is_live and TICKET in call.request.args and not value:
        raise Unauthorized(f"A ticket opens server-sent events only: send Accept: {EVENT_STREAM}.")
    is_random = keys.is_random(value)
    if not is_random:  # nobody guesses one that is, so its holder need not wait
        lockout.check(call.network, value, now=at)
    try:
        key = _find_key(call, value, at)
    except Unauthorized:
        lockout.forget(STALE_AUTH, value)
        lockout.fail(call.network, now=at)
        raise
    call.digest = keys.digest(value)
    if not is_random:
        lockout.remember(call.network, value)
    return key


def count_rejection(error: Unauthorized | Forbidden) -> ServiceError:
    """Count an error of this key and address; return the one to answer, a Throttled past the limit.

    Until the next minute the process then knows this endpoint to reject this key, without looking
    for it in the database. What the key may do goes on.
    """
    call, rejections = current_call(), app_context().rejections
    try:
        rejections.fail(f"rejected {call.key_id or ''} {call.network}", now=now())
    except Throttled as throttled:
        rejections.block(_repeated(call), now=now())
        return throttled
    return error


def _repeated(call: Call) -> str:
    """Name what is rejected again when the same client repeats it."""
    request = call.request
    value = _find_ticket(call) or _find_value(request)
    return f"rejected {value} {call.network} {request.endpoint} {request.headers.get(ACT_AS)}"


def _find_key(call: Call, value: str, at: datetime) -> Key:
    ctx, address = call.ctx, call.request.remote_addr or ""
    try:
        return keys.authenticate(ctx.store, value, address=address, now=at)
    except StoreUnavailable:
        known = None if call.policy.needs_database else ctx.lockout.recall(STALE_AUTH, value)
        if known is None:
            raise
        keys.check(
            known, keys.digest(value), address=address, now=now()
        )  # it has waited for the database
        return known


def _find_ticket(call: Call) -> str | None:
    """Find the ticket that was sent in place of a key, where that is taken."""
    request = call.request
    if not call.policy.is_live or not prefers_live(request) or _find_value(request):
        return None
    return request.args.get(TICKET)


def _find_value(request: Request) -> str:
    """Find the key that was sent, also where programs that know no header of ours put it."""
    if value := request.headers.get("x-api-key"):
        return value
    bearer = request.authorization
    return (bearer.token if bearer is not None and bearer.type == "bearer" else None) or ""
