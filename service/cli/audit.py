"""The command for the audit log."""

from typing import Any

import click

from service.cli.api_commands import speaks_with_api
from service.cli.connection import Connection
from service.cli.output import Column, Output, Shape, print_time
from service.cli.schema_options import query_options
from service.contract.audit import AuditQuery

COLUMNS = (
    Column("TIME", print_time("at")),
    Column("ACTION", "action"),
    Column("TARGET", "target"),
    Column("OUTCOME", "outcome"),
    Column("KEY", "key"),
    Column("ID", "id", is_wide=True),
    Column("ADDRESS", "address", is_wide=True),
    Column("STATUS", "status", is_wide=True),
    Column("CODE", "code", is_wide=True),
    Column("COUNT", "count", is_wide=True),
    Column("BEFORE", "before", is_wide=True),
    Column("AFTER", "after", is_wide=True),
)


@click.command("audit")
@speaks_with_api
@query_options("listAuditEntries", AuditQuery, key="--by-key")
def list_audit(api: Connection, out: Output, query: dict[str, Any]) -> None:
    """List what was changed, by whom and how that ended, the newest first."""
    answer = api.call("listAuditEntries", query=query)
    if out.shape == Shape.JSON:
        out.show_json(answer)
        return
    out.show_rows(answer.json["entries"], COLUMNS)
    if answer.json["next"] is not None:
        click.echo(f"There are more: --cursor {answer.json['next']}", err=True)
