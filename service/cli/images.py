"""Commands for the catalogue of images."""

import json
from pathlib import Path
from typing import Any

import click

from service.cli.api_commands import confirm, speaks_with_api, yes_option
from service.cli.connection import REFERENCE, Connection
from service.cli.failures import Exit, Failure, Rejected
from service.cli.json_files import file_argument, read
from service.cli.output import Column, Output, Shape
from service.cli.schema_options import body_options, if_match_option, query_options
from service.contract.image_files import CreateImage
from service.contract.list_queries import ImagesQuery

COLUMNS = (
    Column("ID", "Id"),
    Column("NAME", "Name"),
    Column("IMAGE", lambda image: f"({image['Image']})"),
    Column("DESCRIPTION", "Description", is_wide=True),
)

_reference = click.argument("image_id", metavar="IMAGE", type=REFERENCE)


@click.group("images")
def group() -> None:
    """Manage the images that can be deployed. IMAGE is an id or a name."""


@group.command("list")
@speaks_with_api
@query_options("listImages", ImagesQuery)
def list_images(api: Connection, out: Output, query: dict[str, Any]) -> None:
    """List the images: id, name, container image."""
    out.show_list(api.call("listImages", query=query), COLUMNS, query)


@group.command("show")
@speaks_with_api
@_reference
def show_image(api: Connection, out: Output, image_id: str) -> None:
    """Show an image."""
    out.show_one(api.call("getImage", image_id=image_id))


@group.command("create")
@speaks_with_api
@body_options("createImage", CreateImage)
def create_image(api: Connection, out: Output, body: dict[str, Any]) -> None:
    """Add an image and print its id."""
    answer = api.call("createImage", body=body)
    out.show_done(answer, answer.json["Id"])


@group.command("edit")
@speaks_with_api
@_reference
@body_options("editImage", CreateImage, is_patch=True)
@if_match_option("editImage")
def edit_image(api: Connection, out: Output, image_id: str, body: dict[str, Any]) -> None:
    """Change an image. What is not given stays, and so do its instances."""
    if not body:
        raise click.UsageError("Say what to change.")
    out.show_one(api.call("editImage", image_id=image_id, body=body))


@group.command("replace")
@speaks_with_api
@_reference
@file_argument
@if_match_option("replaceImage")
def replace_image(api: Connection, out: Output, image_id: str, file: Path) -> None:
    """Replace an image by an image document. Its instances stay as they are."""
    answer = api.call("replaceImage", image_id=image_id, body=read(file))
    out.show_done(answer, f"{answer.json['Id']}  {answer.json['Name']}")


@group.command("delete")
@speaks_with_api
@_reference
@yes_option
@if_match_option("deleteImage")
def delete_image(api: Connection, out: Output, image_id: str, yes: bool) -> None:
    """Delete an image that no instance uses."""
    confirm(f"Delete the image {image_id}?", yes=yes)
    out.show_done(api.call("deleteImage", image_id=image_id), "Deleted.")


@group.command("export")
@speaks_with_api
@_reference
def export_image(api: Connection, out: Output, image_id: str) -> None:
    """Print an image as a document that can be imported."""
    document = api.call("exportImage", image_id=image_id)
    if out.shape == Shape.JSON:
        out.show_json(document)
    else:
        click.echo(json.dumps(document.json, indent=2, ensure_ascii=False))


@group.command("import")
@speaks_with_api
@click.argument("path", type=click.Path(exists=True, path_type=Path))
def import_images(api: Connection, out: Output, path: Path) -> None:
    """Import an image document, or every *.json of a folder. One of the same name is replaced.

    A document that says `"process": true` may run as a process of a machine: read it first.
    On the database of this machine nothing is imported unless all can be; over HTTP they are
    imported one by one, up to the first that is refused.
    """
    if api.is_local:
        _import_here(path)
        return
    files = sorted(path.glob("*.json")) if path.is_dir() else [path]
    if not files:
        raise click.ClickException(f"There is no *.json in {path}.")
    for file, document in [(file, read(file)) for file in files]:
        try:
            answer = api.call("importImage", body=document)
        except Rejected as exc:
            raise Failure(f"{file}: {exc.message}", Exit(exc.exit_code)) from exc
        out.show_done(answer, f"{answer.json['Id']}  {answer.json['Name']}")


def _import_here(path: Path) -> None:
    """Import all images at once: who has the database may also have them run as processes."""
    from service.app import utc_now
    from service.cli.context import command_store, report_errors
    from service.serving import first_start

    @report_errors
    def run() -> None:
        with command_store("image") as store:
            for image in first_start.import_images(store, path, now=utc_now()):
                click.echo(f"{image['_id']}  {image['name']}")

    run()
