"""Records every change, and everybody who was not let, before and after the views."""

import logging
from collections.abc import Callable
from typing import Any

from flask import Response, g, request
from werkzeug.exceptions import HTTPException

from service import audit
from service.api import wire
from service.api.auth import find_mark
from service.api.context import current, now
from service.documents import AuditEntry
from service.errors import ServiceError
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
_IN_PATH = ("instance_id", "node_id", "operation_id", "key_id")
_IN_BODY = {"instance": "id", "node": "nodeId", "user": "userId"}
_IN_ANSWER = ("userId", "Id", "id")
_LONGEST_ID = 128


def begin() -> None:
    """Write down that a change is tried. Nothing is changed when that fails."""
    kind = find_mark("changes")
    if kind is None or request.method == "OPTIONS":
        return
    g.target_id = _find_target(kind)
    document = _find(kind, g.target_id)
    if document is not None:
        g.target_id = document["_id"]  # it may have been named otherwise, by its container's id
    g.before = _shape(kind, document)
    g.entry = _begin(kind, g.target_id)


def name_target(target_id: str) -> None:
    """Tell what is changed, where neither the request nor the answer names it."""
    g.target_id = target_id


def note(**facts: object) -> None:
    """Tell what else was changed than the target itself shows."""
    g.noted = facts


def note_refusal() -> None:
    """Tell that a request was not let although its answer is no error."""
    g.was_refused = True


def finish(answer: Response) -> Response:
    """Write down how a change ended, or that somebody was not let."""
    try:
        entry = g.get("entry")
        if entry is None:
            if not _was_refused(answer):
                return answer
            entry = _begin(find_mark("changes"), g.get("target_id"))
        _finish(entry, answer)
    except ServiceError as exc:
        # What was changed is changed and must be answered. The entry is there, without an outcome.
        log.error("the audit entry has no end", extra={"reason": exc.message})
    return answer


def _was_refused(answer: Response) -> bool:
    return answer.status_code in (401, 403) or bool(g.get("was_refused"))


def _begin(kind: str | None, target_id: str | None) -> AuditEntry:
    here = current()
    key = g.get("key")
    return audit.begin(
        here.store,
        action=request.endpoint or f"{request.method} (no such path)",
        target_kind=kind,
        target_id=target_id,
        key_id=key["_id"] if key else None,
        address=request.remote_addr,
        request_id=g.request_id,
        keep_s=here.config.audit_days * 86400,
        now=now(),
    )


def _finish(entry: AuditEntry, answer: Response) -> None:
    kind, target_id = entry["target_kind"], g.get("target_id")
    if target_id is None and answer.status_code < 300:
        told = answer.get_json(silent=True) or {}
        target_id = next((told[name] for name in _IN_ANSWER if name in told), None)
    before = g.get("before")
    after = before if answer.status_code >= 400 else _shape(kind, _find(kind, target_id))
    noted = g.get("noted", {})
    audit.finish(
        current().store,
        entry,
        status=answer.status_code,
        code=g.get("error_code"),
        refused=_was_refused(answer),
        target_id=target_id,
        before=before,
        after={**(after or {}), **noted} if noted else after,
    )


def _find_target(kind: str) -> str | None:
    """Find the id of what is to be changed in the path or the body; None for what is new."""
    for name in _IN_PATH:
        if request.view_args and name in request.view_args:
            return str(request.view_args[name])[:_LONGEST_ID]
    try:
        body = request.get_json(silent=True, force=True)
    except HTTPException:  # too large, or cut off: the view says so
        return None
    named = body.get(_IN_BODY.get(kind)) if isinstance(body, dict) else None
    return named if isinstance(named, str) and len(named) <= _LONGEST_ID else None


def _find(kind: str | None, target_id: str | None) -> Any:
    return None if kind is None or target_id is None else _FIND[kind](current().store, target_id)


def _shape(kind: str | None, document: Any) -> wire.Json | None:
    return None if kind is None or document is None else wire.recorded(_SHAPE[kind](document))
