"""The document of an entry of the audit log."""

from datetime import datetime, timedelta
from typing import Any, NotRequired, TypedDict


class AuditEntry(TypedDict):
    """One change that was tried, or the rejected requests of one kind within an hour."""

    _id: str  # grows with the time
    at: datetime
    action: str  # the endpoint's name, like "instances.deploy_instance", or "cli.keys.create"
    target_kind: str | None  # user, instance, node, operation, key, database
    target_id: str | None
    key_id: str | None  # None: no key, or the command line
    address: str | None
    request_id: str | None
    before: dict[str, Any] | None  # what changed, as it was; without secrets, like the next
    after: dict[str, Any] | None
    outcome: str | None  # done, refused, failed; None: under way, or cut off
    status: int | None  # HTTP's
    code: str | None  # of the error
    expires_at: datetime
    acts_for: NotRequired[str]  # id of the user for whom the key acted
    rejection: NotRequired[str]  # which key, user, address, action and hour are counted; unique
    count: NotRequired[int]  # how many were rejected; 1 where it is absent
    last_request_id: NotRequired[str]  # `request_id` is the first's
    last_at: NotRequired[datetime]


def new_audit_entry(
    entry_id: str,
    *,
    action: str,
    target_kind: str | None,
    target_id: str | None = None,
    key_id: str | None,
    acts_for: str | None = None,
    address: str | None,
    request_id: str | None,
    keep_s: float,
    now: datetime,
) -> AuditEntry:
    """Make an entry of what is under way. It is forgotten after `keep_s` seconds."""
    entry = AuditEntry(
        _id=entry_id,
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
    if acts_for is not None:
        entry["acts_for"] = acts_for
    return entry
