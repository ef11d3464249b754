"""Commands for instances."""

import sys
from typing import Any

import click

from service.cli.api_commands import confirm, speaks_with_api, yes_option
from service.cli.connection import REFERENCE, Answer, Connection
from service.cli.following import await_ready, follow, no_wait_option, wait_ready_option
from service.cli.log_following import follow_log
from service.cli.output import Column, Output, Shape, print_time
from service.cli.placement_options import placement_options
from service.cli.schema_options import (
    body_options,
    dry_run_option,
    if_match_option,
    query_flag,
    query_options,
    wait_option,
)
from service.cli.text import printable
from service.contract.base import StateQuery
from service.contract.deploys import AddInstance
from service.contract.instance_changes import InstanceEdit, Reinstall
from service.contract.instance_deletions import RemovalQuery, Restore
from service.contract.list_queries import InstancesQuery
from service.contract.logs import LogsQuery
from service.contract.transfers import TransferInstance

COLUMNS = (
    Column("ID", "Id"),
    Column("NAME", "Name"),
    Column("STATE", "InternalState"),
    Column("POWER", lambda instance: "suspended" if instance["suspended"] else instance["power"]),
    Column("PHASE", lambda instance: instance["phase"] or instance["notReadyReason"]),
    Column("CONNECT", lambda instance: instance["connect"] or instance["Primary"]),
    Column("NODE", lambda instance: (instance["Node"] or {}).get("name")),
    Column("IMAGE", lambda instance: instance["ImageName"] or instance["Image"]),
    Column("USER", "User", is_wide=True),
    Column("MEMORY", lambda instance: f"{instance['Memory']} MiB", is_wide=True),
    Column("CPU", "Cpu", is_wide=True),
    Column("PORTS", "Ports", is_wide=True),
    Column("EXIT CODE", "exitCode", is_wide=True),
    Column("RESTARTS", "restarts", is_wide=True),
    Column("EXTERNAL ID", "externalId", is_wide=True),
    Column("CREATED", print_time("createdAt"), is_wide=True),
    Column("ERROR", "error", is_wide=True),
)

_reference = click.argument("instance_id", metavar="INSTANCE", type=REFERENCE)


@click.group("instances")
def group() -> None:
    """Deploy instances, and manage them. INSTANCE is an id, or that of a container."""


@group.command("list")
@speaks_with_api
@query_options("listInstances", InstancesQuery)
def list_instances(api: Connection, out: Output, query: dict[str, Any]) -> None:
    """List instances."""
    out.show_list(api.call("listInstances", query=query), COLUMNS, query)


@group.command("show")
@speaks_with_api
@_reference
@wait_option("getInstance")
@query_options("getInstance", StateQuery, leave_out=("wait",))
def show_instance(
    api: Connection, out: Output, instance_id: str, query: dict[str, Any], wait_s: float | None
) -> None:
    """Show an instance; with --wait, once nothing is under way."""
    out.show_one(api.call("getInstance", instance_id=instance_id, query=query, wait_s=wait_s))


@group.command("deploy")
@speaks_with_api
@body_options("addInstance", AddInstance, leave_out=("placement",), nodeId="--node")
@placement_options("addInstance")
@dry_run_option("addInstance")
@no_wait_option
@wait_ready_option
def deploy(
    api: Connection,
    out: Output,
    body: dict[str, Any],
    dry_run: bool,
    no_wait: bool,
    wait_ready: bool,
) -> None:
    """Deploy an instance, show the steps, and print its id. Without --node whichever fits.

    Ends with 6 when the deployment fails; the instance is FAILED then, with the reason. So it does
    with --wait-ready when its program does not become ready, which changes nothing.
    """
    if dry_run:
        out.show_one(api.call("addInstance", body=body, query={"dryRun": True}))
        return
    answer = api.call("addInstance", body=body, wait_s=0)
    click.echo(f"Deploying {printable(answer.json['Name'])} as {answer.json['Id']}", err=True)
    answer = _finish(api, answer, answer.json["Id"], no_wait=no_wait, wait_ready=wait_ready)
    if not no_wait and answer.json["connect"]:
        click.echo(f"It answers at {printable(answer.json['connect'])}", err=True)
    out.show_done(answer, answer.json["Id"])


