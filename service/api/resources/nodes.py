"""Nodes by address."""

from service import node_edits, nodes, port_choice
from service.api.audit_trail import add_facts, record_change
from service.api.blueprint import ALWAYS, NO_CONTENT, WITH_BODY
from service.api.call import is_owner, store
from service.api.context import app_context, now
from service.api.etags import read_precondition
from service.api.nodes import add, blueprint, check_order
from service.api.waiting import calling_a_node
from service.contract.base import NoContent
from service.contract.free_ports import FreePortsAnswer, FreePortsQuery
from service.contract.node_orders import AddNode, EditNode
from service.contract.node_removal import ForceQuery
from service.contract.nodes import NEW, AddedNodeAnswer, NewNode, NodeAnswer, hide_management
from service.model.documents import Node
from service.model.orders import NodeChanges, NodeOrder, PortsWish


@blueprint.post("")
@blueprint.needs("nodes:write", changes="node")
@blueprint.arguments(AddNode, check=check_order)
@blueprint.answers(
    201,
    AddedNodeAnswer,
    *WITH_BODY,
    *ALWAYS,
    409,
    location="/api/nodes/{_id}",
    example=NEW,
    description="The node was added.",
)
def add_node(order: NodeOrder) -> NewNode:
    """Add a node, as `POST /api/nodes/create` does.

    No node is called `auto`, which stands for whichever node fits.
    """
    return add(order)


@blueprint.get("/<node_id>")
@blueprint.needs("nodes:read")
@blueprint.answers(200, NodeAnswer, 400, *ALWAYS, 404, etag=True, description="The node.")
def get_node(node_id: str) -> Node:
    """Get one node, by id or by name. 400 with the code `ambiguous_name` for that of several."""
    node = store().nodes.get_by_reference(node_id)
    return hide_management(node) if is_owner() else node


def _check(changes: NodeChanges, node_id: str) -> None:
    with calling_a_node():  # its new name is looked up
        node_edits.check(store(), node_id, changes, policy=app_context().node_policy)


@blueprint.patch("/<node_id>")
@blueprint.needs("nodes:write", changes="node")
@blueprint.arguments(EditNode, check=_check, required=False)
@blueprint.answers(
    200,
    NodeAnswer,
    *WITH_BODY,
    *ALWAYS,
    404,
    409,
    412,
    description="The node, as it is now.",
)
def edit_node(changes: NodeChanges, node_id: str) -> Node:
    """Change what is said of a node, how much it may give away, and where it is called.

    What is absent stays as it is (RFC 7396). With a new `address` or `port` it must answer there
    first: 500 otherwise, and 409 with the code `different_engine` where that is another engine.
    `expectEngine` names the engine of new hardware, which is asked even where the address stays.
    Addresses are refused as for a new node. Less capacity than was promised takes nothing back.
    """
    ctx = app_context()
    with calling_a_node() as open_driver:
        node = node_edits.edit(
            store(),
            open_driver,
            node_id,
            changes,
            policy=ctx.node_policy,
            only_if=read_precondition(),
            now=now(),
        )
    record_change(node)
    return node


@blueprint.delete("/<node_id>")
@blueprint.needs("nodes:write", changes="node")
@blueprint.arguments(ForceQuery, location="query")
@blueprint.answers(
    NO_CONTENT, NoContent, 400, *ALWAYS, 404, 409, 412, description="The node is gone."
)
def remove_node(force: bool, node_id: str) -> None:
    """Delete a node. 409 with their number while instances live on it.

    With `force` they are forgotten too, for a node that never returns; containers that still run on
    it are left alone.
    """
    forgotten = nodes.delete(store(), node_id, force=force, only_if=read_precondition(), now=now())
    record_change(None)
    add_facts(instancesForgotten=forgotten)


@blueprint.get("/<node_id>/ports/free")
@blueprint.needs("nodes:read")
@blueprint.arguments(FreePortsQuery, location="query")
@blueprint.answers(
    200, FreePortsAnswer, 400, *ALWAYS, 404, 409, description="Free ports, lowest first."
)
def list_free_ports(wish: PortsWish, node_id: str) -> list[int]:
    """List host ports of a node's `portRange` that no instance holds.

    They are held for nobody: to have one, deploy with `auto`. 409 with the code `no_ports`
    when there are not as many.
    """
    node = store().nodes.get_by_reference(node_id)
    return port_choice.list_free(store(), node, **wish, now=now())
