"""Commands for what users have, and may have."""

from collections.abc import Callable
from typing import Any

import click

from service.cli.api_commands import speaks_with_api
from service.cli.connection import REFERENCE, Connection
from service.cli.output import Column, Output, Shape
from service.cli.usage_tables import print_bytes
from service.contract.quotas import QuotaFields

_COLUMNS = (
    Column("WHAT", "what"),
    Column("PROMISED", "promised"),
    Column("QUOTA", "quota"),
    Column("USED", "used"),
)

_reference = click.argument("user_id", metavar="USER", type=REFERENCE)


def _limit_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for field in reversed(QuotaFields().load_fields.values()):
        name, text = field.data_key or field.name, str(field.metadata["description"])
        option = click.option(f"--{name}", help=f"{text} `none`: no limit.")
        command = option(command)
    return command


@click.command("quota")
@speaks_with_api
@_reference
@_limit_options
def set_quota(api: Connection, out: Output, user_id: str, **limits: str | None) -> None:
    """Limit what a user's instances may be promised together. What is not given stays."""
    given = {
        name: None if limit == "none" else limit
        for name, limit in limits.items()
        if limit is not None
    }
    if not given:
        raise click.UsageError("Say what to limit; `users usage` shows the quota.")
    out.show_one(api.call("editUser", user_id=user_id, body={"quota": given}))


@click.command("usage")
@speaks_with_api
@click.argument("user_id", metavar="[USER]", type=REFERENCE, required=False)
def show_usage(api: Connection, out: Output, user_id: str | None) -> None:
    """Show what a user's instances are promised, may be, and use; yours without USER."""
    if user_id is None:
        answer = api.call("getOwnUsage")
    else:
        answer = api.call("getUserUsage", user_id=user_id)
    if out.shape == Shape.JSON:
        out.show_json(answer)
        return
    usage, measured = answer.json, answer.json["measured"] or {}
    used = {
        "cpu": measured.get("cpu"),
        "memory": print_bytes(measured.get("memoryBytes")),
        "disk": print_bytes(measured.get("diskBytes")),
    }
    rows = [
        {"what": what, "promised": amount, "quota": usage["quota"][what], "used": used.get(what)}
        for what, amount in usage["promised"].items()
    ]
    out.show_rows(rows, _COLUMNS)
    for warning in usage["warnings"]:
        click.echo(warning, err=True)
