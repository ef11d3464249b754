"""Commands for nodes."""

from typing import IO, Any

import click

from service.cli import drains
from service.cli.api_commands import confirm, speaks_with_api, yes_option
from service.cli.connection import REFERENCE, Connection
from service.cli.output import Column, Output, Shape, print_time
from service.cli.placement_options import placement_options
from service.cli.schema_options import (
    Command,
    Decorator,
    SchemaOption,
    body_options,
    if_match_option,
    query_options,
)
from service.cli.text import printable
from service.contract.drift import ResolveDrift
from service.contract.enrolment import print_command
from service.contract.free_ports import FreePortsQuery
from service.contract.list_queries import NodesQuery
from service.contract.node_orders import AddNode, EditNode
from service.contract.node_removal import ForceQuery
from service.contract.placement import RankNodes
from service.model.driver_traits import DOCKER, OFFERED, traits_of

COLUMNS = (
    Column("ID", "id"),
    Column("NAME", "name"),
    Column("DRIVER", "driver"),
    Column("STATUS", "status"),
    Column("INSTANCES", "instances"),
    Column(
        "MEMORY", lambda node: f"{node['allocatedMemoryMib']} of {node['memoryMib'] or '?'} MiB"
    ),
    Column("SCHEDULABLE", "schedulable"),
    Column("ADDRESS", "address", is_wide=True),
    Column("PORT", "port", is_wide=True),
    Column("TAGS", "tags", is_wide=True),
    Column("SEEN", print_time("lastSeenAt"), is_wide=True),
    Column("EXTERNAL ID", "externalId", is_wide=True),
    Column("DRAIN", "drain", is_wide=True),
    Column("ERROR", "error", is_wide=True),
)

RANKED = (
    Column("ID", "id"),
    Column("NAME", "name"),
    Column("SCORE", "score"),
    Column("WHY NOT", "message"),
    Column("DETAILS", "details", is_wide=True),
)

_reference = click.argument("node_id", metavar="NODE", type=REFERENCE)


@click.group("nodes")
def group() -> None:
    """Add nodes, and manage them. NODE is an id or a name."""


for command in drains.COMMANDS:
    group.add_command(command)


def tls_options(operation: str) -> Decorator:
    """Give a command the options that name the files of certificates."""

    def decorate(command: Command) -> Command:
        for part, text in (
            ("key", "Its private key, PEM."),
            ("cert", "Our certificate for the node, PEM."),
            ("ca", "Who signed the node's certificate, PEM."),
        ):
            command = click.option(
                f"--tls-{part}",
                type=click.File(),
                cls=SchemaOption,
                operation=operation,
                wire_name=part,
                help=text,
            )(command)
        return command

    return decorate


def _read_tls(options: dict[str, IO[str] | None]) -> dict[str, str]:
    """Read the files of certificates."""
    files = {part: options[f"tls_{part}"] for part in ("ca", "cert", "key")}
    try:
        return {part: file.read() for part, file in files.items() if file is not None}
    except UnicodeDecodeError as exc:
        raise click.ClickException("A file of certificates must be PEM, which is text.") from exc


@group.command("list")
@speaks_with_api
@query_options("listNodes", NodesQuery)
def list_nodes(api: Connection, out: Output, query: dict[str, Any]) -> None:
    """List nodes."""
    out.show_list(api.call("listNodes", query=query), COLUMNS, query)


@group.command("show")
@speaks_with_api
@_reference
def show_node(api: Connection, out: Output, node_id: str) -> None:
    """Show a node."""
    out.show_one(api.call("getNode", node_id=node_id))


@group.command("ports")
@speaks_with_api
@_reference
@query_options("listFreePorts", FreePortsQuery)
def list_free_ports(api: Connection, out: Output, node_id: str, query: dict[str, Any]) -> None:
    """List free host ports of a node, which are held for nobody."""
    out.show_one(api.call("listFreePorts", node_id=node_id, query=query))


@group.command("fit")
@speaks_with_api
@body_options("rankNodes", RankNodes, leave_out=("placement",))
@placement_options("rankNodes")
def rank_nodes(api: Connection, out: Output, body: dict[str, Any]) -> None:
    """Show which nodes fit an instance, best first, and why the others do not."""
    answer = api.call("rankNodes", body=body)
    if out.shape == Shape.JSON:
        out.show_json(answer)
    else:
        out.show_rows([*answer.json["fits"], *answer.json["unfit"]], RANKED)


