"""Instance endpoints."""

from collections.abc import Mapping
from contextlib import suppress
from functools import partial

from flask import Response

from service import deletions, instances, keys, listings, operations, order_checks
from service.api import lists
from service.api.audit_trail import record_change
from service.api.blueprint import ALWAYS, WITH_BODY, Blueprint
from service.api.call import caller, current_call, is_owner, origin, store
from service.api.context import app_context
from service.api.encoding import json_answer
from service.api.etags import read_precondition
from service.api.keeping import find_keep_s
from service.api.waiting import wait_for, wait_for_phase
from service.contract.base import ReadyQuery
from service.contract.deploys import Deploy, DeployedAnswer, DeployPlan, TakenOn
from service.contract.dry_run import PLANNED_DEPLOY, DryRunQuery
from service.contract.fields import OPERATION_ID
from service.contract.instance_deletions import Delete, DeletedAnswer, DeletionQuery
from service.contract.instances import (
    InstanceAnswer,
    InstanceOnNode,
    InstancePathRef,
    InstancePlan,
    InstanceRef,
    UserRef,
)
from service.contract.list_queries import InstancesQuery
from service.dry_run import try_out
from service.errors import (
    CapacityExceeded,
    InstanceNotReady,
    InstanceSuspended,
    InvalidInput,
    NodeFailure,
    NodeOffline,
    NoNodeFits,
    NotFound,
    PortTaken,
)
from service.model.documents import Instance, Node, Operation
from service.model.lifecycle import OperationKind
from service.model.listing import Listing
from service.model.orders import Deletion, DeletionWish, Order, ReadyWish

blueprint = Blueprint(
    "instances", __name__, url_prefix="/api", description="Containers that run on nodes."
)


def check_order(order: Order) -> None:
    """Check what is well formed of an order. Raises InvalidInput."""
    order_checks.check_order(
        store(),
        order,
        allow_any_image=app_context().config.allow_any_image,
        may_edit_all=not is_owner(),
    )


def prepare_deploy(order: Order) -> partial[tuple[Instance, Operation]]:
    """Make the call that deploys an instance in a store, as the request's key may."""
    return partial(
        instances.deploy,
        order=order,
        allow_any_image=app_context().config.allow_any_image,
        may_edit_all=not is_owner(),
        origin=origin(),
    )


def plan_deploy(order: Order) -> Instance:
    """Return what a deploy would make now, without an id: there is none."""
    instance, _ = try_out(store(), prepare_deploy(order))
    return {**instance, "_id": ""}


def show_plan(instance: Instance) -> InstancePlan:
    """Complete the answer of an instance that is only as it would be."""
    return {**_add_nodes([instance])[0], "dry_run": True}


@blueprint.get("/instances")
@blueprint.needs("instances:read")
@blueprint.arguments(InstancesQuery, location="query")
@blueprint.answers(
    200, InstanceAnswer, 400, *ALWAYS, many=True, etag=True, description="All instances."
)
def list_instances(listing: Listing) -> Response:
    """List all instances, but for those that are deleted and kept, or only these."""
    return lists.answer_instances(
        InstanceAnswer,
        listings.choose_instances(store(), listing),
        listings.find_references(store(), listing),
        store().nodes,
        for_owner=is_owner(),
    )


@blueprint.post("/getInstance")
@blueprint.needs("instances:read")
@blueprint.arguments(InstanceRef)
@blueprint.answers(200, InstanceAnswer, *WITH_BODY, *ALWAYS, description="The instance.")
def look_up_instance(reference: str) -> InstanceOnNode:
    """Get one instance by its id or its container's. An unknown one is a 400."""
    return join_nodes([store().instances.get_by_reference(reference)])[0]


@blueprint.post("/getUserInstance")
@blueprint.needs("instances:read")
@blueprint.arguments(UserRef)
@blueprint.answers(
    200,
    InstanceAnswer,
    *WITH_BODY,
    *ALWAYS,
    many=True,
    description="The user's instances.",
)
def list_user_instances(user_id: str) -> list[InstanceOnNode]:
    """List the instances of one user. An unknown user is a 400.

    For a key without `users:read` an unknown user has no instances, which reveals nothing.
    """
    found = store().instances.list_owned(user_id)
    if not found and keys.access_of(caller()).may("users:read"):
        store().users.get(user_id, field="userId")  # who has instances exists
    return join_nodes(found)


