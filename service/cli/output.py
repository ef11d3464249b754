"""What commands print: tables on a terminal, plain lines elsewhere, or the API's own JSON."""

import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from urllib.parse import unquote

import click

from service.cli.connection import Answer
from service.cli.text import printable

Document = Mapping[str, Any]


class Shape(StrEnum):
    """How an answer is printed."""

    TABLE = "table"
    WIDE = "wide"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table: its heading, and what it has of a document."""

    heading: str
    of: str | Callable[[Document], object]
    is_wide: bool = False

    def read(self, document: Document) -> str:
        """Write the cell of a document."""
        return print_value(document.get(self.of) if isinstance(self.of, str) else self.of(document))


_COLORS = {
    "READY": "green", "running": "green", "Online": "green", "succeeded": "green", "done": "green",
    "FAILED": "red", "Offline": "red", "failed": "red",
    "INSTALLING": "yellow", "DELETING": "yellow", "Unconfigured": "yellow", "pending": "yellow",
    "refused": "yellow",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Output:
    """How one command prints."""

    shape: Shape

    def show_list(
        self, answer: Answer, columns: Sequence[Column], query: Mapping[str, Any]
    ) -> None:
        """Print a list: of what `fields` of its query asks for, or else in these columns."""
        if self.shape == Shape.JSON:
            self.show_json(answer)
            return
        names = str(query.get("fields", "")).split(",")
        asked = [Column(name.strip(), name.strip()) for name in names if name.strip()]
        self.show_rows(answer.json, asked or columns)
        link = answer.headers.get("Link", "")
        if 'rel="next"' in link and (cursor := re.search(r"[?&]cursor=([^&>]+)", link)):
            click.echo(f"There are more: --cursor {unquote(cursor[1])}", err=True)

    def show_rows(self, documents: Iterable[Document], columns: Sequence[Column]) -> None:
        """Print documents, a line each. Only on a terminal with headings."""
        shown = [column for column in columns if not column.is_wide or self.shape == Shape.WIDE]
        rows = [[column.read(document) for column in shown] for document in documents]
        if sys.stdout.isatty():
            _print_table([column.heading for column in shown], rows)
            return
        widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
        for row in rows:
            cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            click.echo("  ".join(cells).rstrip())

    def show_one(self, answer: Answer) -> None:
        """Print a document, a line for each field. What says nothing is left out, unless `wide`."""
        if self.shape == Shape.JSON:
            self.show_json(answer)
            return
        fields = {
            name: print_value(value)
            for name, value in answer.json.items()
            if self.shape == Shape.WIDE or value not in (None, "", [], {})
        }
        if self.shape == Shape.WIDE and "ETag" in answer.headers:
            fields["ETag"] = printable(answer.headers["ETag"])
        if sys.stdout.isatty():
            _print_table([], [list(field) for field in fields.items()])
            return
        width = max(map(len, fields), default=0)
        for name, value in fields.items():
            click.echo(f"{name:{width}}  {value}".rstrip())

    def show_json(self, answer: Answer) -> None:
        """Print the body of the answer as it came."""
        if answer.text:
            click.echo(answer.text.rstrip("\n"))

    def show_done(self, answer: Answer, sentence: str) -> None:
        """Print that something was done, or the API's JSON."""
        if self.shape == Shape.JSON:
            self.show_json(answer)
        else:
            click.echo(printable(sentence))


def print_value(value: object) -> str:
    """Write a value of JSON in a cell."""
    if value is None or value in ([], {}):
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return printable(", ".join(value))
    if isinstance(value, (dict, list)):
        return printable(json.dumps(value, ensure_ascii=False))
    return printable(str(value))


def print_time(name: str) -> Callable[[Document], str | None]:
    """Make what writes a time of a document to the minute."""

    def read(document: Document) -> str | None:
        time = document.get(name)
        return None if time is None else str(time)[:16].replace("T", " ")

    return read


def _print_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, show_header=bool(headings), header_style="bold")
    for position, heading in enumerate(headings or ("", "")):
        table.add_column(heading, overflow="fold", no_wrap=position == 0)
    for row in rows:
        table.add_row(*(Text(cell, style=_COLORS.get(cell, "")) for cell in row))
    Console(highlight=False).print(table)
