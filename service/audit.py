"""The record of changes: begun before a change is tried, finished when its outcome is known.

An entry without an outcome is of a change that is under way, or that a crash cut off: nothing is
ever changed without an entry.
"""

import secrets
from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum

from service.documents import AuditEntry
from service.store import Store


class Outcome(StrEnum):
    """How a change ended."""

    DONE = "done"
    REFUSED = "refused"
    FAILED = "failed"


def begin(
    store: Store,
    *,
    action: str,
    target_kind: str | None,
    target_id: str | None,
    key_id: str | None = None,
    address: str | None = None,
    request_id: str | None = None,
    keep_s: float,
    now: datetime,
) -> AuditEntry:
    """Write down who tries what. It is forgotten after `keep_s` seconds."""
    entry = AuditEntry(
        _id=f"{first_id(now)}{secrets.token_hex(6)}",
        at=now,
        action=action,
        target_kind=target_kind,
        target_id=target_id,
        key_id=key_id,
        address=address,
        request_id=request_id,
        before=None,
        after=None,
        outcome=None,
        status=None,
        code=None,
        expires_at=now + timedelta(seconds=keep_s),
    )
    store.audit.add(entry)
    return entry


def finish(
    store: Store,
    entry: AuditEntry,
    *,
    status: int,
    code: str | None = None,
    refused: bool = False,
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
            "outcome": Outcome.REFUSED if refused else _judge(status),
            "status": status,
            "code": code,
        },
    )


def first_id(at: datetime) -> str:
    """Make the smallest id that an entry of this time can have."""
    return f"{int(at.timestamp() * 1000):012x}"


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
