"""Commands for the catalogue of images."""

from pathlib import Path

import click

from service.app import utc_now
from service.cli.context import command_store, report_errors
from service.serving import first_start


@click.group("images")
def group() -> None:
    """Import and list images."""


@group.command("import")
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@report_errors
def import_images(path: Path) -> None:
    """Import an image document, or every *.json of a folder. One of the same name is replaced.

    A document that says `"process": true` may run as a process of a machine: read it first.
    """
    with command_store("image") as store:
        for image in first_start.import_images(store, path, now=utc_now()):
            click.echo(f"{image['_id']}  {image['name']}")


@group.command("list")
@report_errors
def list_images() -> None:
    """List the images: id, name, container image."""
    with command_store() as store:
        for image in store.images.all():
            click.echo(f"{image['_id']}  {image['name']}  ({image['image']})")