@blueprint.post("/instances/deploy")
@blueprint.needs("instances:deploy", changes="instance", can_be_dry=True)
@blueprint.arguments(Deploy, check=check_order)
@blueprint.arguments(DryRunQuery, location="query")
@blueprint.alt_response(200, **PLANNED_DEPLOY)
@blueprint.answers(
    201,
    DeployedAnswer,
    *WITH_BODY,
    *ALWAYS,
    PortTaken,
    CapacityExceeded,
    NoNodeFits,
    NodeOffline,
    description="The instance is stored. Its container follows.",
)
def deploy_instance(order: Order, wish: ReadyWish) -> TakenOn | Response:
    """Deploy an instance.

    409 when a host port is taken or the node has not enough capacity left; 500 with the code
    `node_offline` when the node is down and `queue` is not true. With the `nodeId` `auto` a node
    is chosen that has room, or else it is 409 with the code `no_node_fits`. Poll `InternalState`
    until it is READY or FAILED, or use `wait`: a deployment that failed is a 201 with its `error`.
    """
    if current_call().is_dry:
        plan = plan_deploy(order)
        tried: DeployPlan = {**plan, "operation_id": "", "dry_run": True, "plan": show_plan(plan)}
        return json_answer(DeployedAnswer.shape(tried), 200)
    instance, operation = prepare_deploy(order)(store())
    record_change(instance)
    ended = wait_for(operation, wish["wait"] or 0)
    return {**record_latest(instance, wish), "operation_id": ended["_id"]}


@blueprint.delete("/instance/delete")
@blueprint.needs("instances:write", changes="instance", named_by="id")
@blueprint.arguments(Delete)
@blueprint.arguments(DeletionQuery, location="query")
@blueprint.answers(
    201,
    DeletedAnswer,
    *WITH_BODY,
    *ALWAYS,
    NodeFailure,
    description="Deleted with its container, volume and ports, or being deleted (`state` "
    "DELETING).",
)
def delete_instance(ref: Deletion, wish: DeletionWish) -> Operation:
    """Delete an instance, whatever its state, and wait some seconds for its node to do it.

    While the node is down the deletion waits for it; `force` forgets the instance at once. With
    `keep` it is stopped and hidden, and can be restored for so long.
    """
    keep_s = find_keep_s(wish["keep_s"], force=ref["force"])
    if ref["force"]:
        operation = instances.delete_by_force(store(), ref["id"], origin=origin())
        record_change(None)
        return operation
    operation = instances.delete(store(), ref["id"], keep_s=keep_s, origin=origin())
    return finish_deletion(operation, wish["wait"])


@blueprint.post("/instances/suspend/<instance_id>")
@blueprint.needs("instances:write", changes="instance")
@blueprint.arguments(InstancePathRef, required=False)
@blueprint.arguments(ReadyQuery, location="query")
@blueprint.answers(
    200,
    InstanceAnswer,
    *WITH_BODY,
    *ALWAYS,
    412,
    NodeFailure,
    example={"suspended": True, "power": "stopped", "operationId": OPERATION_ID},
    description="The suspended instance.",
)
def suspend_instance(same_id: str | None, wish: ReadyWish, instance_id: str) -> InstanceOnNode:
    """Stop an instance and keep it stopped. Repeating it is harmless."""
    _check_same(same_id, instance_id)
    changed = instances.suspend(store(), instance_id, only_if=read_precondition(), origin=origin())
    return _outcome(*changed, wish)


@blueprint.post("/instances/unsuspend/<instance_id>")
@blueprint.needs("instances:write", changes="instance")
@blueprint.arguments(InstancePathRef, required=False)
@blueprint.arguments(ReadyQuery, location="query")
@blueprint.answers(
    200,
    InstanceAnswer,
    *WITH_BODY,
    *ALWAYS,
    412,
    NodeFailure,
    example={"operationId": OPERATION_ID},
    description="The unsuspended instance.",
)
def unsuspend_instance(same_id: str | None, wish: ReadyWish, instance_id: str) -> InstanceOnNode:
    """Allow an instance to run again, and start it. Repeating it is harmless."""
    _check_same(same_id, instance_id)
    changed = instances.unsuspend(
        store(), instance_id, only_if=read_precondition(), origin=origin()
    )
    return _outcome(*changed, wish)


