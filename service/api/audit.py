"""The door to the record of changes."""

from typing import Any

from service import audit
from service.api import examples, wire
from service.api.blueprint import ALWAYS, Blueprint
from service.api.context import store
from service.api.schemas.audit import AuditAnswer, AuditQuery

blueprint = Blueprint("audit", __name__, url_prefix="/api/audit", description="Who changed what.")


@blueprint.get("")
@blueprint.needs("audit:read")
@blueprint.arguments(AuditQuery, location="query")
@blueprint.answers(
    200, AuditAnswer, 400, *ALWAYS, example=examples.AUDIT, description="The entries."
)
def list_entries(query: Any) -> wire.Json:
    """List changes and refused attempts, newest first. They are kept for a year by default."""
    limit, since, until = query.pop("limit"), query.pop("since"), query.pop("until")
    before = query.pop("cursor") or (audit.first_id(until) if until else None)
    entries = store().audit.list_newest(
        {name: value for name, value in query.items() if value is not None},
        since=audit.first_id(since) if since else None,
        before=before,
        limit=limit,
    )
    return wire.audit(entries, more=len(entries) == limit)
