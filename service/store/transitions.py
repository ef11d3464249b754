"""Logs each transition of an instance or an operation, once it is written: one line each.

What a transaction writes is logged when it is committed, and not at all when it is not.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from service.model.documents import Operation
from service.model.lifecycle import ENDED
from service.store.collection import Session

log = logging.getLogger("skyquay.move")

RecordOperation = Callable[[str, str, float, int | None], None]
"""Takes the kind of an operation that ended, its outcome, and its seconds since it was taken on.

Then how many bytes it copied; None: it was no transfer.
"""

GONE = "gone"


class TransitionLog:
    """The moves of one store."""

    def __init__(self, record_operation: RecordOperation | None = None) -> None:
        """Return `record_operation` of each operation that ends."""
        self._note_operation = record_operation
        self._waiting: dict[Session, list[Callable[[], None]]] = {}

    def begin(self, session: Session) -> None:
        """Keep what the session writes from now on; forget what it wrote in an earlier attempt."""
        self._waiting[session] = []

    @contextmanager
    def flush_on_commit(self, session: Session) -> Iterator[None]:
        """Return what the session wrote if this ends well: then it is there to stay."""
        try:
            yield
            for flush in self._waiting.get(session, []):
                flush()
        finally:
            self._waiting.pop(session, None)

    def add_instance(
        self, instance_id: str, before: str, after: str, *, session: Session | None
    ) -> None:
        """Return that an instance is in another state."""
        self._add(lambda: _log_instance(instance_id, before, after), session)

    def add_operation(
        self, operation: Operation, before: str | None, *, session: Session | None = None
    ) -> None:
        """Return that an operation, as it is now, was something else before; None: it is new."""
        self._add(lambda: self._log_operation(operation, before), session)

    def _add(self, flush: Callable[[], None], session: Session | None) -> None:
        if session is None:
            flush()
        elif session in self._waiting:
            self._waiting[session].append(flush)

    def _log_operation(self, operation: Operation, before: str | None) -> None:
        status = operation["status"]
        if status in ENDED and self._note_operation is not None:
            took_s = (operation["updated_at"] - operation["created_at"]).total_seconds()
            copied = operation["transfer"]["bytes_copied"] if "transfer" in operation else None
            self._note_operation(operation["kind"], status, took_s, copied)
        log.info(
            "operation.moved",
            extra={
                "operation_id": operation["_id"],
                "kind": operation["kind"],
                "instance_id": operation["instance_id"],
                "node_id": operation["node_id"],
                "from": before,
                "to": status,
                "attempts": operation["attempts"],
                "error": operation["error"],
                # Who moves it may be another request, or a worker.
                "requested_in": operation["request_id"],
            },
        )


def _log_instance(instance_id: str, before: str, after: str) -> None:
    log.info("instance.moved", extra={"instance_id": instance_id, "from": before, "to": after})
