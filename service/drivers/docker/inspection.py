"""What an engine says of an instance's container."""

from collections.abc import Mapping, Sequence
from typing import Any

from docker.errors import NotFound

from service.drivers import ContainerStatus
from service.drivers.answers import read_text
from service.drivers.docker.client import Client
from service.drivers.docker.labels import LABEL, Labelled, Labels
from service.drivers.engine_runs import read_run
from service.errors import NodeRefused
from service.model.lifecycle import Power


def find(engine: Client, labels: Labels, instance_id: str) -> tuple[str, Mapping[str, Any]] | None:
    """Find the instance's container, by its name or, should it have another, by its labels.

    Answers what the engine knows it by, with what the engine says of it. Raises NodeRefused
    when there is none, and somebody else's has its name.
    """
    named = _inspect(engine, instance_id)
    if named is not None and labels.owns_container(
        instance_id, named["Config"]["Labels"], named["Id"]
    ):
        return instance_id, named
    for each in list_labelled(engine, labels, instance_id):
        renamed = _inspect(engine, each.container["Id"]) if each.is_ours else None
        if renamed is not None:
            return renamed["Id"], renamed
    if named is not None:
        raise make_refusal(engine.node_id, "container", instance_id, named["Config"]["Labels"])
    return None


def _inspect(engine: Client, reference: str) -> Mapping[str, Any] | None:
    try:
        found: Mapping[str, Any] = engine.inspect_container(reference)
    except NotFound:
        return None
    return found


def list_labelled(engine: Client, labels: Labels, instance_id: str) -> Sequence[Labelled]:
    """List the instance's containers by their labels, the likeliest first."""
    try:
        there = engine.containers(all=True, filters={"label": f"{LABEL}={instance_id}"})
    except NotFound:
        return ()
    return labels.find(there)


def make_refusal(
    node_id: str, what: str, instance_id: str, labels: Mapping[str, str] | None
) -> NodeRefused:
    """Make the error of a container or volume that has the instance's name, and is not ours."""
    whose = "this Skyquay's" if LABEL in (labels or {}) else "Skyquay's"
    return NodeRefused(node_id, f"The node has a {what} {instance_id} that is not {whose}.")


def to_status(container: Mapping[str, Any]) -> ContainerStatus:
    """Read how a container is from what the engine says of it."""
    state = container["State"]
    runs = state["Running"] and not state["Restarting"]
    run = read_run(container, runs=runs)
    if runs:
        return ContainerStatus(container["Id"], Power.RUNNING, **run)
    reason = _find_reason(state, ran=run["started_at"] is not None)
    return ContainerStatus(container["Id"], Power.STOPPED, reason=reason, **run)


def _find_reason(state: Mapping[str, Any], *, ran: bool) -> str | None:
    if state["Error"]:
        return read_text(state["Error"])
    if state["OOMKilled"]:
        return "It was killed because it used more memory than it may."
    if state["Restarting"]:
        return f"It keeps ending with exit code {state['ExitCode']}."
    # It ended by itself, or was interrupted, killed or asked to end.
    if ran and state["ExitCode"] not in (0, 130, 137, 143):
        return f"It ended with exit code {state['ExitCode']}."
    return None
