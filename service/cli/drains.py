"""Commands for the drains of nodes: `skyquay nodes drain` and the like."""

import time
from typing import Any

import click

from service.cli.api_commands import speaks_with_api
from service.cli.connection import REFERENCE, Answer, Connection
from service.cli.failures import Exit, Failure
from service.cli.output import Output
from service.cli.schema_options import body_options, query_options
from service.cli.text import printable
from service.contract.drains import StartDrain, UndoQuery
from service.model.drains import ENDS, DrainStatus

LOOK_EVERY_S = 1.0

_reference = click.argument("node_id", metavar="NODE", type=REFERENCE)
_wait = click.option("--wait", is_flag=True, help="Wait until it ends, and print how far it is.")


@click.command("drain")
@speaks_with_api
@_reference
@body_options("startNodeDrain", StartDrain)
@_wait
def drain_node(
    api: Connection, out: Output, node_id: str, body: dict[str, Any], wait: bool
) -> None:
    """Move the instances of a node elsewhere, a few at a time, until it is empty."""
    answer = api.call("startNodeDrain", node_id=node_id, body=body)
    out.show_one(_follow(api, node_id) if wait else answer)


@click.command("show-drain")
@speaks_with_api
@_reference
def show_drain(api: Connection, out: Output, node_id: str) -> None:
    """Show how far the drain of a node is, and what is stuck."""
    out.show_one(api.call("getNodeDrain", node_id=node_id))


@click.command("pause-drain")
@speaks_with_api
@_reference
def pause_drain(api: Connection, out: Output, node_id: str) -> None:
    """Begin to move nothing more; what is on its way arrives."""
    out.show_one(api.call("pauseNodeDrain", node_id=node_id))


@click.command("resume-drain")
@speaks_with_api
@_reference
def resume_drain(api: Connection, out: Output, node_id: str) -> None:
    """Go on with a drain that is paused, and try what is stuck at once."""
    out.show_one(api.call("resumeNodeDrain", node_id=node_id))


@click.command("undo-drain")
@speaks_with_api
@_reference
@query_options("undoNodeDrain", UndoQuery)
@_wait
def undo_drain(
    api: Connection, out: Output, node_id: str, query: dict[str, Any], wait: bool
) -> None:
    """Let a node get instances as before its drain, and move nothing more away."""
    answer = api.call("undoNodeDrain", node_id=node_id, query=query)
    out.show_one(_follow(api, node_id) if wait else answer)


COMMANDS = (drain_node, show_drain, pause_drain, resume_drain, undo_drain)


def _follow(api: Connection, node_id: str) -> Answer:
    """Print how far a drain is until it has ended, and return it as it is then.

    Raises Failure for one that cannot go on by itself: it is blocked or paused.
    """
    said = None
    while True:
        answer = api.call("getNodeDrain", node_id=node_id)
        drain = answer.json
        status, waits = drain["status"], drain["waitingFor"]
        line = f"{status}: {drain['moved']} of {drain['total']} moved, {drain['stuckCount']} stuck"
        if waits is not None:
            line = f"{line}, waits for {waits}"
        if line != said:
            click.echo(f"  {line}", err=True)
            said = line
        if status in ENDS:
            return answer
        if status in (DrainStatus.BLOCKED, DrainStatus.PAUSED):
            reasons = [f"{each['instanceId']}: {each['reason']}" for each in drain["stuck"]]
            raise Failure(printable(f"The drain is {status}. {' '.join(reasons)}"), Exit.FAILED)
        time.sleep(LOOK_EVERY_S)