def _add_power_endpoint(kind: OperationKind, summary: str) -> None:
    @blueprint.post(f"/instances/<instance_id>/{kind}", endpoint=f"{kind}_instance")
    @blueprint.needs("instances:write", changes="instance")
    @blueprint.doc(summary=summary, description=_POWER)
    @blueprint.arguments(InstancePathRef, required=False)
    @blueprint.arguments(ReadyQuery, location="query")
    @blueprint.answers(
        200,
        InstanceAnswer,
        *WITH_BODY,
        *ALWAYS,
        412,
        InstanceNotReady,
        InstanceSuspended,
        NodeOffline,
        example={"operationId": OPERATION_ID},
        description="The instance, and the operation that does it.",
    )
    def change_power(same_id: str | None, wish: ReadyWish, instance_id: str) -> InstanceOnNode:
        _check_same(same_id, instance_id)
        changed = instances.change_power(
            store(), instance_id, kind, only_if=read_precondition(), origin=origin()
        )
        return _outcome(*changed, wish)


_POWER = """409 for an instance that is not READY, and for a suspended one that should start; 500
with the code `node_offline` when its node is down."""

_add_power_endpoint(OperationKind.START, "Start an instance.")
_add_power_endpoint(OperationKind.STOP, "Stop an instance, by its image's StopCommand first.")
_add_power_endpoint(OperationKind.RESTART, "Stop an instance, and start it.")
_add_power_endpoint(OperationKind.KILL, "Stop an instance at once.")


def record_latest(instance: Instance, wish: ReadyWish) -> Instance:
    """Read how the instance is after the wait, for the answer and the audit log.

    Where that is wished for, once its program is ready. By now it may be deleted; then what was
    wanted of it is the last that is known.
    """
    latest = store().instances.find(instance["_id"]) or instance
    with suppress(NotFound):
        latest = wait_for_phase(latest, wish)
    record_change(latest)
    return latest


def finish_deletion(operation: Operation, wait: float | None) -> Operation:
    """Wait for a deletion, and report what became of the instance. Raises NodeFailure.

    One that is kept is deleted, also where its container could not be stopped as yet.
    """
    operation = wait_for(operation, wait)
    record_change(deletions.find(store(), operation["instance_id"]))
    is_kept = operation["kind"] == OperationKind.KEEP
    return operation if is_kept else operations.require_success(operation)


def _add_nodes(documents: list[Instance]) -> list[InstanceOnNode]:
    """Add the nodes, as they are, to what is answered of instances."""
    nodes = store().nodes.list_by_ids({document["node_id"] for document in documents})
    return _join(documents, {node["_id"]: node for node in nodes})


def _check_same(same_id: str | None, instance_id: str) -> None:
    if same_id not in (None, instance_id):
        raise InvalidInput("Two ids are given.", id=["Must be the id in the path, or absent."])


def _outcome(instance: Instance, operation: Operation | None, wish: ReadyWish) -> InstanceOnNode:
    record_change(instance)
    if operation is None:
        return _add_nodes([instance])[0]
    ended = wait_for(operation, wish["wait"])
    latest = record_latest(instance, wish)
    operations.require_success(ended)
    return {**_add_nodes([latest])[0], "operation_id": operation["_id"]}


def join_nodes(documents: list[Instance]) -> list[InstanceOnNode]:
    return _join(documents, store().nodes.find_known({each["node_id"] for each in documents}))


def _join(documents: list[Instance], nodes: Mapping[str, Node]) -> list[InstanceOnNode]:
    for_owner = is_owner()
    return [
        {
            **document,
            "node": nodes.get(document["node_id"]),
            "operation_id": None,
            "for_owner": for_owner,
        }
        for document in documents
    ]
