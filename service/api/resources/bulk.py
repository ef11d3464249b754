"""The same done to many items, as one operation to watch."""

from service import bulk
from service.api.audit_trail import add_facts, record_change
from service.api.blueprint import ALWAYS, WITH_BODY
from service.api.call import caller, origin, store
from service.api.context import app_context
from service.api.keeping import find_keep_s
from service.api.operations import blueprint
from service.contract.bulk import BulkAnswer, StartBulk
from service.contract.fields import make_example
from service.contract.operations import OperationAnswer
from service.model.documents import Operation
from service.model.lifecycle import BulkKind
from service.model.orders import BulkOrder


@blueprint.post("/bulk")
@blueprint.needs(None, changes="operation")
@blueprint.arguments(StartBulk)
@blueprint.answers(
    202,
    OperationAnswer,
    *WITH_BODY,
    *ALWAYS,
    location="/api/operations/{_id}",
    example={
        "kind": "bulk",
        "instanceId": None,
        "nodeId": None,
        "bulk": make_example(BulkAnswer),
    },
    description="The operation that does it; `bulk.items` has what becomes of each item.",
)
def start_bulk_operation(order: BulkOrder) -> Operation:
    """Do the same to up to 500 instances, or add up to 500 users.

    It needs the scope of the single requests: `users:write` for `create_users`, else
    `instances:write`. Each item is done as by its single request, and one that fails stops no
    other. Watch the operation with `GET /api/operations/{operation_id}?wait=`; cancelling it ends
    what has not begun.
    """
    if order["kind"] == BulkKind.DELETE:
        order = {**order, "keep_s": find_keep_s(order.get("keep_s"), force=False)}
    operation = bulk.begin(store(), app_context().vault, order, by=caller(), origin=origin())
    record_change(operation)
    add_facts(bulk={"kind": order["kind"], "total": operation["bulk"]["total"]})
    return operation
