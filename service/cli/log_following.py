"""The log of an instance on a terminal, as it is printed."""

import json
import sys
from typing import Any

import click

from service.cli.connection import Connection
from service.cli.failures import Exit, Failure
from service.cli.live import follow
from service.cli.output import Output, Shape
from service.cli.text import printable
from service.config import no_color

ENDED = ("stopped", "gone", "deleted", "suspended")
"""Why a log ends that has no more lines. Any other reason is an error."""


def follow_log(api: Connection, out: Output, instance_id: str, query: dict[str, Any]) -> None:
    """Print lines as they are printed, until the log ends, or Ctrl-C.

    What a program wrote to its standard error is red on a terminal. Raises Failure for an end that
    is an error.
    """
    query = {**query, "follow": True}
    try:
        for event in follow(api, "getInstanceLogs", query=query, instance_id=instance_id):
            if event.name == "end":
                _end(json.loads(event.data))
            elif out.shape == Shape.JSON:
                click.echo(event.data)
            else:
                _show(json.loads(event.data))
    except KeyboardInterrupt as exc:
        raise click.exceptions.Exit(Exit.INTERRUPTED) from exc


def _show(line: dict[str, Any]) -> None:
    is_terminal = sys.stdout.isatty()
    text = printable(line["line"]) if is_terminal else line["line"]
    is_red = is_terminal and line.get("stream") == "stderr" and not no_color()
    time = f"{line['time']} " if "time" in line else ""
    click.echo(time + (click.style(text, fg="red") if is_red else text))


def _end(ending: dict[str, str]) -> None:
    message = printable(ending["message"])
    if ending["reason"] not in ENDED:
        raise Failure(message, Exit.UNREACHABLE)
    click.echo(message, err=True)
