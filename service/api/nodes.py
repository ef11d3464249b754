"""Node endpoints."""

from flask import Response, request

from service import drift, enrolment, nodes
from service.api import lists
from service.api.audit_trail import add_facts, record_change
from service.api.blueprint import ALWAYS, WITH_BODY, Blueprint
from service.api.call import claim, is_owner, origin, store
from service.api.context import app_context, now
from service.api.etags import read_precondition
from service.api.waiting import calling_a_node
from service.contract.drift import ORPHAN_ID, DriftAnswer, ResolvedAnswer, ResolveDrift
from service.contract.enrolment import ConfigureKeyAnswer, OneTimeKey
from service.contract.list_queries import NodesQuery
from service.contract.node_orders import CreateNode
from service.contract.node_removal import DeletedNodeAnswer, ForceQuery, NodeRef
from service.contract.nodes import (
    NEW,
    CreatedNodeAnswer,
    NewNode,
    NodeAnswer,
    hide_management,
)
from service.contract.tls import NodeTls
from service.errors import NodeExists, NodeFailure, NodeNotEmpty, NodeOffline
from service.model.documents import Node
from service.model.drift import Drift, Resolved
from service.model.lifecycle import NodeStatus
from service.model.listing import Listing
from service.model.orders import NodeOrder, Resolution

blueprint = Blueprint(
    "nodes", __name__, url_prefix="/api/nodes", description="Machines that run instances."
)


def check_order(order: NodeOrder) -> None:
    """Check what is well formed of an order. Raises InvalidInput."""
    with calling_a_node():  # its name is looked up
        nodes.check(order, policy=app_context().node_policy)


@blueprint.get("")
@blueprint.needs("nodes:read")
@blueprint.arguments(NodesQuery, location="query")
@blueprint.answers(200, NodeAnswer, 400, *ALWAYS, many=True, etag=True, description="All nodes.")
def list_nodes(listing: Listing) -> Response:
    """List all nodes, with what their last probe found.

    Keys limited to a user or to instances see neither where nodes are called nor what ails them.
    """
    return lists.answer(
        NodeAnswer, store().nodes, listing, hide=hide_management if is_owner() else None
    )


@blueprint.post("/create")
@blueprint.needs("nodes:write", changes="node")
@blueprint.arguments(CreateNode, check=check_order)
@blueprint.answers(
    201,
    CreatedNodeAnswer,
    *WITH_BODY,
    *ALWAYS,
    NodeExists,
    NodeFailure,
    example=NEW,
    description="The node was added.",
)
def create_node(order: NodeOrder) -> NewNode:
    """Add a node.

    A `docker` or `process` node is probed at once, and is Online or Offline; a `skyportd` node is
    Unconfigured until its daemon enrols itself with the key that is answered, once; unless its
    `apiKey` is given. 409 with the code `node_exists` for the engine of another node, unless
    `allowSameEngine` is true. A Docker Engine that is not on the machine itself needs `tls`.
    Link-local, metadata and loopback addresses are refused, now and whenever the node is called.
    """
    return add(order)


@blueprint.post("/<node_id>/configure-key")
@blueprint.needs("nodes:write", changes="node")
@blueprint.answers(
    201,
    ConfigureKeyAnswer,
    400,
    *ALWAYS,
    description="The key, shown only here, and the command to run on the node.",
)
def make_configure_key(node_id: str) -> OneTimeKey:
    """Make a new configure key for a skyportd node; the previous one becomes invalid."""
    return OneTimeKey(one_time_key=_issue_key(node_id), panel_url=_panel_url())


@blueprint.put("/<node_id>/tls")
@blueprint.needs("nodes:write", changes="node")
@blueprint.arguments(NodeTls)
@blueprint.answers(
    200,
    NodeAnswer,
    *WITH_BODY,
    *ALWAYS,
    412,
    NodeFailure,
    description="The node, with the new certificates.",
)
def set_node_tls(tls: dict[str, str], node_id: str) -> Node:
    """Replace a node's TLS certificates, for example before they expire.

    The node is probed with the new ones first. 500 when it does not answer; the old ones then stay.
    A node without TLS is called over TLS from then on.
    """
    ctx = app_context()
    with calling_a_node() as open_driver:
        node = nodes.set_tls(
            store(),
            open_driver,
            ctx.vault,
            node_id,
            tls,
            only_if=read_precondition(),
            now=now(),
        )
    record_change(node)
    return node


@blueprint.delete("/delete")
@blueprint.needs("nodes:write", changes="node", named_by="nodeId")
@blueprint.arguments(NodeRef)
@blueprint.arguments(ForceQuery, location="query")
@blueprint.answers(
    201,
    DeletedNodeAnswer,
    *WITH_BODY,
    *ALWAYS,
    NodeNotEmpty,
    description="The node is gone.",
)
def delete_node(node_id: str, force: bool) -> int:
    """Delete a node. 400 for an unknown one, and while instances live on it.

    That 400 says how many they are. With `force` they are forgotten too, for a node that never
    returns; containers that still run on it are left alone.
    """
    forgotten = nodes.delete(store(), node_id, force=force, now=now())
    record_change(None)
    return forgotten


@blueprint.get("/<node_id>/drift")
@blueprint.needs("nodes:write")
@blueprint.answers(
    200,
    DriftAnswer,
    400,
    *ALWAYS,
    NodeOffline,
    description="The differences, except those that open operations explain.",
)
def find_node_drift(node_id: str) -> Drift:
    """Compare what a node runs now with what is stored.

    500 with the code `node_offline` when the node is down.
    """
    with calling_a_node() as open_driver:
        return drift.find(store(), open_driver, node_id)


@blueprint.post("/<node_id>/drift/resolve")
@blueprint.needs("nodes:write", changes="node")
@blueprint.arguments(ResolveDrift)
@blueprint.answers(
    201,
    ResolvedAnswer,
    *WITH_BODY,
    *ALWAYS,
    409,
    NodeOffline,
    many=True,
    example=[{"id": ORPHAN_ID, "action": "adopt", "operationId": None}, {}],
    description="What was done about each difference.",
)
def resolve_node_drift(resolution: Resolution, node_id: str) -> list[Resolved]:
    """Adopt or remove orphan containers; remove or recreate missing ones.

    Only the named ids are touched. 400, and nothing is done, for an id that is not such a
    difference or is named more than once.
    """
    with calling_a_node() as open_driver:
        done = drift.resolve(store(), open_driver, node_id, resolution, origin=origin())
    add_facts(resolved=[ResolvedAnswer.shape_audited(one) for one in done])
    record_change(store().nodes.get_by_reference(node_id))
    return done


def add(order: NodeOrder) -> NewNode:
    """Add a node, with the key that its daemon enrols itself with, if it is to."""
    ctx = app_context()
    with calling_a_node() as open_driver:
        node = nodes.create(
            store(),
            open_driver,
            order,
            policy=ctx.node_policy,
            trusted_address=ctx.command is not None,
            vault=ctx.vault,
            now=now(),
            claim=claim(),
        )
    record_change(node)
    is_enrolled = node["status"] != NodeStatus.UNCONFIGURED
    key = None if is_enrolled else _issue_key(node["_id"])
    return {**node, "one_time_key": key, "panel_url": _panel_url()}


def _issue_key(node_id: str) -> str:
    node, key = enrolment.issue_configure_key(store(), node_id, now=now(), claim=claim())
    record_change(node)
    return key


def _panel_url() -> str:
    return request.host_url.rstrip("/")
