"""The audit log: an entry is begun before a change, and finished when its outcome is known.

An entry without an outcome is of a change that is under way, or that a crash cut off: nothing is
ever changed without an entry. Rejected requests are counted, an entry an hour.
"""

import secrets
from collections.abc import Mapping
from datetime import datetime

from service.model.addresses import find_caller
from service.model.documents import AuditEntry, new_audit_entry
from service.model.lifecycle import Outcome
from service.model.origin import Origin
from service.store import Store
from service.store.audit import REJECTION_WINDOW_S, first_id
from service.store.collection import Session


def begin(
    store: Store,
    *,
    action: str,
    target_kind: str | None,
    target_id: str | None,
    key_id: str | None = None,
    acts_for: str | None = None,
    address: str | None = None,
    request_id: str | None = None,
    keep_s: float,
    now: datetime,
) -> AuditEntry:
    """Write down who tries what. It is forgotten after `keep_s` seconds."""
    entry = new_audit_entry(
        f"{first_id(now)}{secrets.token_hex(6)}",
        action=action,
        target_kind=target_kind,
        target_id=target_id,
        key_id=key_id,
        acts_for=acts_for,
        address=address,
        request_id=request_id,
        keep_s=keep_s,
        now=now,
    )
    store.audit.add(entry)
    return entry


def record(
    store: Store,
    *,
    action: str,
    target_kind: str,
    target_id: str,
    origin: Origin,
    status: int,
    code: str | None,
    after: Mapping[str, object],
    session: Session,
) -> None:
    """Write down a change that a worker makes for a request, in the change's own transaction."""
    entry = new_audit_entry(
        f"{first_id(origin.now)}{secrets.token_hex(6)}",
        action=action,
        target_kind=target_kind,
        target_id=target_id,
        key_id=origin.requested_by,
        acts_for=origin.acts_for,
        address=None,
        request_id=origin.request_id,
        keep_s=store.audit.keep_s,
        now=origin.now,
    )
    entry |= {"after": dict(after), "outcome": _judge(status), "status": status, "code": code}
    store.audit.add(entry, session=session)


def finish(
    store: Store,
    entry: AuditEntry,
    *,
    status: int,
    code: str | None = None,
    target_id: str | None = None,
    before: Mapping[str, object] | None = None,
    after: Mapping[str, object] | None = None,
) -> None:
    """Write down how it ended, by the HTTP status, and what is different now.

    `before` and `after` are shaped as on the wire, without secrets; None: there was no such thing.
    """
    was, became = _differences(before, after)
    store.audit.finish(
        entry["_id"],
        {
            "target_id": target_id or entry["target_id"],
            "before": was,
            "after": became,
            "outcome": _judge(status),
            "status": status,
            "code": code,
        },
    )


def count_rejection(
    store: Store,
    *,
    action: str,
    target_kind: str | None,
    key_id: str | None,
    acts_for: str | None = None,
    address: str,
    request_id: str,
    status: int,
    code: str | None,
    keep_s: float,
    now: datetime,
) -> None:
    """Count a request that was rejected: one entry for each key, user, address, action and hour.

    The user is whom the key acts for, if it does. It has the ids of the first and the last of them.
    Of IPv6 a network of /64 is one address. It is forgotten `keep_s` seconds after the last.
    """
    hour = int(now.timestamp()) // REJECTION_WINDOW_S
    first = new_audit_entry(
        f"{first_id(now)}{secrets.token_hex(6)}",
        action=action,
        target_kind=target_kind,
        key_id=key_id,
        acts_for=acts_for,
        address=address,
        request_id=request_id,
        keep_s=keep_s,
        now=now,
    )
    first |= {"outcome": Outcome.REFUSED, "status": status, "code": code}
    latest = {name: first[name] for name in ("status", "code", "expires_at")}
    who = "" if acts_for is None else f" {acts_for}"
    store.audit.count_rejection(
        f"{key_id or ''} {find_caller(address)} {action} {hour}{who}",
        first=first,
        latest={**latest, "last_request_id": request_id, "last_at": now},
    )


def _judge(status: int) -> Outcome:
    if status < 400:
        return Outcome.DONE
    return Outcome.REFUSED if status < 500 else Outcome.FAILED


def _differences(
    before: Mapping[str, object] | None, after: Mapping[str, object] | None
) -> tuple[dict[str, object] | None, dict[str, object] | None]:
    """Leave out what is the same; what was not there before, or is gone, is shown whole."""
    if before is None or after is None:
        return (None if before is None else dict(before)), (None if after is None else dict(after))
    changed = [name for name in after if after[name] != before.get(name)]
    return {name: before.get(name) for name in changed}, {name: after[name] for name in changed}
