"""Files of removed instances that are left on nodes, for somebody to delete there.

The id of an instance is never given again, so they are in nobody's way: they only take room.
"""

import logging
from dataclasses import asdict
from datetime import datetime

from service import audit
from service.drivers import Leftovers
from service.model.documents import LeftBehind, Leftover, Operation, removed_id
from service.store import Store
from service.store.collection import Session

log = logging.getLogger(__name__)


def attach(
    store: Store,
    operation: Operation,
    token: str,
    found: Leftovers | None,
    *,
    now: datetime,
    session: Session,
) -> None:
    """Write down what a removal left behind, or that there is nothing any more."""
    if found is None:
        store.leftovers.remove(removed_id(operation), session=session)
        return
    left = LeftBehind(path=found.path, names=list(found.names), reason=found.reason)
    store.claims.set_leftovers(operation["_id"], token, left, session=session)
    store.leftovers.put(
        Leftover(_id=removed_id(operation), node_id=operation["node_id"], created_at=now, **left),
        session=session,
    )


def record(store: Store, operation: Operation, found: Leftovers, *, now: datetime) -> None:
    """Name what a removal left behind in the audit log, and in the log."""
    facts = {"instance_id": removed_id(operation), "path": found.path, "reason": found.reason}
    log.warning("instance.files_left", extra=facts)
    entry = audit.begin(
        store,
        action="worker.remove",
        target_kind="instance",
        target_id=removed_id(operation),
        key_id=operation["requested_by"],
        request_id=operation["request_id"],
        keep_s=store.audit.keep_s,
        now=now,
    )
    left = {"leftovers": {**asdict(found), "names": list(found.names)}}
    audit.finish(store, entry, status=200, after={"nodeId": operation["node_id"], **left})


def describe(left: LeftBehind) -> str:
    """Say in a sentence what is left where, and why."""
    named = ", ".join(map(repr, left["names"])) or "all of it"
    return f"{named} in {left['path']} could not be deleted: {left['reason']}"
