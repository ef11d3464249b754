"""Node endpoints."""

from typing import Any

from flask import request

from service import drift, nodes
from service.api.audit_trail import add_facts, record_change
from service.api.blueprint import ALWAYS, WITH_BODY, Blueprint
from service.api.call import origin, store
from service.api.context import app_context, now
from service.api.waiting import calling_a_node
from service.contract import examples, wire
from service.contract.nodes import (
    ConfigureKeyAnswer,
    CreatedNodeAnswer,
    CreateNode,
    DeletedNodeAnswer,
    DriftAnswer,
    ForceQuery,
    NodeAnswer,
    NodeRef,
    NodeTls,
    ResolvedAnswer,
    ResolveDrift,
)
from service.model.lifecycle import NodeStatus

blueprint = Blueprint(
    "nodes", __name__, url_prefix="/api/nodes", description="Machines that run instances."
)


@blueprint.get("")
@blueprint.needs("nodes:read")
@blueprint.answers(
    200, NodeAnswer(many=True), *ALWAYS, example=[examples.NODE], description="All nodes."
)
def list_nodes() -> list[wire.Json]:
    """List all nodes, with what their last probe found."""
    return [wire.node(node) for node in store().nodes.all()]


@blueprint.post("/create")
@blueprint.needs("nodes:write", changes="node")
@blueprint.arguments(CreateNode, example=examples.CREATE_NODE)
@blueprint.answers(
    201,
    CreatedNodeAnswer,
    *WITH_BODY,
    *ALWAYS,
    409,
    example=examples.CREATED_NODE,
    description="The node was added.",
)
def create_node(order: Any) -> tuple[wire.Json, int]:
    """Add a node.

    A `docker` or `process` node is probed at once, and is Online or Offline; a `skyportd` node is
    Unconfigured until its daemon enrols itself with the key that is answered, once; unless its
    `apiKey` is given. 409 with the code `node_exists` for the engine of another node, unless
    `allowSameEngine` is true. A Docker Engine that is not on the machine itself needs `tls`.
    Link-local, metadata and loopback addresses are refused, now and whenever the node is called.
    """
    ctx = app_context()
    with calling_a_node() as open_driver:
        node = nodes.create(
            store(),
            open_driver,
            order,
            allow_process=ctx.config.allow_process,
            allow_plain_docker=ctx.config.allow_plain_docker,
            allow_loopback=ctx.config.allow_loopback_nodes,
            vault=ctx.vault,
            now=now(),
        )
    record_change(node)
    enrolment = _enrolment(node["_id"]) if node["status"] == NodeStatus.UNCONFIGURED else {}
    return {**wire.created_node(node), **enrolment}, 201


@blueprint.post("/<node_id>/configure-key")
@blueprint.needs("nodes:write", changes="node")
@blueprint.answers(
    201,
    ConfigureKeyAnswer,
    400,
    *ALWAYS,
    example=examples.CONFIGURE_KEY,
    description="The key, shown this once, and the command to run on the node.",
)
def make_configure_key(node_id: str) -> tuple[wire.Json, int]:
    """Make a new key for a skyportd node to enrol itself with; the one before is worthless."""
    return _enrolment(node_id), 201


@blueprint.put("/<node_id>/tls")
@blueprint.needs("nodes:write", changes="node")
@blueprint.arguments(NodeTls, example=examples.TLS)
@blueprint.answers(
    200,
    NodeAnswer,
    *WITH_BODY,
    *ALWAYS,
    example=examples.NODE,
    description="The node, which is called with these from now on.",
)
def set_tls(tls: Any, node_id: str) -> wire.Json:
    """Replace the certificates that a node is called with, such as before they expire.

    The node is asked with the new ones first. 500 when it does not answer to them, and then those
    before stay. A node that was called without TLS is called with it from now on.
    """
    ctx = app_context()
    with calling_a_node() as open_driver:
        node = nodes.set_tls(store(), open_driver, ctx.vault, node_id, tls, now=now())
    record_change(node)
    return wire.node(node)


@blueprint.delete("/delete")
@blueprint.needs("nodes:write", changes="node", named_by="nodeId")
@blueprint.arguments(NodeRef, example={"nodeId": examples.NODE["id"]})
@blueprint.arguments(ForceQuery, location="query")
@blueprint.answers(
    201,
    DeletedNodeAnswer,
    *WITH_BODY,
    *ALWAYS,
    example=examples.DELETED_NODE,
    description="The node is gone.",
)
def delete_node(ref: Any, query: Any) -> tuple[wire.Json, int]:
    """Delete a node. 400 for an unknown one, and while instances live on it.

    That 400 says how many they are. With `force` they are forgotten too, for a node that never
    returns; containers that still run on it are left alone.
    """
    forgotten = nodes.delete(store(), ref["node_id"], force=query["force"], now=now())
    record_change(None)
    return wire.deleted_node(forgotten), 201


@blueprint.get("/<node_id>/drift")
@blueprint.needs("nodes:write")
@blueprint.answers(
    200,
    DriftAnswer,
    400,
    *ALWAYS,
    example=examples.DRIFT,
    description="The differences that nothing under way explains.",
)
def find_drift(node_id: str) -> wire.Json:
    """Compare what a node runs with what the documents say, now.

    500 with the code `node_offline` when the node is down.
    """
    with calling_a_node() as open_driver:
        return wire.drift(drift.find(store(), open_driver, node_id))


@blueprint.post("/<node_id>/drift/resolve")
@blueprint.needs("nodes:write", changes="node")
@blueprint.arguments(ResolveDrift, example=examples.RESOLVE_DRIFT)
@blueprint.answers(
    201,
    ResolvedAnswer(many=True),
    *WITH_BODY,
    *ALWAYS,
    409,
    example=examples.RESOLVED,
    description="What became of each difference.",
)
def resolve_drift(resolution: Any, node_id: str) -> tuple[list[wire.Json], int]:
    """Adopt or remove containers that no document knows; remove or recreate what is missing.

    Only what is named is touched. 400 for an id that is no such difference, or is named more than
    once, and then nothing is done.
    """
    with calling_a_node() as open_driver:
        done = drift.resolve(store(), open_driver, node_id, resolution, **origin())
    resolved = [wire.resolved(one) for one in done]
    add_facts(resolved=resolved)
    record_change(store().nodes.get(node_id))
    return resolved, 201


def _enrolment(node_id: str) -> wire.Json:
    node, key = nodes.issue_configure_key(
        store(), node_id, lifetime_s=app_context().config.configure_key_s, now=now()
    )
    record_change(node)
    return wire.enrolment(key, request.host_url.rstrip("/"))
