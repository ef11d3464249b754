"""The options that say which Skyquay a command speaks with."""

from collections.abc import Callable
from typing import Any

import click

Command = Callable[..., Any]

_OPTIONS: tuple[tuple[tuple[str, ...], dict[str, Any]], ...] = (
    (("--url",), {"help": "The server, like https://skyquay.example.org. Or SKYQUAY_URL."}),
    (("--key",), {"help": "The API key; - reads it. SKYQUAY_KEY is seen by fewer others."}),
    (("--local", "is_local"), {"is_flag": True, "help": "Use the database of this machine."}),
    (
        ("--ca",),
        {"type": click.Path(exists=True), "help": "CA certificates of the server, PEM."},
    ),
    (
        ("--timeout", "timeout_s"),
        {
            "type": click.FloatRange(0, 3600, min_open=True),
            "help": "Seconds that an answer may take. Default: 30.",
        },
    ),
    (
        ("--as", "as_user"),
        {"metavar": "USER", "help": "Act for the user with this id, with no more rights."},
    ),
    (
        ("--verbose", "-v", "is_verbose"),
        {"is_flag": True, "help": "Show the request ids of errors."},
    ),
)


def connection_options(*, hidden: bool) -> Callable[[Command], Command]:
    """Give a command these options. They may stand before its name as well as behind it."""

    def decorate(command: Command) -> Command:
        for names, options in reversed(_OPTIONS):
            command = click.option(*names, hidden=hidden, **options)(command)
        return command

    return decorate


def pop_options(options: dict[str, Any]) -> dict[str, Any]:
    """Take these options out of a command's; those before its name count where these say nothing.

    `open_target` and `Connection` say what they are.
    """
    early = click.get_current_context().find_root().params
    chosen = {}
    for names, _ in _OPTIONS:
        name = next((one for one in names if not one.startswith("-")), names[0].strip("-"))
        chosen[name] = options.pop(name) or early.get(name)
    return chosen
