"""The audit log endpoint."""

from flask import Response

from service.api.blueprint import ALWAYS, Blueprint
from service.api.call import store
from service.api.encoding import json_answer
from service.api.pages import link_next
from service.contract.audit import AuditAnswer, AuditPage, AuditQuery
from service.model.orders import AuditSearch

blueprint = Blueprint("audit", __name__, url_prefix="/api/audit", description="Who changed what.")


@blueprint.get("")
@blueprint.needs("audit:read")
@blueprint.arguments(AuditQuery, location="query")
@blueprint.answers(200, AuditAnswer, 400, *ALWAYS, description="The entries.")
def list_audit_entries(search: AuditSearch) -> Response:
    """List changes and rejected requests, newest first. They are kept for a year by default.

    Rejected requests have one entry for each key, user it acts for, address, action and hour, with
    their `count`. The next page is in `Link` too.
    """
    entries = store().audit.list_newest(**search)
    page = AuditPage(entries=entries, more=len(entries) == search["limit"])
    answer = json_answer(AuditAnswer.shape(page), 200)
    if page["more"]:
        answer.headers["Link"] = link_next(entries[-1]["_id"])
    return answer
