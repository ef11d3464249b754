"""Deletions of instances that are undone."""

from service import deletions, rights
from service.api.accepted import Accepted
from service.api.blueprint import ALWAYS, WITH_BODY
from service.api.call import caller, current_call, origin, store
from service.api.etags import read_precondition
from service.api.instances import blueprint
from service.api.resources.instance_changes import answer_change
from service.contract.base import ReadyQuery
from service.contract.fields import OPERATION_ID
from service.contract.instance_deletions import Restore
from service.contract.instances import InstanceAnswer, InstanceOnNode
from service.model.orders import ReadyWish, Restoration


@blueprint.post("/instances/<instance_id>/restore")
@blueprint.needs("instances:write", changes="instance")
@blueprint.arguments(Restore, required=False)
@blueprint.arguments(ReadyQuery, location="query")
@blueprint.answers(
    200,
    InstanceAnswer,
    *WITH_BODY,
    *ALWAYS,
    404,
    409,
    412,
    accepted=InstanceAnswer,
    example={"operationId": OPERATION_ID},
    description="The instance, restored.",
)
def restore_instance(
    order: Restoration, wish: ReadyWish, instance_id: str
) -> InstanceOnNode | Accepted:
    """Undo the deletion of an instance that is kept. 202 while its operation runs.

    It runs afterwards if it did before, with all its files. It gets the host ports that it had; for
    those that are taken, and were `auto`, others are found. For other ones that are taken it is a
    409 `port_taken`, and nothing is changed: send `ports`, which needs `instances:deploy`.
    """
    if order:
        rights.require(caller(), "instances:deploy", acts_for=current_call().acts_for)
    restored = deletions.restore(
        store(), instance_id, order, only_if=read_precondition(), origin=origin()
    )
    return answer_change(*restored, wish)
