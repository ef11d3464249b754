"""The command `skyquay`: a module for each group of commands, imported when it is called."""

import gc
from importlib import import_module
from types import MappingProxyType

import click

from service.cli.connection_options import connection_options

COMMANDS = MappingProxyType(
    {
        "up": "running.up",
        "serve": "running.serve",
        "worker": "running.worker",
        "login": "login.login",
        "logout": "login.logout",
        "me": "login.show_me",
        "instances": "instances.group",
        "operations": "operations.group",
        "audit": "audit.list_audit",
        "events": "events.list_events",
        "stats": "stats.list_stats",
        "top": "top.top",
        "completion": "completion.completion",
        "keys": "keys.group",
        "users": "users.group",
        "images": "images.group",
        "nodes": "nodes.group",
        "webhooks": "webhooks.group",
        "secrets": "secrets.group",
        "import-skyport": "skyport_import.import_skyport",
        "migrate": "database.migrate",
        "backup": "database.backup",
        "restore": "database.restore",
        "doctor": "doctor.examine",
        "openapi": "openapi.openapi",
    }
)
"""Where each command lies: a module of this package, and a name in it."""


GC_THRESHOLD = 50_000
"""How many new objects make the garbage collector look. Python's own is 700."""


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called, or listed by `--help`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """List the names of the commands."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command. None for a name that is none."""
        if cmd_name not in COMMANDS:
            return None
        # Imports make many objects, all of which stay: to look through them takes a quarter of a
        # start. What comes after makes less garbage than that in a second.
        gc.set_threshold(GC_THRESHOLD)
        module, name = COMMANDS[cmd_name].split(".")
        command: click.Command = getattr(import_module(f"{__name__}.{module}"), name)
        return command


@click.group(cls=LazyGroup)
@click.version_option(package_name="skyquay", prog_name="skyquay")
@connection_options(hidden=False)
def main(**options: object) -> None:
    """Manage containers that you host yourself.

    Commands for users, instances, images, nodes, keys, operations, webhooks and the audit log
    speak with the server of --url, of SKYQUAY_URL or of `skyquay login`; with none of these, and
    with --local, they use the database of this machine. All others are for this machine.
    """
