"""Commands for operations."""

from pathlib import Path
from typing import Any

import click

from service.cli.api_commands import speaks_with_api
from service.cli.connection import REFERENCE, Connection
from service.cli.following import follow, no_wait_option
from service.cli.json_files import file_argument, read
from service.cli.output import Column, Output, print_time
from service.cli.schema_options import if_match_option, query_options, wait_option
from service.contract.list_queries import OperationsQuery

COLUMNS = (
    Column("ID", "id"),
    Column("KIND", "kind"),
    Column("STATUS", "status"),
    Column("INSTANCE", "instanceId"),
    Column("CREATED", print_time("createdAt")),
    Column("ERROR", "error"),
    Column("NODE", "nodeId", is_wide=True),
    Column("ATTEMPTS", "attempts", is_wide=True),
    Column("NEXT ATTEMPT", print_time("nextAttemptAt"), is_wide=True),
    Column("ENDED", print_time("endedAt"), is_wide=True),
    Column("KEY", "requestedBy", is_wide=True),
)

_reference = click.argument("operation_id", metavar="OPERATION", type=REFERENCE)


@click.group("operations")
def group() -> None:
    """See the work on nodes, repeat it and cancel it."""


@group.command("list")
@speaks_with_api
@query_options("listOperations", OperationsQuery, instanceId="--instance", nodeId="--node")
def list_operations(api: Connection, out: Output, query: dict[str, Any]) -> None:
    """List operations, the newest first."""
    out.show_list(api.call("listOperations", query=query), COLUMNS, query)


@group.command("show")
@speaks_with_api
@_reference
@wait_option("getOperation")
def show_operation(api: Connection, out: Output, operation_id: str, wait_s: float | None) -> None:
    """Show an operation; with --wait, once it has ended."""
    out.show_one(api.call("getOperation", operation_id=operation_id, wait_s=wait_s))


@group.command("watch")
@speaks_with_api
@_reference
def watch_operation(api: Connection, out: Output, operation_id: str) -> None:
    """Show the steps of an operation until it has ended. Ends with 6 when it fails."""
    out.show_done(follow(api, operation_id), "Succeeded.")


@group.command("retry")
@speaks_with_api
@_reference
def retry_operation(api: Connection, out: Output, operation_id: str) -> None:
    """Retry a pending operation at once, or repeat one that failed or was cancelled."""
    answer = api.call("retryOperation", operation_id=operation_id)
    out.show_done(answer, f"To watch it: skyquay operations watch {answer.json['id']}")


@group.command("cancel")
@speaks_with_api
@_reference
@if_match_option("cancelOperation")
def cancel_operation(api: Connection, out: Output, operation_id: str) -> None:
    """Cancel an operation: it ends before its next step."""
    answer = api.call("cancelOperation", operation_id=operation_id)
    ended = answer.json["endedAt"] is not None
    out.show_done(answer, "Cancelled." if ended else "It ends before its next step.")


@group.command("start-bulk")
@speaks_with_api
@file_argument
@no_wait_option
def start_bulk_operation(api: Connection, out: Output, file: Path, no_wait: bool) -> None:
    """Do the same to up to 500 items, which FILE has as the body of POST /api/bulk.

    Ends with 6 when one fails.
    """
    answer = api.call("startBulkOperation", body=read(file))
    if not no_wait:
        answer = follow(api, answer.json["id"])
    out.show_one(answer)