@group.command("add")
@speaks_with_api
@click.argument("name")
@click.option(
    "--driver",
    type=click.Choice(OFFERED),
    default=DOCKER.name,
    show_default=True,
    cls=SchemaOption,
    operation="addNode",
    wire_name="driver",
    help="How it is talked to.",
)
@body_options(
    "addNode",
    AddNode,
    leave_out=("name", "driver", "tls", "apiKey"),
    allowSameEngine="--same-engine/--no-same-engine",
)
@click.option(
    "--api-key",
    type=click.File(),
    cls=SchemaOption,
    operation="addNode",
    wire_name="apiKey",
    help="A file with the key of a skyportd node that is enrolled already; - reads it.",
)
@click.option(
    "--tls",
    is_flag=True,
    cls=SchemaOption,
    operation="addNode",
    wire_name="tls",
    help="Call a skyportd node over HTTPS; implied by --tls-ca.",
)
@tls_options("setNodeTls")
@click.option("--panel", help="Where a skyportd node finds Skyquay, to enrol itself.")
def add_node(
    api: Connection,
    out: Output,
    name: str,
    driver: str,
    api_key: IO[str] | None,
    tls: bool,
    panel: str | None,
    body: dict[str, Any],
    **files: IO[str] | None,
) -> None:
    """Add a node, probe it, and print its id and status.

    For a skyportd node: and the command that enrols it, to be run in the daemon's folder. A Docker
    Engine by address needs all three --tls files. On the database of this machine any address is
    allowed.
    """
    given = _read_tls(files)
    order = {"name": name, "driver": driver, **body}
    if tls or given:
        order["tls"] = given
    if api_key is not None:
        order["apiKey"] = api_key.read().strip()
    if (address := traits_of(driver).local_address) and "address" not in order:
        order["address"] = address
    answer = api.call("addNode", body=order)
    node = answer.json
    out.show_done(answer, f"{node['id']}  {node['status']}")
    if out.shape != Shape.JSON and node.get("configureKey") is not None:
        source = {"panel_url": panel, "one_time_key": node["configureKey"]}
        click.echo(print_command(source) if panel else node["configureCommand"])
    if node["error"]:
        click.echo(printable(node["error"]), err=True)


@group.command("edit")
@speaks_with_api
@_reference
@body_options("editNode", EditNode)
@if_match_option("editNode")
def edit_node(api: Connection, out: Output, node_id: str, body: dict[str, Any]) -> None:
    """Change a node. With another address or port it must answer there."""
    if not body:
        raise click.UsageError("Say what to change.")
    out.show_one(api.call("editNode", node_id=node_id, body=body))


@group.command("delete")
@speaks_with_api
@_reference
@query_options("removeNode", ForceQuery)
@yes_option
@if_match_option("removeNode")
def delete_node(
    api: Connection, out: Output, node_id: str, query: dict[str, Any], yes: bool
) -> None:
    """Delete a node on which no instances live."""
    confirm(f"Delete the node {node_id}?", yes=yes)
    out.show_done(api.call("removeNode", node_id=node_id, query=query), "Deleted.")


@group.command("set-tls")
@speaks_with_api
@_reference
@tls_options("setNodeTls")
@if_match_option("setNodeTls")
def set_tls(api: Connection, out: Output, node_id: str, **files: IO[str] | None) -> None:
    """Replace the certificates that a node is called with. It is asked with the new ones first.

    Those before stay unless it answers. A skyportd node without any file is trusted as the system
    trusts others.
    """
    answer = api.call("setNodeTls", node_id=node_id, body=_read_tls(files))
    out.show_done(answer, "The node is called with these from now on.")


@group.command("configure-key")
@speaks_with_api
@_reference
def make_configure_key(api: Connection, out: Output, node_id: str) -> None:
    """Print the command that enrols the daemon of a skyportd node, in the daemon's folder."""
    answer = api.call("makeConfigureKey", node_id=node_id)
    out.show_done(answer, answer.json["configureCommand"])


@group.command("drift")
@speaks_with_api
@_reference
def find_drift(api: Connection, out: Output, node_id: str) -> None:
    """Show where a node and the database differ."""
    out.show_one(api.call("findNodeDrift", node_id=node_id))


@group.command("resolve")
@speaks_with_api
@_reference
@body_options("resolveNodeDrift", ResolveDrift)
@yes_option
def resolve_drift(
    api: Connection, out: Output, node_id: str, body: dict[str, Any], yes: bool
) -> None:
    """Say what becomes of what `drift` shows."""
    if not body:
        raise click.UsageError("Say what to adopt, recreate or remove.")
    if "remove" in body:
        confirm(f"Remove {', '.join(body['remove'])} with all files?", yes=yes)
    columns = (Column("ID", "id"), Column("ACTION", "action"), Column("OPERATION", "operationId"))
    out.show_list(api.call("resolveNodeDrift", node_id=node_id, body=body), columns, {})
