"""The audit log of requests: an entry before each change, and a count of what is rejected.

What was changed is reported by the view that changed it, with what its use case returned.
"""

import logging
from collections.abc import Callable
from typing import Any

from flask import Response, request
from werkzeug.exceptions import HTTPException

from service import audit, deletions
from service.api.call import Call, current_call
from service.api.context import Context, app_context, now
from service.contract.answers import Json
from service.contract.images import ImageAnswer
from service.contract.instances import InstanceAnswer
from service.contract.keys import KeyAnswer
from service.contract.nodes import NodeAnswer
from service.contract.operations import OperationAnswer
from service.contract.users import UserAnswer
from service.contract.webhooks import WebhookAnswer
from service.errors import ServiceError
from service.model.documents import AuditEntry

log = logging.getLogger(__name__)

_FIND: dict[str, Callable[[Context, str], Any]] = {
    "user": lambda ctx, target_id: ctx.store.users.find(target_id),
    "instance": lambda ctx, target_id: deletions.find(ctx.store, target_id),
    "image": lambda ctx, target_id: ctx.store.images.find_by_reference(target_id),
    "node": lambda ctx, target_id: ctx.store.nodes.find_by_reference(target_id),
    "operation": lambda ctx, target_id: ctx.store.operations.find(target_id),
    "key": lambda ctx, target_id: ctx.store.keys.find(target_id),
    "webhook": lambda ctx, target_id: ctx.store.webhooks.find(target_id),
}
_SHAPE: dict[str, Callable[[Any], Json]] = {
    "user": UserAnswer.shape_audited,
    "instance": InstanceAnswer.shape_audited,
    "image": ImageAnswer.shape_audited,
    "node": NodeAnswer.shape_audited,
    "operation": OperationAnswer.shape_audited,
    "key": KeyAnswer.shape_audited,
    "webhook": WebhookAnswer.shape_audited,
}
_LONGEST_ID = 128
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"})


def begin(call: Call) -> None:
    """Write down that a change is tried. Nothing is changed when that fails."""
    kind = call.policy.changes
    if kind is None or call.is_dry:
        return
    ctx = app_context()
    call.target_id = _find_target(kind, call.policy.named_by)
    document = None if call.target_id is None else _FIND[kind](ctx, call.target_id)
    if document is not None:
        call.target_id = document["_id"]  # it may have been named otherwise, by its container's id
    # A view that reports nothing has changed nothing.
    call.before = call.after = _shape(kind, document)
    call.entry = audit.begin(
        ctx.store,
        action=_name_action(),
        target_kind=kind,
        target_id=call.target_id,
        key_id=call.key_id,
        acts_for=call.acts_for,
        address=request.remote_addr,
        request_id=call.request_id,
        keep_s=ctx.config.audit_days * 86400,
        now=now(),
    )


def record_change(document: Any) -> None:
    """Report what was changed, as it is now; None: it is gone."""
    call = current_call()
    if document is not None:
        call.target_id = document["_id"]
    call.after = _shape(call.policy.changes, document)


def add_facts(**facts: object) -> None:
    """Report what else was changed than the target itself shows."""
    current_call().facts = facts


def mark_rejected() -> None:
    """Report that a request was rejected although the status of its answer does not say so."""
    current_call().was_rejected = True


def finish(call: Call, answer: Response) -> Response:
    """Write down how a change ended, or that somebody was rejected."""
    try:
        if _was_rejected(call, answer):
            _count_rejection(call, answer)
            if call.entry is not None:
                app_context().store.audit.remove(call.entry["_id"])  # it is in the count now
        elif call.entry is not None:
            _finish(call, call.entry, answer)
    except ServiceError as exc:
        # What was changed is changed and must be answered. The entry is there, without an outcome.
        log.error("audit.unfinished", extra={"reason": exc.message})
    return answer


def _was_rejected(call: Call, answer: Response) -> bool:
    # Past the limits nothing is written, unless that was found out after the entry was begun.
    is_beyond = answer.status_code == 429 and call.entry is not None
    return answer.status_code in (401, 403) or is_beyond or call.was_rejected


def _count_rejection(call: Call, answer: Response) -> None:
    ctx = app_context()
    audit.count_rejection(
        ctx.store,
        action=_name_action(),
        target_kind=call.policy.changes,
        key_id=call.key_id,
        acts_for=call.acts_for,
        address=request.remote_addr or "",
        request_id=call.request_id,
        status=answer.status_code,
        code=call.error_code,
        keep_s=ctx.config.audit_days * 86400,
        now=now(),
    )


def _name_action() -> str:
    if (command := app_context().command) is not None:
        return command
    # Methods that HTTP does not know may be anything, and there is an entry for each action.
    method = request.method if request.method in _METHODS else "(other)"
    return request.endpoint or f"{method} (no such path)"


def _finish(call: Call, entry: AuditEntry, answer: Response) -> None:
    audit.finish(
        app_context().store,
        entry,
        status=answer.status_code,
        code=call.error_code,
        target_id=call.target_id,
        before=call.before,
        after={**(call.after or {}), **call.facts} if call.facts else call.after,
    )


def _find_target(kind: str, named_by: str | None) -> str | None:
    """Find the id of what is to be changed where this endpoint takes it; None for what is new."""
    named: object = (request.view_args or {}).get(f"{kind}_id")
    if named is None and named_by is not None:
        try:
            body = request.get_json(silent=True, force=True)
        except HTTPException:  # too large, or cut off: the view says so
            return None
        named = body.get(named_by) if isinstance(body, dict) else None
    return named if isinstance(named, str) and 0 < len(named) <= _LONGEST_ID else None


def _shape(kind: str | None, document: Any) -> Json | None:
    return None if kind is None or document is None else _SHAPE[kind](document)
