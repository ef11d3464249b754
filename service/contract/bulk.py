"""Bulk operations on the wire."""

from collections.abc import Mapping
from operator import methodcaller
from typing import Any

import marshmallow as ma

from service.contract import answers, fields
from service.contract.answers import Answer
from service.contract.base import StrictRequest
from service.contract.instance_deletions import keeping
from service.contract.users import AddUser
from service.model.documents import Bulk, BulkItem
from service.model.lifecycle import BulkKind, OperationStatus
from service.model.orders import BulkOrder

MOST_ITEMS = 500


class BulkInstance(StrictRequest[dict[str, str]]):
    """An instance of a bulk operation."""

    id = fields.text(
        longest=128, description="The instance's id or its container's.", sample=fields.INSTANCE_ID
    )


class Items(ma.fields.List[Any]):
    """The items, which are new users or instances, as the kind says."""

    def __init__(self, **options: Any) -> None:
        alternatives = {"alternatives": (BulkInstance, AddUser)}
        super().__init__(ma.fields.Raw(metadata=alternatives), **options)

    def _deserialize(
        self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any
    ) -> list[Any]:
        if not isinstance(value, list):
            raise self.make_error("invalid")
        kind = (data or {}).get("kind")
        schema = AddUser() if kind == BulkKind.CREATE_USERS else BulkInstance()
        return schema.load(value[: MOST_ITEMS + 1], many=True)  # type: ignore[return-value]


class StartBulk(StrictRequest[BulkOrder]):
    """What is done to many items."""

    kind = ma.fields.Enum(
        BulkKind,
        by_value=True,
        required=True,
        metadata=fields.describe("What is done to each item.", "restart"),
    )
    items = Items(
        required=True,
        validate=ma.validate.Length(min=1, max=MOST_ITEMS),
        metadata=fields.describe(
            "Instances by `id`, each once. For `create_users`: users, as for `POST /api/users`.",
            [fields.make_example(BulkInstance)],
        ),
    )

    keep_s = keeping()

    @ma.validates_schema
    def check_keep(self, loaded: dict[str, Any], **kwargs: Any) -> None:
        """Refuse a time where nothing is deleted."""
        if loaded["keep_s"] is not None and loaded["kind"] != BulkKind.DELETE:
            raise ma.ValidationError("Goes with the kind `delete` only.", "keep")

    @ma.post_load
    def part(self, loaded: dict[str, Any], **kwargs: Any) -> BulkOrder:
        """Say what the items are."""
        kind, items = loaded["kind"], loaded["items"]
        if kind == BulkKind.CREATE_USERS:
            return BulkOrder(kind=kind, instances=[], users=items)
        return BulkOrder(
            kind=kind,
            instances=[item["id"] for item in items],
            users=[],
            keep_s=loaded["keep_s"],
        )


class BulkItemAnswer(Answer[BulkItem]):
    """What became of one item."""

    id = answers.text(
        fields.INSTANCE_ID, description="The instance's, or the one that the user gets."
    )
    status = answers.choice(
        OperationStatus, "failed", description="pending: not begun; running: its operation is open."
    )
    operationId = answers.text(
        None,
        of="operation_id",
        null=True,
        description="Of the item's own operation; null: there was nothing to do on a node.",
    )
    code = answers.text("instance_suspended", null=True, description="Of the error.")
    error = answers.text("The instance is suspended, so it may not run.", null=True)


class BulkAnswer(Answer[Bulk]):
    """What a bulk operation does to its items, and how far it is."""

    kind = answers.choice(BulkKind, "restart")
    total = answers.integer(1, description="How many items there are.")
    ended = answers.integer(1, description="How many of them have ended.")
    failed = answers.integer(1, description="How many of these failed.")
    items = answers.many(
        BulkItemAnswer,
        of=methodcaller("get", "items"),
        optional=True,
        description="In the order in which they were sent; absent in lists.",
    )
