"""Commands for API keys."""

from datetime import UTC, datetime, timedelta
from typing import Any

import click

from service.cli.api_commands import confirm, speaks_with_api, yes_option
from service.cli.connection import REFERENCE, Connection
from service.cli.output import Column, Document, Output, Shape, print_time
from service.cli.schema_options import SchemaOption, body_options, if_match_option, query_options
from service.contract.keys import CreateKey, EditKey
from service.contract.list_queries import KeysQuery
from service.model.access import parse_network


def _describe_access(key: Document) -> str:
    """Say in one column what a key may do, on what and until when."""
    limits = {
        "user": key["user"] and [key["user"]],
        "instances": key["instances"],
        "nodes": key["nodes"],
        "from": key["networks"],
        "until": key["expiresAt"] and [print_time("expiresAt")(key)],
    }
    limited = (f"{name} {','.join(values)}" for name, values in limits.items() if values)
    return "; ".join([",".join(key["scopes"]), *limited])


COLUMNS = (
    Column("ID", "id"),
    Column("NAME", "name"),
    Column("KEY", "prefix"),
    Column("ACCESS", _describe_access),
    Column("CREATED", print_time("createdAt")),
    Column("USED", lambda key: print_time("lastUsedAt")(key) or "never"),
    Column("CREATED BY", "createdBy", is_wide=True),
    Column("COMPATIBILITY", "compatibility", is_wide=True),
)

_reference = click.argument("key_id", metavar="KEY_ID", type=REFERENCE)


@click.group("keys")
def group() -> None:
    """Make, list, rotate and revoke API keys."""


@group.command("list")
@speaks_with_api
@query_options("listKeys", KeysQuery)
def list_keys(api: Connection, out: Output, query: dict[str, Any]) -> None:
    """List the API keys: id, name, how it begins, what it may do, when it was made and used."""
    out.show_list(api.call("listKeys", query=query), COLUMNS, query)


@group.command("show")
@speaks_with_api
@_reference
def show_key(api: Connection, out: Output, key_id: str) -> None:
    """Show an API key, but not its value."""
    out.show_one(api.call("getKey", key_id=key_id))


@group.command("create")
@speaks_with_api
@click.option(
    "--name",
    default="cli",
    show_default=True,
    cls=SchemaOption,
    operation="createKey",
    wire_name="name",
    help="What you call it.",
)
@body_options("createKey", CreateKey, leave_out=("name",))
@click.option("--days", type=click.FloatRange(0, 36500, min_open=True), help="Days it works for.")
def create_key(
    api: Connection, out: Output, name: str, days: float | None, body: dict[str, Any]
) -> None:
    """Make an API key, by default with all rights. It is printed now and never again."""
    for network in body.get("networks", ()):
        try:
            parse_network(network)
        except ValueError as exc:
            raise click.ClickException(str(exc)) from exc
    if days:
        body["expiresAt"] = (datetime.now(UTC) + timedelta(days=days)).isoformat()
    answer = api.call("createKey", body={"name": name, "scopes": ["*"], **body})
    out.show_done(answer, answer.json["key"])
    if out.shape != Shape.JSON:
        click.echo(f"To revoke it: skyquay keys revoke {answer.json['id']}", err=True)


@group.command("edit")
@speaks_with_api
@_reference
@body_options("editKey", EditKey)
@if_match_option("editKey")
def edit_key(api: Connection, out: Output, key_id: str, body: dict[str, Any]) -> None:
    """Change an API key's name, or when it expires."""
    if not body:
        raise click.UsageError("Say what to change.")
    out.show_one(api.call("editKey", key_id=key_id, body=body))


@group.command("rotate")
@speaks_with_api
@_reference
@click.option(
    "--overlap",
    default=3600.0,
    show_default=True,
    type=click.FloatRange(min=0),
    cls=SchemaOption,
    operation="rotateKey",
    wire_name="overlap",
    help="Seconds for which the old value works beside the new one.",
)
@if_match_option("rotateKey")
def rotate_key(api: Connection, out: Output, key_id: str, overlap: float) -> None:
    """Give an API key a new value. It is printed now and never again."""
    answer = api.call("rotateKey", key_id=key_id, body={"overlap": overlap})
    out.show_done(answer, answer.json["key"])


@group.command("revoke")
@speaks_with_api
@_reference
@yes_option
@if_match_option("revokeKey")
def revoke_key(api: Connection, out: Output, key_id: str, yes: bool) -> None:
    """Make an API key worthless at once.

    On the database of this machine it does not ask first.
    """
    confirm(f"Revoke the API key {key_id}?", yes=yes or api.is_local)
    out.show_done(api.call("revokeKey", key_id=key_id), "Revoked.")
