"""Doors to nodes."""

from typing import Any

from service import nodes
from service.api import examples, wire
from service.api.blueprint import ALWAYS, WITH_BODY, Blueprint
from service.api.context import current, now, store
from service.api.schemas import CreatedNodeAnswer, CreateNode, MessageAnswer, NodeAnswer, NodeRef

blueprint = Blueprint(
    "nodes", __name__, url_prefix="/api/nodes", description="Machines that run instances."
)


@blueprint.get("")
@blueprint.answers(
    200, NodeAnswer(many=True), *ALWAYS, example=[examples.NODE], description="All nodes."
)
def list_nodes() -> list[wire.Json]:
    """List all nodes, with what their last probe found."""
    return [wire.node(node) for node in store().nodes.list()]


@blueprint.post("/create")
@blueprint.arguments(CreateNode, example=examples.CREATE_NODE)
@blueprint.answers(
    201,
    CreatedNodeAnswer,
    *WITH_BODY,
    *ALWAYS,
    example=examples.CREATED_NODE,
    description="The node was added.",
)
def create_node(order: Any) -> tuple[wire.Json, int]:
    """Add a node.

    A `docker` or `process` node is probed at once, and is Online or Offline; a `skyportd` node is
    Unconfigured until it is enrolled.
    """
    here = current()
    node = nodes.create(
        here.store, here.drivers, order, allow_process=here.config.allow_process, now=now()
    )
    return wire.created_node(node), 201


@blueprint.delete("/delete")
@blueprint.arguments(NodeRef, example={"nodeId": examples.NODE["id"]})
@blueprint.answers(
    201,
    MessageAnswer,
    *WITH_BODY,
    *ALWAYS,
    example={"message": "The node is deleted."},
    description="The node is gone.",
)
def delete_node(ref: dict[str, str]) -> tuple[wire.Json, int]:
    """Delete a node. 400 for an unknown one, and while instances live on it."""
    nodes.delete(store(), ref["node_id"])
    return {"message": "The node is deleted."}, 201
