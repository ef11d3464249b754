"""The audit log of requests: an entry before each change, and a count of what is rejected.

What was changed is reported by the view that changed it, with what its use case returned.
"""

import logging
from collections.abc import Callable
from typing import Any

from flask import Response, g, request
from werkzeug.exceptions import HTTPException

from service import audit
from service.api.auth import find_mark
from service.api.context import app_context, now
from service.contract import wire
from service.errors import ServiceError
from service.model.documents import AuditEntry
from service.store import Store

log = logging.getLogger(__name__)

_FIND: dict[str, Callable[[Store, str], Any]] = {
    "user": lambda store, target_id: store.users.find(target_id),
    "instance": lambda store, target_id: store.instances.find_by_reference(target_id),
    "node": lambda store, target_id: store.nodes.find(target_id),
    "operation": lambda store, target_id: store.operations.find(target_id),
    "key": lambda store, target_id: store.keys.find(target_id),
}
_SHAPE: dict[str, Callable[[Any], wire.Json]] = {
    "user": wire.user,
    "instance": lambda document: wire.instance(document, None),
    "node": wire.node,
    "operation": wire.operation,
    "key": wire.key,
}
_LONGEST_ID = 128
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"})


def begin() -> None:
    """Write down that a change is tried. Nothing is changed when that fails."""
    kind = find_mark("changes")
    if kind is None:
        return
    g.target_id = _find_target(kind)
    document = _find(kind, g.target_id)
    if document is not None:
        g.target_id = document["_id"]  # it may have been named otherwise, by its container's id
    g.before = _shape(kind, document)
    g.entry = _begin(kind, g.target_id)


def record_change(document: Any) -> None:
    """Report what was changed, as it is now; None: it is gone."""
    if document is not None:
        g.target_id = document["_id"]
    g.after = _shape(find_mark("changes"), document)


def add_facts(**facts: object) -> None:
    """Report what else was changed than the target itself shows."""
    g.noted = facts


def mark_rejected() -> None:
    """Report that a request was rejected although the status of its answer does not say so."""
    g.was_rejected = True


def finish(answer: Response) -> Response:
    """Write down how a change ended, or that somebody was rejected."""
    try:
        entry = g.get("entry")
        if _was_rejected(answer):
            _count_rejection(answer)
            if entry is not None:
                app_context().store.audit.remove(entry["_id"])  # it is in the count now
        elif entry is not None:
            _finish(entry, answer)
    except ServiceError as exc:
        # What was changed is changed and must be answered. The entry is there, without an outcome.
        log.error("audit.unfinished", extra={"reason": exc.message})
    return answer


def _was_rejected(answer: Response) -> bool:
    # Past the limits nothing is written, unless that was found out after the entry was begun.
    is_beyond = answer.status_code == 429 and "entry" in g
    return answer.status_code in (401, 403) or is_beyond or bool(g.get("was_rejected"))


def _begin(kind: str | None, target_id: str | None) -> AuditEntry:
    ctx = app_context()
    return audit.begin(
        ctx.store,
        action=_name_action(),
        target_kind=kind,
        target_id=target_id,
        key_id=_key_id(),
        address=request.remote_addr,
        request_id=g.request_id,
        keep_s=ctx.config.audit_days * 86400,
        now=now(),
    )


def _count_rejection(answer: Response) -> None:
    ctx = app_context()
    audit.count_rejection(
        ctx.store,
        action=_name_action(),
        target_kind=find_mark("changes"),
        key_id=_key_id(),
        address=request.remote_addr or "",
        request_id=g.request_id,
        status=answer.status_code,
        code=g.get("error_code"),
        keep_s=ctx.config.audit_days * 86400,
        now=now(),
    )


def _name_action() -> str:
    # Methods that HTTP does not know may be anything, and there is an entry for each action.
    method = request.method if request.method in _METHODS else "(other)"
    return request.endpoint or f"{method} (no such path)"


def _key_id() -> str | None:
    return g.key["_id"] if "key" in g else None


def _finish(entry: AuditEntry, answer: Response) -> None:
    before, noted = g.get("before"), g.get("noted", {})
    after = g.get("after", before)  # a view that reports nothing has changed nothing
    audit.finish(
        app_context().store,
        entry,
        status=answer.status_code,
        code=g.get("error_code"),
        target_id=g.get("target_id"),
        before=before,
        after={**(after or {}), **noted} if noted else after,
    )


def _find_target(kind: str) -> str | None:
    """Find the id of what is to be changed where this endpoint takes it; None for what is new."""
    named: object = (request.view_args or {}).get(f"{kind}_id")
    if named is None and (field := find_mark("named_by")) is not None:
        try:
            body = request.get_json(silent=True, force=True)
        except HTTPException:  # too large, or cut off: the view says so
            return None
        named = body.get(field) if isinstance(body, dict) else None
    return named if isinstance(named, str) and 0 < len(named) <= _LONGEST_ID else None


def _find(kind: str | None, target_id: str | None) -> Any:
    return (
        None if kind is None or target_id is None else _FIND[kind](app_context().store, target_id)
    )


def _shape(kind: str | None, document: Any) -> wire.Json | None:
    return None if kind is None or document is None else wire.recorded(_SHAPE[kind](document))
