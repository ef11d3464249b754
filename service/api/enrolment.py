"""The enrolment endpoint for node daemons: a one-time key, no API key."""

from service import enrolment
from service.api.audit_trail import mark_rejected, record_change
from service.api.blueprint import OPEN, Blueprint
from service.api.call import current_call, store
from service.api.context import app_context, now
from service.contract.enrolment import Configure, MessageAnswer
from service.errors import InvalidInput
from service.model.orders import Enrolment

blueprint = Blueprint("enrolment", __name__, description="For the daemons of skyportd nodes.")


@blueprint.post("/nodes/configure")
@blueprint.opens(needs_database=True, changes="node")
@blueprint.arguments(Configure, location="query")
@blueprint.answers(
    200,
    MessageAnswer,
    400,
    *OPEN,
    description="The new key is used once the daemon accepts it.",
)
def configure_node(keys: Enrolment) -> str:
    """Enrol a daemon, as its own `configure` command does. Its keys are in the query.

    429 after too many wrong configure keys.
    """
    ctx = app_context()
    try:
        node = enrolment.enroll(store(), ctx.vault, **keys, now=now())
    except InvalidInput:
        mark_rejected()
        ctx.lockout.fail(current_call().network, now=now())
        raise
    record_change(node)
    return "Node configured successfully"
