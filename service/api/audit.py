"""The audit log endpoint."""

from service.api.blueprint import ALWAYS, Blueprint
from service.api.call import store
from service.contract.audit import AuditAnswer, AuditPage, AuditQuery
from service.model.orders import AuditSearch

blueprint = Blueprint("audit", __name__, url_prefix="/api/audit", description="Who changed what.")


@blueprint.get("")
@blueprint.needs("audit:read")
@blueprint.arguments(AuditQuery, location="query")
@blueprint.answers(200, AuditAnswer, 400, *ALWAYS, description="The entries.")
def list_audit_entries(search: AuditSearch) -> AuditPage:
    """List changes and rejected requests, newest first. They are kept for a year by default.

    Rejected requests have one entry for each key, user it acts for, address, action and hour, with
    their `count`.
    """
    entries = store().audit.list_newest(**search)
    return AuditPage(entries=entries, more=len(entries) == search["limit"])
