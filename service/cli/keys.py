"""Commands for API keys."""

from datetime import timedelta
from typing import Any

import click

from service import keys
from service.app import utc_now
from service.cli.context import command_store, name_target, report_errors
from service.errors import NotFound
from service.model.access import COMPATIBILITIES, GRANTS, parse_network
from service.model.documents import Key


@click.group("keys")
def group() -> None:
    """Make, list, rotate and revoke API keys."""


@group.command("create")
@click.option("--name", default="cli", show_default=True, help="What you call it.")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice(GRANTS),
    metavar="SCOPE",
    help="What it may do, again for more; everything if absent.",
)
@click.option("--user", "user_id", help="Limit it to this user and the user's instances.")
@click.option("--instance", "instance_ids", multiple=True, help="Limit it to these instances.")
@click.option("--node", "node_ids", multiple=True, help="Limit it to these nodes.")
@click.option("--network", "networks", multiple=True, help="Limit where it may be used from.")
@click.option("--days", type=click.FloatRange(0, 36500, min_open=True), help="Days it works for.")
@click.option(
    "--compatibility",
    type=click.Choice(COMPATIBILITIES),
    help="Answer it as that version of the older panel did, where it differs from its reference.",
)
@report_errors
def create_key(name: str, days: float | None, compatibility: str | None, **options: Any) -> None:
    """Make an API key, by default with all rights. It is printed now and never again."""
    limits: Any = {option: list(value) if isinstance(value, tuple) else value
              for option, value in options.items() if value}  # fmt: skip
    for network in limits.get("networks", ()):
        try:
            parse_network(network)
        except ValueError as exc:
            raise click.ClickException(str(exc)) from exc
    if days:
        limits["expires_at"] = utc_now() + timedelta(days=days)
    with command_store("key") as store:
        document, key = keys.create(
            store, name=name, grant=limits, compatibility=compatibility, now=utc_now()
        )
        name_target(document["_id"])
        click.echo(key)
        click.echo(f"To revoke it: skyquay keys revoke {document['_id']}", err=True)


@group.command("list")
@report_errors
def list_keys() -> None:
    """List the API keys: id, name, how it begins, what it may do, when it was made and used."""
    with command_store() as store:
        for key in store.keys.all():
            used = key["last_used_at"]
            click.echo(
                f"{key['_id']}  {key['name']:20}  {key['prefix']:9}  {_describe_access(key)}"
                f"  made {key['created_at']:%Y-%m-%d %H:%M}"
                f"  used {used.strftime('%Y-%m-%d %H:%M') if used else 'never'}"
            )


def _describe_access(key: Key) -> str:
    """Say in one column what a key may do, on what and until when."""
    limits = {
        "user": key["user_id"] and [key["user_id"]],
        "instances": key["instance_ids"],
        "nodes": key["node_ids"],
        "from": key["networks"],
        "until": key["expires_at"] and [f"{key['expires_at']:%Y-%m-%d %H:%M}"],
    }
    limited = (f"{name} {','.join(values)}" for name, values in limits.items() if values)
    return "; ".join([",".join(key["scopes"]), *limited])


@group.command("rotate")
@click.argument("key_id")
@click.option(
    "--overlap",
    default=3600.0,
    show_default=True,
    type=click.FloatRange(min=0),
    help="Seconds for which the old value works beside the new one.",
)
@report_errors
def rotate_key(key_id: str, overlap: float) -> None:
    """Give an API key a new value. It is printed now and never again."""
    with command_store("key", key_id) as store:
        _, value = keys.rotate(store, store.keys.get(key_id), overlap_s=overlap, now=utc_now())
        click.echo(value)


@group.command("revoke")
@click.argument("key_id")
@report_errors
def revoke_key(key_id: str) -> None:
    """Make an API key worthless at once."""
    with command_store("key", key_id) as store:
        if not keys.revoke(store, key_id):
            raise NotFound("key", key_id)
        click.echo("Revoked.")
