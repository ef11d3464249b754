"""Commands for the catalogue of images."""

from pathlib import Path

import click

from service import first_start
from service.app import utc_now
from service.cli.context import any_store, plainly


@click.group("images")
def group() -> None:
    """Import and list images."""


@group.command("import")
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@plainly
def import_images(path: Path) -> None:
    """Import an image document, or every *.json of a folder. One of the same name is replaced.

    A document that says `"process": true` may run as a process of a machine: read it first.
    """
    with any_store("image") as store:
        for image in first_start.import_images(store, path, now=utc_now()):
            click.echo(f"{image['_id']}  {image['name']}")


@group.command("list")
@plainly
def list_images() -> None:
    """List the images: id, name, container image."""
    with any_store() as store:
        for image in store.images.list():
            click.echo(f"{image['_id']}  {image['name']}  ({image['image']})")
