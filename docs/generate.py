"""Writes docs/settings.md and docs/commands.md from the code: `make docs`."""

import inspect
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import click

from service.cli import main
from service.config import Config, describe_settings, variable

SETTINGS = """# Settings

All settings are environment variables, read at start. One that is unset or empty has its default. A
variable that begins with `SKYQUAY_` and is no setting is named in a warning at start.

Secrets may be in files instead, which these name: {secrets}.

| variable | default | meaning |
| --- | --- | --- |
{rows}
"""

COMMANDS = """# Commands

After `make run`, `skyquay` is `.venv/bin/skyquay`. Commands that need the database use
`SKYQUAY_MONGODB_URI`, or else the private one of a `skyquay up` that runs on the same data folder.
What is not given as an option is one of the [settings](settings.md).

{commands}
"""


def settings_page() -> str:
    """Write the page of the settings."""
    secrets = [f"`{variable(one.name)}_FILE`" for one in fields(Config) if one.metadata["secret"]]
    rows = [
        f"| `{name}` | {f'`{default}`' if default else ''} | {meaning} |"
        for name, default, meaning in describe_settings()
    ]
    return SETTINGS.format(secrets=", ".join(secrets), rows="\n".join(rows))


def commands_page() -> str:
    """Write the page of the commands."""
    return COMMANDS.format(
        commands="\n\n".join(_describe(main, click.Context(main, info_name="skyquay")))
    )


def _describe(group: click.Group, context: click.Context) -> Iterator[str]:
    for name in group.list_commands(context):
        command = group.get_command(context, name) or group
        inner = click.Context(command, info_name=name, parent=context)
        if isinstance(command, click.Group):
            yield from _describe(command, inner)
        else:
            yield _describe_command(command, inner)


def _describe_command(command: click.Command, context: click.Context) -> str:
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    parts = [
        f"## {context.command_path}",
        f"```text\n{usage}\n```",
        inspect.cleandoc(command.help or ""),
    ]
    options = [param for param in command.params if isinstance(param, click.Option)]
    records = [record for option in options if (record := option.get_help_record(context))]
    if records:
        rows = [
            " | ".join(cell.replace("|", r"\|") for cell in (f"`{names}`", meaning))
            for names, meaning in records
        ]
        parts.append("\n".join(f"| {row} |" for row in ["option | meaning", "--- | ---", *rows]))
    return "\n\n".join(parts)


PAGES = {"settings.md": settings_page, "commands.md": commands_page}

if __name__ == "__main__":
    for page, write in PAGES.items():
        Path(__file__).with_name(page).write_text(write(), "utf-8")