@group.command("edit")
@speaks_with_api
@_reference
@body_options("editInstance", InstanceEdit)
@dry_run_option("editInstance")
@no_wait_option
@wait_ready_option
@if_match_option("editInstance")
def edit(
    api: Connection,
    out: Output,
    instance_id: str,
    body: dict[str, Any],
    dry_run: bool,
    no_wait: bool,
    wait_ready: bool,
) -> None:
    """Change an instance. What is not given stays; its volume stays in any case.

    What needs another container is undone when that does not start, and ends with 6.
    """
    if not body:
        raise click.UsageError("Say what to change.")
    if dry_run:
        query = {"dryRun": True}
        out.show_one(api.call("editInstance", instance_id=instance_id, body=body, query=query))
        return
    answer = api.call("editInstance", instance_id=instance_id, body=body, wait_s=0)
    _show_state(out, _finish(api, answer, instance_id, no_wait=no_wait, wait_ready=wait_ready))


@group.command("reinstall")
@speaks_with_api
@_reference
@body_options("reinstallInstance", Reinstall)
@no_wait_option
@wait_ready_option
@yes_option
@if_match_option("reinstallInstance")
def reinstall(
    api: Connection,
    out: Output,
    instance_id: str,
    body: dict[str, Any],
    no_wait: bool,
    wait_ready: bool,
    yes: bool,
) -> None:
    """Make an instance's container anew. --no-keep-volume deletes all of its files before."""
    if body.get("keepVolume") is False:
        confirm(f"Delete all files of the instance {instance_id}?", yes=yes)
    answer = api.call("reinstallInstance", instance_id=instance_id, body=body, wait_s=0)
    _show_state(out, _finish(api, answer, instance_id, no_wait=no_wait, wait_ready=wait_ready))


@group.command("transfer")
@speaks_with_api
@_reference
@body_options("transferInstance", TransferInstance, nodeId="--to")
@no_wait_option
@if_match_option("transferInstance")
def transfer(
    api: Connection, out: Output, instance_id: str, body: dict[str, Any], no_wait: bool
) -> None:
    """Transfer an instance to another node, with its files.

    It is stopped meanwhile. What fails is undone, and ends with 6; the instance runs where it was.
    """
    operation_id = api.call("transferInstance", instance_id=instance_id, body=body).json["id"]
    if no_wait:
        click.echo(f"To watch it: skyquay operations watch {operation_id}", err=True)
    else:
        follow(api, operation_id)
    _show_state(out, api.call("getInstance", instance_id=instance_id))


@group.command("restore")
@speaks_with_api
@_reference
@body_options("restoreInstance", Restore)
@no_wait_option
@wait_ready_option
@if_match_option("restoreInstance")
def restore(
    api: Connection,
    out: Output,
    instance_id: str,
    body: dict[str, Any],
    no_wait: bool,
    wait_ready: bool,
) -> None:
    """Undo the deletion of an instance that is kept: see `delete --keep`, `list --deleted`."""
    answer = api.call("restoreInstance", instance_id=instance_id, body=body, wait_s=0)
    _show_state(out, _finish(api, answer, instance_id, no_wait=no_wait, wait_ready=wait_ready))


@group.command("delete")
@speaks_with_api
@_reference
@query_options("removeInstance", RemovalQuery, leave_out=("wait",))
@no_wait_option
@yes_option
@if_match_option("removeInstance")
def delete(
    api: Connection, out: Output, instance_id: str, query: dict[str, Any], no_wait: bool, yes: bool
) -> None:
    """Delete an instance, with its container, its files and its ports.

    With --keep 24h it is stopped and hidden, and `restore` undoes that for so long.
    """
    is_kept = query.get("keep") not in (None, "0")
    files = "" if is_kept else " with all its files"
    confirm(f"Delete the instance {instance_id}{files}?", yes=yes)
    answer = api.call("removeInstance", instance_id=instance_id, query=query, wait_s=0)
    operation_id = answer.operation_id
    if operation_id is not None and not no_wait:
        answer, operation_id = follow(api, operation_id), None
    out.show_done(
        answer, "Deleted." if operation_id is None else f"The operation {operation_id} deletes it."
    )


