"""Commands for webhooks."""

from typing import Any

import click

from service.cli.api_commands import confirm, speaks_with_api, yes_option
from service.cli.connection import REFERENCE, Connection
from service.cli.output import Column, Document, Output, Shape, print_time
from service.cli.schema_options import body_options, if_match_option, query_options
from service.contract.webhooks import (
    AddWebhook,
    DeliveriesQuery,
    EditWebhook,
    RotateWebhook,
    WebhooksQuery,
)


def _print_types(webhook: Document) -> str:
    return ",".join(webhook["types"] or ["all"])


def _print_state(webhook: Document) -> str:
    return "enabled" if webhook["enabled"] else str(webhook["disabled"]["reason"])


def _print_last(delivery: Document) -> str:
    """Say what the receiver answered last."""
    if not delivery["attempts"]:
        return ""
    last = delivery["attempts"][-1]
    return str(last["error"] or last["status"])


COLUMNS = (
    Column("ID", "id"),
    Column("URL", "url"),
    Column("TYPES", _print_types),
    Column("STATE", _print_state),
    Column("CREATED", print_time("createdAt")),
    Column("KEY", "key", is_wide=True),
    Column("FOR", "actsFor", is_wide=True),
)

DELIVERIES = (
    Column("ID", "id"),
    Column("TYPE", "type"),
    Column("STATUS", "status"),
    Column("ATTEMPTS", lambda delivery: str(len(delivery["attempts"]))),
    Column("LAST", _print_last),
    Column("CREATED", print_time("createdAt")),
    Column("NEXT", print_time("nextAttemptAt"), is_wide=True),
)

_reference = click.argument("webhook_id", metavar="WEBHOOK_ID", type=REFERENCE)
_delivery = click.argument("delivery_id", metavar="DELIVERY_ID", type=REFERENCE)


@click.group("webhooks")
def group() -> None:
    """Have events sent to a URL, and see what became of them."""


@group.command("list")
@speaks_with_api
@query_options("listWebhooks", WebhooksQuery)
def list_webhooks(api: Connection, out: Output, query: dict[str, Any]) -> None:
    """List the webhooks: id, URL, types of events, and why one is disabled."""
    out.show_list(api.call("listWebhooks", query=query), COLUMNS, query)


@group.command("show")
@speaks_with_api
@_reference
def show_webhook(api: Connection, out: Output, webhook_id: str) -> None:
    """Show a webhook, but not its secret."""
    out.show_one(api.call("getWebhook", webhook_id=webhook_id))


@group.command("create")
@speaks_with_api
@body_options("addWebhook", AddWebhook, types="--type", url="--to")
def create_webhook(api: Connection, out: Output, body: dict[str, Any]) -> None:
    """Have events sent to a URL. The secret that signs them is printed now and never again."""
    answer = api.call("addWebhook", body=body)
    out.show_done(answer, answer.json["secret"])
    if out.shape != Shape.JSON:
        click.echo(f"To test it: skyquay webhooks test {answer.json['id']}", err=True)


@group.command("edit")
@speaks_with_api
@_reference
@body_options("editWebhook", EditWebhook, types="--type", url="--to")
@if_match_option("editWebhook")
def edit_webhook(api: Connection, out: Output, webhook_id: str, body: dict[str, Any]) -> None:
    """Change a webhook; disable it, or enable it again."""
    if not body:
        raise click.UsageError("Say what to change.")
    out.show_one(api.call("editWebhook", webhook_id=webhook_id, body=body))


@group.command("rotate")
@speaks_with_api
@_reference
@body_options("rotateWebhook", RotateWebhook)
@if_match_option("rotateWebhook")
def rotate_webhook(api: Connection, out: Output, webhook_id: str, body: dict[str, Any]) -> None:
    """Give a webhook another secret. It is printed now and never again."""
    answer = api.call("rotateWebhook", webhook_id=webhook_id, body=body)
    out.show_done(answer, answer.json["secret"])


@group.command("delete")
@speaks_with_api
@_reference
@yes_option
@if_match_option("removeWebhook")
def delete_webhook(api: Connection, out: Output, webhook_id: str, yes: bool) -> None:
    """Delete a webhook, and what waits for it."""
    confirm(f"Delete the webhook {webhook_id}?", yes=yes or api.is_local)
    out.show_done(api.call("removeWebhook", webhook_id=webhook_id), "Deleted.")


@group.command("test")
@speaks_with_api
@_reference
def test_webhook(api: Connection, out: Output, webhook_id: str) -> None:
    """Send an event that never happened, to see whether it arrives."""
    answer = api.call("testWebhook", webhook_id=webhook_id)
    out.show_done(answer, answer.json["id"])


@group.command("deliveries")
@speaks_with_api
@_reference
@query_options("listDeliveries", DeliveriesQuery)
def list_deliveries(api: Connection, out: Output, webhook_id: str, query: dict[str, Any]) -> None:
    """List what was sent to a webhook, or waits to be, the newest first."""
    out.show_list(api.call("listDeliveries", webhook_id=webhook_id, query=query), DELIVERIES, query)


@group.command("delivery")
@speaks_with_api
@_reference
@_delivery
def show_delivery(api: Connection, out: Output, webhook_id: str, delivery_id: str) -> None:
    """Show a delivery, and what the receiver answered at each attempt."""
    out.show_one(api.call("getDelivery", webhook_id=webhook_id, delivery_id=delivery_id))


@group.command("redeliver")
@speaks_with_api
@_reference
@_delivery
def redeliver(api: Connection, out: Output, webhook_id: str, delivery_id: str) -> None:
    """Send a delivery once more, whatever became of it."""
    answer = api.call("redeliverDelivery", webhook_id=webhook_id, delivery_id=delivery_id)
    out.show_done(answer, "It is sent again.")
