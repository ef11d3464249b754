"""The command for events."""

import json
import time
from typing import Any

import click

from service.cli.api_commands import speaks_with_api
from service.cli.connection import Answer, Connection
from service.cli.following import LOOK_EVERY_S
from service.cli.output import Column, Output, Shape, print_time
from service.cli.schema_options import query_options
from service.contract.events import EventsQuery

COLUMNS = (
    Column("TIME", print_time("time")),
    Column("TYPE", "type"),
    Column("OF", "resourceId"),
    Column("KEY", "causedBy"),
    Column("ID", "id", is_wide=True),
    Column("INSTANCE", "instanceId", is_wide=True),
    Column("USER", "userId", is_wide=True),
    Column("NODE", "nodeId", is_wide=True),
    Column("REQUEST", "requestId", is_wide=True),
)

WAIT_S = 30
"""How long one request of `--follow` waits."""


@click.command("events")
@speaks_with_api
@query_options("listEvents", EventsQuery)
@click.option("-f", "--follow", is_flag=True, help="Go on with what happens, until Ctrl-C.")
def list_events(api: Connection, out: Output, query: dict[str, Any], follow: bool) -> None:
    """List what happened, the newest last; with --follow also what happens next."""
    answer = api.call("listEvents", query=query)
    _show(out, answer, follow=follow)
    while follow:
        began_at = time.monotonic()
        after = {**query, "after": answer.json["next"], "wait": WAIT_S}
        answer = api.call("listEvents", query=after)
        _show(out, answer, follow=True)
        if not answer.json["events"]:
            # A server where too many wait answers at once.
            time.sleep(max(0.0, LOOK_EVERY_S - (time.monotonic() - began_at)))


def _show(out: Output, answer: Answer, *, follow: bool) -> None:
    if out.shape != Shape.JSON:
        out.show_rows(answer.json["events"], COLUMNS)
    elif not follow:
        out.show_json(answer)
    else:
        for event in answer.json["events"]:
            click.echo(json.dumps(event, ensure_ascii=False))
