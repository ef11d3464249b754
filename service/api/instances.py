"""Doors to instances."""

from typing import Any

from service import instances, operations
from service.api import examples, wire
from service.api.blueprint import ALWAYS, WITH_BODY, Blueprint
from service.api.context import current, origin, store
from service.api.schemas import (
    DeletedAnswer,
    Deploy,
    DeployedAnswer,
    InstanceAnswer,
    InstancePathRef,
    InstanceRef,
    UserRef,
)
from service.documents import Instance
from service.errors import InvalidInput

blueprint = Blueprint(
    "instances", __name__, url_prefix="/api", description="Containers that somebody wants."
)


@blueprint.get("/instances")
@blueprint.answers(
    200,
    InstanceAnswer(many=True),
    *ALWAYS,
    example=[examples.INSTANCE],
    description="All instances.",
)
def list_instances() -> list[wire.Json]:
    """List all instances."""
    return _shape(store().instances.list())


@blueprint.post("/getInstance")
@blueprint.arguments(InstanceRef, example={"id": examples.INSTANCE["Id"]})
@blueprint.answers(
    200,
    InstanceAnswer,
    *WITH_BODY,
    *ALWAYS,
    example=examples.INSTANCE,
    description="The instance.",
)
def get_instance(ref: dict[str, str]) -> wire.Json:
    """Get one instance by its id or its container's. An unknown one is a 400."""
    return _shape([store().instances.get_by_reference(ref["id"])])[0]


@blueprint.post("/getUserInstance")
@blueprint.arguments(UserRef, example={"userId": examples.USER["userId"]})
@blueprint.answers(
    200,
    InstanceAnswer(many=True),
    *WITH_BODY,
    *ALWAYS,
    example=[examples.INSTANCE],
    description="The user's instances.",
)
def get_user_instances(ref: dict[str, str]) -> list[wire.Json]:
    """List the instances of one user. An unknown user is a 400."""
    user = store().users.get(ref["user_id"], field="userId")
    return _shape(store().instances.list_owned(user["_id"]))


@blueprint.post("/instances/deploy")
@blueprint.arguments(Deploy, example=examples.DEPLOY)
@blueprint.answers(
    201,
    DeployedAnswer,
    *WITH_BODY,
    *ALWAYS,
    409,
    example=examples.DEPLOYED,
    description="The instance is taken on, and durable. Its container follows.",
)
def deploy(order: Any) -> tuple[wire.Json, int]:
    """Deploy an instance.

    409 when a host port is taken on the node or its memory does not suffice; 500 with the code
    `node_offline` when the node is down. Look at `InternalState` until it is READY or FAILED.
    """
    here = current()
    instance, operation = instances.deploy(
        here.store, order, allow_any_image=here.config.allow_any_image, **origin()
    )
    return wire.deployed(instance, operation), 201


@blueprint.delete("/instance/delete")
@blueprint.arguments(InstanceRef, example={"id": examples.INSTANCE["Id"]})
@blueprint.answers(
    201,
    DeletedAnswer,
    *WITH_BODY,
    *ALWAYS,
    example=examples.DELETED,
    description="Gone with its container, volume and ports, or going (`state` DELETING).",
)
def delete_instance(ref: dict[str, str]) -> tuple[wire.Json, int]:
    """Delete an instance, whatever its state, and wait some seconds for its node to do it."""
    here = current()
    operation = instances.delete(here.store, ref["id"], **origin())
    ended = operations.wait(here.store, operation, timeout_s=here.config.wait_s)
    return wire.deleted(ended), 201


@blueprint.post("/instances/suspend/<instance_id>")
@blueprint.arguments(InstancePathRef, required=False, example={})
@blueprint.answers(
    200,
    InstanceAnswer,
    *WITH_BODY,
    *ALWAYS,
    example=examples.SUSPENDED,
    description="The instance, which is kept from running.",
)
def suspend(ref: dict[str, Any], instance_id: str) -> wire.Json:
    """Stop an instance and keep it stopped. Repeating it is harmless."""
    return _set_suspended(instance_id, ref, suspended=True)


@blueprint.post("/instances/unsuspend/<instance_id>")
@blueprint.arguments(InstancePathRef, required=False, example={})
@blueprint.answers(
    200,
    InstanceAnswer,
    *WITH_BODY,
    *ALWAYS,
    example=examples.UNSUSPENDED,
    description="The instance, which runs again.",
)
def unsuspend(ref: dict[str, Any], instance_id: str) -> wire.Json:
    """Let an instance run again, and start it. Repeating it is harmless."""
    return _set_suspended(instance_id, ref, suspended=False)


def _set_suspended(instance_id: str, ref: dict[str, Any], *, suspended: bool) -> wire.Json:
    if ref["id"] not in (None, instance_id):
        raise InvalidInput("Two ids are given.", id=["Must be the id in the path, or absent."])
    here = current()
    instance, operation = instances.set_suspended(here.store, instance_id, suspended, **origin())
    if operation is None:
        return _shape([instance])[0]
    operations.wait(here.store, operation, timeout_s=here.config.wait_s)
    # By now it may be deleted; then what was wanted of it is the last that is known.
    after = here.store.instances.find(instance["_id"]) or instance
    return {**_shape([after])[0], "operationId": operation["_id"]}


def _shape(documents: list[Instance]) -> list[wire.Json]:
    nodes = store().nodes.list_by_ids({document["node_id"] for document in documents})
    by_id = {node["_id"]: node for node in nodes}
    return [wire.instance(document, by_id.get(document["node_id"])) for document in documents]
