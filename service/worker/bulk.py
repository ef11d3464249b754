"""How the items of a bulk operation are done: in turns, each with a few of them.

An item is done by the use case of the single request, with the rights that the key, and the
user for whom it acts, have by then. In the same transaction it is written down as done, and into
the audit log. So a worker that dies at any moment leaves items that are done and marked, and items
that are neither, which the next turn does. Between turns no thread is held, and of each node only a
few items are open at a time, so that nobody else's operations wait for all of them.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from service import audit, bulk, instance_changes, instances, rights, users
from service.errors import NoSecretKey, ServiceError, StoreUnavailable
from service.model.documents import BulkItem, Operation
from service.model.error_lines import list_details
from service.model.lifecycle import ENDED, BulkKind, OperationKind, OperationStatus
from service.model.origin import Origin
from service.store import Store
from service.store.collection import Session
from service.worker.interruptions import LeaseLost, OperationCancelled
from service.worker.job import UNEXPECTED, Job

log = logging.getLogger(__name__)

TURN_ITEMS = 25
"""How many items one turn begins at the most."""

TURN_USERS = 4
"""The same of users to add: hashing a password takes a part of a second."""

NODE_ITEMS = 8
"""How many items of one operation are open on a node at a time: twice what it does at once."""

LOOK_AGAIN_S = 0.5
MOST_LOOK_AGAIN_S = 10.0

OpenSecret = Callable[[str], str]
"""Decrypts what was encrypted at rest."""

_GONE = "Its operation is gone, with the node."


def have_no_key(_: str) -> str:
    """Decrypt nothing. Raises NoSecretKey."""
    raise NoSecretKey("There is no secret key to decrypt with.")


def take_turn(job: Job, open_secret: OpenSecret) -> None:
    """Write down which items have ended, begin some more, and come back later; or end it.

    Raises LeaseLost, StoreUnavailable.
    """
    turn = _Turn(job, open_secret)
    turn.settle()
    cancelled = job.operation["cancel_requested"]
    try:
        if not cancelled:
            turn.begin_some()
    except OperationCancelled:
        cancelled = True
    if cancelled:
        turn.cancel_rest()
    turn.end(cancelled=cancelled)


class _Turn:
    """One turn: the items as they are, while this worker holds the lease."""

    def __init__(self, job: Job, open_secret: OpenSecret) -> None:
        self._job = job
        self._open_secret = open_secret
        self._kind = job.operation["bulk"]["kind"]
        self._items = job.operation["bulk"]["items"]
        self._changed_at = job.operation["bulk"]["changed_at"]

    def settle(self) -> None:
        """Write down the ends of items whose own operations have ended."""
        underway = dict(self._list(OperationStatus.RUNNING))
        if not underway:
            return
        ids = [item["operation_id"] for item in underway.values() if item["operation_id"]]
        found = self._job.store.operations.list_outcomes(ids)
        ended = {
            place: _end(item, found.get(item["operation_id"] or ""))
            for place, item in underway.items()
        }
        self._write(
            {place: item for place, item in ended.items() if item["status"] in ENDED},
            before=OperationStatus.RUNNING,
        )

    def begin_some(self) -> None:
        """Begin items, as many as a turn and their nodes bear. Raises OperationCancelled."""
        most = TURN_USERS if self._kind == BulkKind.CREATE_USERS else TURN_ITEMS
        for place in [place for place, _ in self._list_next()][:most]:
            self._job.check_lease()
            self._begin(place)

    def cancel_rest(self) -> None:
        """End all items that have not begun."""
        waiting = self._list(OperationStatus.PENDING)
        ended = {place: _become(item, OperationStatus.CANCELLED) for place, item in waiting}
        self._write(ended, before=OperationStatus.PENDING)

    def end(self, *, cancelled: bool) -> None:
        """End the operation once all items have ended, else put it back."""
        counts = Counter(item["status"] for item in self._items)
        if counts[OperationStatus.PENDING] or counts[OperationStatus.RUNNING]:
            more = not cancelled and any(True for _ in self._list_next())
            self._job.reschedule(delay_s=0 if more else self._find_pause_s())
        elif counts[OperationStatus.CANCELLED]:
            error = f"{counts[OperationStatus.CANCELLED]} of {len(self._items)} were cancelled."
            self._job.finish(OperationStatus.CANCELLED, error=error)
        elif failed := counts[OperationStatus.FAILED]:
            error = f"{failed} of {len(self._items)} failed."
            self._job.finish(OperationStatus.FAILED, error=error)
        else:
            self._job.finish(OperationStatus.SUCCEEDED)

    def _find_pause_s(self) -> float:
        """Return a quarter of the time in which nothing happened, within bounds."""
        quiet_s = (self._job.now() - self._changed_at).total_seconds()
        return min(MOST_LOOK_AGAIN_S, max(LOOK_AGAIN_S, quiet_s / 4))

    def _list(self, status: OperationStatus) -> list[tuple[int, BulkItem]]:
        return [each for each in enumerate(self._items) if each[1]["status"] == status]

    def _list_next(self) -> Iterator[tuple[int, BulkItem]]:
        """List the items that may begin. A node that is down does nothing, so none waits for it."""
        offline = set(self._job.store.nodes.list_offline())
        underway = self._list(OperationStatus.RUNNING)
        busy = Counter(item.get("node_id") for _, item in underway)
        for place, item in self._list(OperationStatus.PENDING):
            node_id = item.get("node_id")
            if node_id is None or node_id in offline:
                yield place, item
            elif busy[node_id] < NODE_ITEMS:
                busy[node_id] += 1
                yield place, item

    def _begin(self, place: int) -> None:
        job, item = self._job, self._items[place]

        def mark(result: Any, session: Session) -> None:
            operation = result[1] if isinstance(result, tuple) else result
            made = operation["_id"] if operation is not None else None
            status = OperationStatus.SUCCEEDED if made is None else OperationStatus.RUNNING
            self._mark(place, _become(item, status, operation_id=made), session)

        try:
            store = rights.recall(
                job.store,
                job.operation["requested_by"],
                acts_for=job.operation.get("acts_for"),
                scope=bulk.scope_of(self._kind),
                now=job.now(),
            ).with_each_transaction(mark)
            _DO[self._kind](store, item, self._make_origin(), self._open_secret)
        except (LeaseLost, OperationCancelled, StoreUnavailable):
            raise
        except ServiceError as error:
            why = "; ".join([error.message, *list_details(error.details)])
            self._fail(place, item, error.status, error.code, why)
        except Exception:
            log.exception("item.crashed")
            self._fail(place, item, ServiceError.status, ServiceError.code, UNEXPECTED)

    def _make_origin(self) -> Origin:
        operation = self._job.operation
        return Origin(
            self._job.now(),
            operation["requested_by"],
            operation["request_id"],
            acts_for=operation.get("acts_for"),
        )

    def _fail(self, place: int, item: BulkItem, status: int, code: str, why: str) -> None:
        failed = _become(item, OperationStatus.FAILED, code=code, error=why)
        self._job.store.transaction(
            lambda session: self._mark(place, failed, session, status=status)
        )

    def _mark(self, place: int, item: BulkItem, session: Session, *, status: int = 200) -> None:
        """Write, in the transaction of an item's change, that it is done, and who did it."""
        self._write({place: item}, before=OperationStatus.PENDING, session=session)
        audit.record(
            self._job.store,
            action=f"bulk.{self._kind}",
            target_kind="user" if self._kind == BulkKind.CREATE_USERS else "instance",
            target_id=item["id"],
            origin=self._make_origin(),
            status=status,
            code=item["code"],
            after={"bulkId": self._job.operation["_id"], "operationId": item["operation_id"]},
            session=session,
        )

    def _write(
        self,
        items: Mapping[int, BulkItem],
        *,
        before: OperationStatus,
        session: Session | None = None,
    ) -> None:
        """Raise LeaseLost, and OperationCancelled for what is begun after that was asked for."""
        if not items:
            return
        job, now = self._job, self._job.now()
        job.check_lease()
        if not job.store.bulks.write_items(
            job.operation["_id"],
            job.token,
            items,
            before=before,
            unless_cancelled=session is not None,
            now=now,
            session=session,
        ):
            if session is not None:
                job.check_cancelled()
            raise LeaseLost
        self._changed_at = now
        for place, item in items.items():
            self._items[place] = item


