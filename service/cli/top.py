"""The command that shows what nodes and instances use, as it changes."""

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from service.cli.api_commands import speaks_with_api
from service.cli.connection import Connection
from service.cli.failures import Rejected, Unreachable
from service.cli.keyboard import reading_keys
from service.cli.output import Column, Output, Shape, print_value
from service.cli.usage_tables import INSTANCE_COLUMNS, print_bytes

if TYPE_CHECKING:
    from rich.console import RenderableType

Document = dict[str, Any]

PAGE = 1000
MOST = 10_000
"""How many instances are looked at; the first of them, where there are more."""

_FORBIDDEN = 403


def _used(instance: Document, name: str) -> float:
    latest = instance["latest"]
    return -1.0 if latest is None or latest[name] is None else float(latest[name])


SORTS: Mapping[str, Callable[[Document], Any]] = {
    "cpu": lambda instance: -_used(instance, "cpu"),
    "memory": lambda instance: -_used(instance, "memoryBytes"),
    "name": lambda instance: str(instance["Name"]).casefold(),
}
"""The orders of instances, each with its key: c, m and n."""

NODE_COLUMNS = (
    Column("NODE", "name"),
    Column("STATUS", "status"),
    Column("INSTANCES", "instances"),
    Column("CPU", lambda node: f"{node['cpu']:.2f}"),
    Column("MEMORY", lambda node: print_bytes(node["memoryBytes"])),
    Column(
        "PROMISED", lambda node: f"{node['allocatedMemoryMib']} of {node['memoryMib'] or '?'} MiB"
    ),
    Column("SAMPLES", lambda node: node["skipped"] or "complete"),
)


class Look(NamedTuple):
    """What one look at the API found."""

    nodes: list[Document]
    instances: list[Document]
    interval_s: float


@click.command("top")
@speaks_with_api
@click.option("--user", help="Only instances of the user with this id.")
@click.option("--node", help="Only this node: its id or its name.")
@click.option(
    "--sort", type=click.Choice(list(SORTS)), default="cpu", help="What comes first.",
    show_default=True,
)  # fmt: skip
@click.option(
    "--interval", type=click.FloatRange(1, 3600), default=5.0, show_default=True,
    help="Seconds between two looks.",
)  # fmt: skip
def top(
    api: Connection, out: Output, user: str | None, node: str | None, sort: str, interval: float
) -> None:
    """Show what nodes and instances use, as it changes: q ends it; c, m and n sort.

    Without a terminal, and with --json, once.
    """
    chosen = {"user": user, "node": node}
    query = {name: value for name, value in chosen.items() if value is not None}
    is_live = sys.stdin.isatty() and sys.stdout.isatty() and out.shape != Shape.JSON
    if is_live:
        _show_live(api, query, sort, interval)
        return
    found = look(api, query)
    instances = sorted(found.instances, key=SORTS[sort])
    if out.shape == Shape.JSON:
        click.echo(json.dumps({"nodes": found.nodes, "instances": instances}, ensure_ascii=False))
        return
    out.show_rows(found.nodes, NODE_COLUMNS)
    out.show_rows(instances, INSTANCE_COLUMNS)


def look(api: Connection, query: Mapping[str, str]) -> Look:
    """Look at what nodes and instances use. A key that may read no nodes sees instances alone."""
    instances: list[Document] = []
    skipped: dict[str, str] = {}
    interval_s, cursor = 0.0, None
    while len(instances) < MOST:
        page = {**query, "latest": True, "limit": PAGE} | ({"cursor": cursor} if cursor else {})
        answer = api.call("listStats", query=page).json
        instances += answer["instances"]
        skipped |= {each["nodeId"]: each["reason"] for each in answer["skipped"]}
        interval_s = max(interval_s, answer["intervalSeconds"])
        cursor = answer["next"]
        if cursor is None:
            break
    try:
        nodes = api.call("listNodes").json
    except Rejected as exc:
        if exc.status != _FORBIDDEN:
            raise
        nodes = []
    wanted = query.get("node")
    shown = [each for each in nodes if wanted in (None, each["id"], each["name"])]
    names = {each["id"]: each["name"] for each in nodes}
    return Look(
        [_add_usage(each, instances, skipped) for each in shown],
        [{**each, "nodeId": names.get(each["nodeId"], each["nodeId"])} for each in instances],
        interval_s,
    )


def _add_usage(node: Document, instances: list[Document], skipped: Mapping[str, str]) -> Document:
    here = [each for each in instances if each["nodeId"] == node["id"]]
    return {
        **node,
        "cpu": sum(max(0.0, _used(each, "cpu")) for each in here),
        "memoryBytes": sum(max(0.0, _used(each, "memoryBytes")) for each in here),
        "skipped": skipped.get(node["id"]),
    }


def _show_live(api: Connection, query: Mapping[str, str], sort: str, interval_s: float) -> None:
    from rich.console import Console
    from rich.live import Live

    by_key = {name[0]: name for name in SORTS}
    console = Console(highlight=False)
    found, problem = look(api, query), ""
    with reading_keys() as read_key, Live(console=console, screen=True, auto_refresh=False) as live:
        looked_at = time.monotonic()
        while True:
            live.update(_render(found, sort, problem, height=console.height), refresh=True)
            key = read_key(max(0.0, looked_at + interval_s - time.monotonic()))
            if key == "q":
                return
            sort = by_key.get(key, sort)
            if not key:
                looked_at = time.monotonic()
                try:
                    found, problem = look(api, query), ""
                except Unreachable as exc:  # what was seen last stays, and it is tried again
                    problem = exc.message.splitlines()[0]


def _render(found: Look, sort: str, problem: str, *, height: int) -> "RenderableType":
    from rich.console import Group
    from rich.text import Text

    room = max(1, height - len(found.nodes) - 5)
    instances = sorted(found.instances, key=SORTS[sort])
    hidden = len(instances) - room
    foot = f"by {sort}, sampled every {found.interval_s:g} s  (c m n: sort, q: quit)"
    if hidden > 0:
        foot = f"{hidden} more; {foot}"
    return Group(
        _make_table(found.nodes, NODE_COLUMNS),
        "",
        _make_table(instances[:room], INSTANCE_COLUMNS),
        Text(problem or foot, style="red" if problem else "dim"),
    )


def _make_table(rows: Sequence[Document], columns: Sequence[Column]) -> "RenderableType":
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    shown = [column for column in columns if not column.is_wide]
    for column in shown:
        table.add_column(column.heading, no_wrap=True, overflow="ellipsis")
    for row in rows:
        table.add_row(*(Text(print_value(column.read(row))) for column in shown))
    return table
