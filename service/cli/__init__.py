"""The command `skyquay`: a module for each group of commands."""

import click

from service.cli import (
    database,
    doctor,
    images,
    keys,
    moving_in,
    nodes,
    openapi,
    running,
    users,
)


@click.group()
@click.version_option(package_name="skyquay", prog_name="skyquay")
def main() -> None:
    """Manage containers that you host yourself."""


for command in (
    running.up,
    running.serve,
    running.worker,
    keys.group,
    users.group,
    images.group,
    nodes.group,
    nodes.secrets_group,
    moving_in.import_skyport,
    database.migrate,
    database.backup,
    database.restore,
    doctor.examine,
    openapi.openapi,
):
    main.add_command(command)
