"""Instances by address."""

from flask import Response

from service import instances
from service.api.accepted import Accepted
from service.api.audit_trail import record_change
from service.api.blueprint import ALWAYS, NO_CONTENT, WITH_BODY
from service.api.call import current_call, is_owner, origin, store
from service.api.encoding import json_answer
from service.api.etags import read_precondition
from service.api.instances import (
    blueprint,
    check_order,
    finish_deletion,
    plan_deploy,
    prepare_deploy,
    record_latest,
    show_plan,
)
from service.api.keeping import find_keep_s
from service.api.waiting import wait_for, wait_for_phase, wait_for_state
from service.contract.base import NoContent, StateQuery
from service.contract.deploys import AddInstance
from service.contract.dry_run import PLANNED_INSTANCE, DryRunQuery
from service.contract.instance_deletions import RemovalQuery
from service.contract.instances import InstanceAnswer, InstanceOnNode
from service.contract.operations import OperationAnswer
from service.model.documents import Instance
from service.model.lifecycle import ENDED
from service.model.orders import Order, ReadyWish, Removal, StateWish


@blueprint.post("/instances")
@blueprint.needs("instances:deploy", changes="instance", can_be_dry=True)
@blueprint.arguments(AddInstance, check=check_order)
@blueprint.arguments(DryRunQuery, location="query")
@blueprint.alt_response(200, **PLANNED_INSTANCE)
@blueprint.answers(
    201,
    InstanceAnswer,
    *WITH_BODY,
    *ALWAYS,
    409,
    location="/api/instances/{_id}",
    accepted=InstanceAnswer,
    description="The deployment has ended: `InternalState` is READY, or FAILED with its `error`.",
)
def add_instance(order: Order, wish: ReadyWish) -> InstanceOnNode | Accepted | Response:
    """Deploy an instance. 202 while its operation runs, and 201 if it ends within `wait`.

    Either way the instance is stored, and is deployed whatever crashes. 409 when a host port or the
    `externalId` is taken, or the node has not enough capacity left; 500 with the code
    `node_offline` when the node is down and `queue` is not true. Without a `nodeId` a node is
    chosen that has room, or else it is 409 with the code `no_node_fits`.
    """
    if current_call().is_dry:
        return json_answer(InstanceAnswer.shape(show_plan(plan_deploy(order))), 200)
    instance, operation = prepare_deploy(order)(store())
    record_change(instance)
    ended = wait_for(operation, wish["wait"] or 0)
    answered = add_node(record_latest(instance, wish), operation["_id"])
    return answered if ended["status"] in ENDED else Accepted(operation["_id"], answered)


@blueprint.get("/instances/<instance_id>")
@blueprint.needs("instances:read")
@blueprint.arguments(StateQuery, location="query")
@blueprint.answers(200, InstanceAnswer, *ALWAYS, 404, etag=True, description="The instance.")
def get_instance(wish: StateWish, instance_id: str) -> InstanceOnNode:
    """Get one instance by its id or its container's; with `wait`, once nothing is under way.

    `?wait=30&until=READY` answers when it is READY, when it FAILED, or after 30 s;
    `?wait=30&untilPhase=ready` when its program is ready, or it is known that it will not be.
    """
    if wish["deleted"]:
        return add_node(store().deleted.get_by_reference(instance_id), None)
    instance = store().instances.get_by_reference(instance_id)
    return add_node(wait_for_phase(wait_for_state(instance, wish), wish), None)


@blueprint.delete("/instances/<instance_id>")
@blueprint.needs("instances:write", changes="instance")
@blueprint.arguments(RemovalQuery, location="query")
@blueprint.answers(
    NO_CONTENT,
    NoContent,
    400,
    *ALWAYS,
    404,
    412,
    accepted=OperationAnswer,
    description="It is gone, with its container, volume and ports; or it is stopped, and kept.",
)
def remove_instance(removal: Removal, instance_id: str) -> Accepted | None:
    """Delete an instance, whatever its state, and wait some seconds for its node to do it.

    202 while its operation runs: the deletion waits for a node that is down. `force` forgets the
    instance at once, for a node that may never return; what is left there goes when it answers.
    With `keep` it is stopped and hidden, and can be restored for so long; one that is kept already
    is removed with `keep=0`.
    """
    keep_s = find_keep_s(removal["keep_s"], force=removal["force"])
    only_if, by = read_precondition(), origin()
    if removal["force"]:
        instances.delete_by_force(store(), instance_id, purges=True, only_if=only_if, origin=by)
        record_change(None)
        return None
    operation = instances.delete(
        store(), instance_id, keep_s=keep_s, purges=True, only_if=only_if, origin=by
    )
    operation = finish_deletion(operation, removal["wait"])
    return None if operation["status"] in ENDED else Accepted(operation["_id"], operation)


def add_node(instance: Instance, operation_id: str | None) -> InstanceOnNode:
    """Complete the answer of an instance."""
    nodes = store().nodes.find_known({instance["node_id"]})
    return {
        **instance,
        "node": nodes.get(instance["node_id"]),
        "operation_id": operation_id,
        "for_owner": is_owner(),
    }
