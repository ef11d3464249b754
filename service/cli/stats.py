"""The command for what instances used lately."""

from typing import Any

import click

from service.cli.api_commands import speaks_with_api
from service.cli.connection import Connection
from service.cli.output import Output, Shape
from service.cli.schema_options import query_options
from service.cli.usage_tables import INSTANCE_COLUMNS
from service.contract.stats import StatsQuery


@click.command("stats")
@speaks_with_api
@query_options("listStats", StatsQuery)
def list_stats(api: Connection, out: Output, query: dict[str, Any]) -> None:
    """List what instances used last; with --json also in the last hour."""
    wanted = query if out.shape == Shape.JSON else {"latest": True, **query}
    answer = api.call("listStats", query=wanted)
    if out.shape == Shape.JSON:
        out.show_json(answer)
        return
    out.show_rows(answer.json["instances"], INSTANCE_COLUMNS)
    for skipped in answer.json["skipped"]:
        click.echo(f"Node {skipped['nodeId']}: {skipped['reason']}", err=True)
    if answer.json["next"] is not None:
        click.echo(f"There are more: --cursor {answer.json['next']}", err=True)
