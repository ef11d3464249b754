"""What all commands have that speak with the API: their options, and what they print with."""

import sys
from collections.abc import Callable
from functools import wraps
from typing import Any

import click

from service.cli.connection import Connection
from service.cli.connection_options import connection_options, pop_options
from service.cli.output import Output, Shape
from service.cli.target import open_target

Command = Callable[..., Any]


def speaks_with_api(command: Command) -> Command:
    """Give a command the API and what it prints with, and the options for both."""

    @wraps(command)
    def call(*args: Any, **options: Any) -> Any:
        as_json, shape = options.pop("as_json"), Shape(options.pop("shape"))
        chosen = pop_options(options)
        as_user, is_verbose = chosen.pop("as_user"), bool(chosen.pop("is_verbose"))
        connection = Connection(open_target(**chosen), as_user=as_user, is_verbose=is_verbose)
        return command(connection, Output(Shape.JSON if as_json else shape), *args, **options)

    made: Command = call
    made = connection_options(hidden=True)(made)
    made = click.option("--json", "as_json", is_flag=True, help="Print the API's JSON.")(made)
    return click.option(
        "--output",
        "shape",
        type=click.Choice([each.value for each in Shape]),
        default=Shape.TABLE.value,
        help="How to print; `wide` shows more.",
    )(made)


def confirm(question: str, *, yes: bool) -> None:
    """Ask before something is destroyed. Raises UsageError where nobody can be asked."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError(f"{question} There is no terminal to ask on: say --yes.")
    click.confirm(question, abort=True, err=True)


yes_option = click.option("--yes", is_flag=True, help="Do not ask first.")
