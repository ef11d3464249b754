"""Operations: what must be done on a node, written down before it is done."""

import secrets
import time
from collections.abc import Callable
from datetime import datetime

from service.documents import Instance, Operation
from service.errors import NodeFailure
from service.lifecycle import ENDED, OperationKind, OperationStatus
from service.store import Store

POLL_S = 0.05
"""How often somebody who waits for an operation looks at it."""


def draft(
    kind: OperationKind,
    instance: Instance,
    *,
    now: datetime,
    requested_by: str | None,
    request_id: str | None,
) -> Operation:
    """Make the document of an operation that is to be done at once."""
    return Operation(
        _id=secrets.token_hex(10),
        kind=kind,
        instance_id=instance["_id"],
        node_id=instance["node_id"],
        status=OperationStatus.PENDING,
        steps=[],
        attempts=0,
        next_attempt_at=None,
        lease=None,
        error=None,
        requested_by=requested_by,
        request_id=request_id,
        created_at=now,
        updated_at=now,
    )


def wait(
    store: Store,
    operation: Operation,
    *,
    timeout_s: float,
    clock: Callable[[], float] = time.monotonic,
    pause: Callable[[float], None] = time.sleep,
) -> Operation:
    """Wait until the operation has ended, `timeout_s` at the most; answer it as it is then.

    Raises NodeFailure when it ended because the node could not do it.
    """
    deadline = clock() + timeout_s
    while operation["status"] not in ENDED and clock() < deadline:
        pause(POLL_S)
        operation = store.operations.get(operation["_id"])
    if operation["status"] == OperationStatus.FAILED:
        raise NodeFailure(operation["node_id"], operation["error"] or "The node failed.")
    return operation
