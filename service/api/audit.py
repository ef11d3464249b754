"""The audit log endpoint."""

from typing import Any

from service.api.blueprint import ALWAYS, Blueprint
from service.api.call import store
from service.contract import examples, wire
from service.contract.audit import AuditAnswer, AuditQuery

blueprint = Blueprint("audit", __name__, url_prefix="/api/audit", description="Who changed what.")


@blueprint.get("")
@blueprint.needs("audit:read")
@blueprint.arguments(AuditQuery, location="query")
@blueprint.answers(
    200, AuditAnswer, 400, *ALWAYS, example=examples.AUDIT, description="The entries."
)
def list_entries(query: Any) -> wire.Json:
    """List changes and rejected requests, newest first. They are kept for a year by default.

    Rejected requests have one entry for each key, address, action and hour, with their `count`.
    """
    limit, since, until = query.pop("limit"), query.pop("since"), query.pop("until")
    before = query.pop("cursor")
    entries = store().audit.list_newest(
        {name: value for name, value in query.items() if value is not None},
        since=since,
        until=until,
        before=before,
        limit=limit,
    )
    return wire.audit(entries, more=len(entries) == limit)
