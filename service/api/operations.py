"""Operation endpoints: what is done on nodes, and how far it is."""

from flask import Response

from service import listings, operations
from service.api import lists
from service.api.audit_trail import add_facts, record_change
from service.api.blueprint import ALWAYS, Blueprint
from service.api.call import claim, origin, store
from service.api.context import now
from service.api.etags import read_precondition
from service.api.waiting import wait_for
from service.contract.base import WaitQuery
from service.contract.fields import WHEN
from service.contract.list_queries import OperationsQuery
from service.contract.operations import OperationAnswer
from service.errors import WrongStatus
from service.model.documents import Operation
from service.model.listing import Listing

blueprint = Blueprint(
    "operations",
    __name__,
    url_prefix="/api",
    description="Work on nodes, and its progress.",
)


@blueprint.get("/operations")
@blueprint.needs("instances:read")
@blueprint.arguments(OperationsQuery, location="query")
@blueprint.answers(
    200,
    OperationAnswer,
    400,
    *ALWAYS,
    many=True,
    etag=True,
    description="The operations, newest first.",
)
def list_operations(listing: Listing) -> Response:
    """List operations, the 100 newest first. Those that ended are kept for some weeks."""
    return lists.answer_page(
        OperationAnswer, store().operations, listings.find_references(store(), listing)
    )


@blueprint.get("/operations/<operation_id>")
@blueprint.needs("instances:read")
@blueprint.arguments(WaitQuery, location="query")
@blueprint.answers(200, OperationAnswer, 400, *ALWAYS, etag=True, description="The operation.")
def get_operation(wait: float | None, operation_id: str) -> Operation:
    """Get one operation, with `wait` once it has ended or that time is over. 400 if unknown."""
    return wait_for(store().operations.get(operation_id), wait or 0)


@blueprint.post("/operations/<operation_id>/retry")
@blueprint.needs("instances:write", changes="operation")
@blueprint.answers(
    200,
    OperationAnswer,
    400,
    *ALWAYS,
    WrongStatus,
    description="The same operation when it was pending, otherwise a new one.",
)
def retry_operation(operation_id: str) -> Operation:
    """Retry a pending operation at once, or repeat one that failed or was cancelled.

    409 when it runs, succeeded, or is no longer wanted.
    """
    operation = operations.retry(store(), operation_id, origin=origin())
    add_facts(retriedBy=operation["_id"])
    return operation


@blueprint.post("/operations/<operation_id>/cancel")
@blueprint.needs("instances:write", changes="operation")
@blueprint.answers(
    200,
    OperationAnswer,
    400,
    412,
    *ALWAYS,
    WrongStatus,
    example={"status": "cancelled", "nextAttemptAt": None, "endedAt": WHEN},
    description="The operation, which has ended, or ends before its next step or in its pull.",
)
def cancel_operation(operation_id: str) -> Operation:
    """Cancel a deployment, a start, a stop and the like.

    An instance whose deployment is cancelled is FAILED. 409 when it has ended, and for deletions
    and suspensions: request the opposite.
    """
    operation = operations.cancel(
        store(), operation_id, only_if=read_precondition(), now=now(), claim=claim()
    )
    record_change(operation)
    return operation