def _become(item: BulkItem, status: OperationStatus, **more: Any) -> BulkItem:
    """Return the item as it is then, without what it was to be made of."""
    became = BulkItem(**{**item, **more, "status": status})  # type: ignore[typeddict-item]
    became.pop("user", None)
    return became


def _end(item: BulkItem, operation: Operation | None) -> BulkItem:
    """Return the item as its own operation says."""
    if operation is None:
        return _become(item, OperationStatus.SUPERSEDED, error=_GONE)
    if operation["status"] not in ENDED:
        return item
    failed = operation["status"] == OperationStatus.FAILED
    return _become(
        item,
        operation["status"],
        code="node_failure" if failed else None,
        error=operation["error"],
    )


def _create_user(store: Store, item: BulkItem, origin: Origin, open_secret: OpenSecret) -> None:
    user = item["user"]
    users.create(
        store,
        username=user["username"],
        email=user["email"],
        password=open_secret(user["password"]),
        user_id=item["id"],
        admin=user["admin"],
        quota=user.get("quota"),
        external_id=user["external_id"],
        labels=user["labels"],
        now=origin.now,
    )


_Do = Callable[[Store, BulkItem, Origin, OpenSecret], object]


def _power(kind: OperationKind) -> _Do:
    return lambda store, item, origin, _: instances.change_power(
        store, item["id"], kind, origin=origin
    )


_DO: Mapping[BulkKind, _Do] = {
    BulkKind.SUSPEND: lambda store, item, origin, _: instances.suspend(
        store, item["id"], origin=origin
    ),
    BulkKind.UNSUSPEND: lambda store, item, origin, _: instances.unsuspend(
        store, item["id"], origin=origin
    ),
    BulkKind.START: _power(OperationKind.START),
    BulkKind.STOP: _power(OperationKind.STOP),
    BulkKind.RESTART: _power(OperationKind.RESTART),
    BulkKind.KILL: _power(OperationKind.KILL),
    BulkKind.REINSTALL: lambda store, item, origin, _: instance_changes.reinstall(
        store, item["id"], keep_volume=True, origin=origin
    ),
    BulkKind.DELETE: lambda store, item, origin, _: instances.delete(
        store, item["id"], keep_s=item.get("keep_s", 0), origin=origin
    ),
    BulkKind.CREATE_USERS: _create_user,
}
"""The use case of each kind, which writes in one transaction."""