@group.command("logs")
@speaks_with_api
@_reference
@query_options("getInstanceLogs", LogsQuery, leave_out=("follow", "timestamps"))
@query_flag("getInstanceLogs", "-t", "timestamps", "Print when each line was printed.")
@query_flag("getInstanceLogs", "-f", "follow", "Go on with what is printed, until Ctrl-C.")
def show_logs(
    api: Connection,
    out: Output,
    instance_id: str,
    query: dict[str, Any],
    timestamps: bool,
    follow: bool,
) -> None:
    """Print the last lines of what an instance's program printed, or follow it."""
    if timestamps:
        query["timestamps"] = True
    if follow:
        follow_log(api, out, instance_id, query)
        return
    answer = api.call("getInstanceLogs", instance_id=instance_id, query=query)
    if out.shape == Shape.JSON:
        out.show_json(answer)
        return
    for line in answer.json["lines"]:
        click.echo(printable(line) if sys.stdout.isatty() else line)


@group.command("send")
@speaks_with_api
@_reference
@click.argument("line")
def send_line(api: Connection, out: Output, instance_id: str, line: str) -> None:
    """Have an instance's program read a line. What it says to it is in the logs."""
    body = {"line": line}
    out.show_done(api.call("sendInstanceCommand", instance_id=instance_id, body=body), "Sent.")


@group.command("stats")
@speaks_with_api
@_reference
def show_stats(api: Connection, out: Output, instance_id: str) -> None:
    """Show what an instance uses now: cores, memory, network and disk."""
    out.show_one(api.call("getInstanceStats", instance_id=instance_id))


def _add_action(operation: str, name: str, sentence: str, *, starts: bool = False) -> None:
    @_reference
    @no_wait_option
    @if_match_option(operation)
    def act(
        api: Connection, out: Output, instance_id: str, no_wait: bool, wait_ready: bool = False
    ) -> None:
        answer = api.call(operation, instance_id=instance_id, wait_s=0)
        answer = _finish(api, answer, instance_id, no_wait=no_wait, wait_ready=wait_ready)
        _show_state(out, answer)

    if starts:
        act = wait_ready_option(act)

    group.command(name, help=sentence)(speaks_with_api(act))


_add_action("startInstance", "start", "Start an instance.", starts=True)
_add_action("stopInstance", "stop", "Stop an instance. It stays so until it is started.")
_add_action("restartInstance", "restart", "Stop an instance, and start it.", starts=True)
_add_action("killInstance", "kill", "Stop an instance at once, with no time to save anything.")
_add_action("suspendInstance", "suspend", "Stop an instance, and let nobody start it.")
_add_action(
    "unsuspendInstance", "unsuspend", "Let an instance run again, and start it.", starts=True
)


def _finish(
    api: Connection, answer: Answer, instance_id: str, *, no_wait: bool, wait_ready: bool
) -> Answer:
    """Wait for the operation of a change, and return the instance as it is then."""
    operation_id = answer.json["operationId"]
    if no_wait and operation_id is not None:
        click.echo(f"To watch it: skyquay operations watch {operation_id}", err=True)
    if no_wait:
        return answer
    if operation_id is not None:
        follow(api, operation_id)
    if wait_ready:
        return await_ready(api, instance_id)
    return answer if operation_id is None else api.call("getInstance", instance_id=instance_id)


def _show_state(out: Output, answer: Answer) -> None:
    if out.shape == Shape.JSON:
        out.show_json(answer)
    else:
        out.show_rows([answer.json], COLUMNS)
