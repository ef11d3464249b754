"""Drains of nodes: the instances of a node are moved elsewhere, so that it can be taken out."""

from service import drains, keys
from service.api.audit_trail import add_facts, record_change
from service.api.blueprint import ALWAYS, WITH_BODY
from service.api.call import caller, origin, store
from service.api.nodes import blueprint
from service.contract.drains import DrainAnswer, StartDrain, UndoQuery
from service.errors import NoDrain, WrongStatus
from service.model.documents import DrainProgress

_DRAIN = "/api/nodes/{_id}/drain"


@blueprint.post("/<node_id>/drain")
@blueprint.needs("nodes:write", changes="node")
@blueprint.arguments(StartDrain, required=False)
@blueprint.answers(
    202, DrainAnswer, *WITH_BODY, *ALWAYS, 404, location=_DRAIN, description="The drain."
)
def start_node_drain(at_once: int | None, node_id: str) -> DrainProgress:
    """Move the instances of a node to others, a few at a time, until it is empty.

    From now on the node gets no more instances: a deploy is 409 `maintenance`. Each instance is
    moved by an operation `transfer`. What cannot be moved is `stuck`, with the reason, and tried
    again. A drain that is on is answered as it is.
    """
    return _report(drains.start(store(), node_id, at_once=at_once, origin=origin()))


@blueprint.get("/<node_id>/drain")
@blueprint.needs("nodes:read")
@blueprint.answers(
    200, DrainAnswer, 400, *ALWAYS, 404, NoDrain, description="The node's latest drain."
)
def get_node_drain(node_id: str) -> DrainProgress:
    """Get how far a node's drain is. 404 with the code `drain_not_found` if there never was one.

    Its statuses are events too, `node.drain_done` and the like, and so are its operations. A key
    that is limited is shown, of what is `moving` and `stuck`, the instances that it sees.
    """
    access = keys.access_of(caller())
    if access.is_limited:
        return drains.read_part(store(), node_id, sees_nodes=access.node_ids is None)
    return drains.read(store(), node_id)


@blueprint.post("/<node_id>/drain/pause")
@blueprint.needs("nodes:write", changes="node")
@blueprint.answers(
    200, DrainAnswer, 400, *ALWAYS, 404, NoDrain, WrongStatus, description="The drain, paused."
)
def pause_node_drain(node_id: str) -> DrainProgress:
    """Begin to move nothing more. What is on its way arrives; the node gets no instances."""
    return _report(drains.pause(store(), node_id, origin=origin()))


@blueprint.post("/<node_id>/drain/resume")
@blueprint.needs("nodes:write", changes="node")
@blueprint.answers(
    200, DrainAnswer, 400, *ALWAYS, 404, NoDrain, WrongStatus, description="The drain, which runs."
)
def resume_node_drain(node_id: str) -> DrainProgress:
    """Go on with a drain that is paused, and try what is stuck at once."""
    return _report(drains.resume(store(), node_id, origin=origin()))


@blueprint.delete("/<node_id>/drain")
@blueprint.needs("nodes:write", changes="node")
@blueprint.arguments(UndoQuery, location="query")
@blueprint.answers(
    202,
    DrainAnswer,
    400,
    *ALWAYS,
    404,
    NoDrain,
    location=_DRAIN,
    example={"status": "undoing", "stuck": [], "stuckCount": 0},
    description="The drain, which is being undone.",
)
def undo_node_drain(move_back: bool, node_id: str) -> DrainProgress:
    """Let a node get instances as before its drain, and move nothing more away.

    What is on its way arrives. With `moveBack` what was moved returns, where it still is where it
    was moved to, and as far as it fits; what does not after a few attempts stays, and is `stuck`.
    """
    return _report(drains.undo(store(), node_id, move_back=move_back, origin=origin()))


def _report(progress: DrainProgress) -> DrainProgress:
    record_change(progress["node"])
    add_facts(drain=progress["status"])
    return progress
