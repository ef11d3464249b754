"""The items of bulk operations, which a worker that has claimed the operation writes down.

Every write is conditional on the lease's token and on what the items were, so that none is done
twice: the one that begins an item is part of the transaction that does it.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pymongo.collection import Collection as MongoCollection

from service.model.documents import BulkItem
from service.model.lifecycle import ENDED, OperationStatus
from service.store.collection import Session, translated
from service.store.due import CLAIM
from service.store.revised import RevisedCollection


class Bulks:
    """The items of all bulk operations."""

    def __init__(self, collection: MongoCollection[dict[str, Any]]) -> None:
        self._collection = RevisedCollection(collection)

    @translated
    def write_items(
        self,
        operation_id: str,
        token: str,
        items: Mapping[int, BulkItem],
        *,
        before: OperationStatus,
        unless_cancelled: bool = False,
        now: datetime,
        session: Session | None = None,
    ) -> bool:
        """Write what became of some items, by their places, which all were as `before` says.

        False, with nothing written, when one was not, when the lease is no longer ours, and
        `unless_cancelled` when that was asked for.
        """
        query = {
            "_id": operation_id,
            "status": OperationStatus.RUNNING,
            **CLAIM.held_by(token),
            **({"cancel_requested": False} if unless_cancelled else {}),
            **{f"bulk.items.{place}.status": before for place in items},
        }
        ended = [item for item in items.values() if item["status"] in ENDED]
        failed = [item for item in ended if item["status"] == OperationStatus.FAILED]
        changes = {
            "$set": {
                "bulk.changed_at": now,
                "updated_at": now,
                **{f"bulk.items.{place}": item for place, item in items.items()},
            },
            "$inc": {"bulk.ended": len(ended), "bulk.failed": len(failed)},
        }
        return self._collection.update_one(query, changes, session=session).matched_count == 1
