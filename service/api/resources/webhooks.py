"""Webhooks: where events are sent."""

from flask import Response

from service import keys, webhooks
from service.api import lists
from service.api.audit_trail import add_facts, record_change
from service.api.blueprint import ALWAYS, NO_CONTENT, WITH_BODY, Blueprint
from service.api.call import caller, claim, current_call, store
from service.api.context import app_context, now
from service.api.etags import read_precondition
from service.contract.base import NoContent
from service.contract.fields import make_example
from service.contract.webhooks import (
    AddWebhook,
    DeliveriesQuery,
    DeliveryAnswer,
    DisabledAnswer,
    EditWebhook,
    NewWebhookAnswer,
    RotateWebhook,
    WebhookAnswer,
    WebhooksQuery,
    WebhookWithSecret,
)
from service.errors import TooManyWebhooks, WebhookDisabled
from service.model.addresses import Refuse
from service.model.documents import Delivery, Webhook
from service.model.listing import Listing
from service.model.orders import SecretOrder, WebhookChanges, WebhookOrder
from service.model.webhooks import make_rule

blueprint = Blueprint(
    "webhooks", __name__, url_prefix="/api/webhooks", description="Where events are sent."
)


def _part() -> webhooks.Part:
    return webhooks.part_of(store(), caller(), acts_for=current_call().acts_for)


def _rule() -> Refuse:
    return make_rule(
        allow_loopback=app_context().config.allow_loopback_webhooks,
        is_limited=keys.access_of(caller()).is_limited,
    )


def _check(order: WebhookChanges, **ids: str) -> None:  # noqa: ARG001
    webhooks.check(order, caller(), refuse=_rule())


@blueprint.get("")
@blueprint.needs("webhooks:read")
@blueprint.arguments(WebhooksQuery, location="query")
@blueprint.answers(
    200, WebhookAnswer, 400, *ALWAYS, many=True, etag=True, description="The webhooks."
)
def list_webhooks(listing: Listing) -> Response:
    """List your key's webhooks, oldest first; a key with all rights finds those of all keys."""
    return lists.answer_page(WebhookAnswer, _part(), listing)


@blueprint.post("")
@blueprint.needs("webhooks:write", changes="webhook")
@blueprint.arguments(AddWebhook, check=_check)
@blueprint.answers(
    201,
    NewWebhookAnswer,
    *WITH_BODY,
    *ALWAYS,
    TooManyWebhooks,
    location="/api/webhooks/{_id}",
    description="The webhook with its secret, which is shown only here.",
)
def add_webhook(order: WebhookOrder) -> WebhookWithSecret:
    """Have what happens from now on sent to a URL, signed as Standard Webhooks says.

    It is told of what your key is told of by `GET /api/events`, as long as your key works. A key
    that is limited has no webhook at a private address.
    """
    webhook, secret = webhooks.create(
        store(),
        app_context().vault,
        caller(),
        order,
        acts_for=current_call().acts_for,
        refuse=_rule(),
        now=now(),
        claim=claim(),
    )
    record_change(webhook)
    return {**webhook, "value": secret}


@blueprint.get("/<webhook_id>")
@blueprint.needs("webhooks:read")
@blueprint.answers(
    200,
    WebhookAnswer,
    *ALWAYS,
    404,
    etag=True,
    example={"enabled": False, "disabled": make_example(DisabledAnswer)},
    description="The webhook.",
)
def get_webhook(webhook_id: str) -> Webhook:
    """Get one webhook, and why it is disabled if it is."""
    return _part().get(webhook_id)


@blueprint.patch("/<webhook_id>")
@blueprint.needs("webhooks:write", changes="webhook")
@blueprint.arguments(EditWebhook, check=_check, required=False)
@blueprint.answers(
    200,
    WebhookAnswer,
    *WITH_BODY,
    *ALWAYS,
    404,
    412,
    WebhookDisabled,
    description="The webhook, as it is now.",
)
def edit_webhook(changes: WebhookChanges, webhook_id: str) -> Webhook:
    """Change a webhook's URL or what it is told of; disable it, or enable it again.

    One that is enabled again is sent what waited for it; what happened while it was disabled is in
    `GET /api/events` only. 409 when its key or its user is no more.
    """
    webhook = webhooks.edit(
        store(),
        _part(),
        caller(),
        webhook_id,
        changes,
        refuse=_rule(),
        only_if=read_precondition(),
        now=now(),
    )
    record_change(webhook)
    return webhook


@blueprint.post("/<webhook_id>/rotate")
@blueprint.needs("webhooks:write", changes="webhook")
@blueprint.arguments(RotateWebhook, required=False)
@blueprint.answers(
    201,
    NewWebhookAnswer,
    *WITH_BODY,
    *ALWAYS,
    404,
    412,
    description="The webhook with its new secret, which is shown only here.",
)
def rotate_webhook(order: SecretOrder, webhook_id: str) -> WebhookWithSecret:
    """Give a webhook another secret. The old one signs beside it for a while, by default a day."""
    webhook, secret = webhooks.rotate(
        store(),
        _part(),
        app_context().vault,
        webhook_id,
        order,
        only_if=read_precondition(),
        now=now(),
        claim=claim(),
    )
    record_change(webhook)
    return {**webhook, "value": secret}


@blueprint.delete("/<webhook_id>")
@blueprint.needs("webhooks:write", changes="webhook")
@blueprint.answers(NO_CONTENT, NoContent, *ALWAYS, 404, 412, description="The webhook is gone.")
def remove_webhook(webhook_id: str) -> None:
    """Delete a webhook, and what waits for it."""
    webhooks.remove(store(), _part(), webhook_id, only_if=read_precondition())
    record_change(None)


@blueprint.get("/<webhook_id>/deliveries")
@blueprint.needs("webhooks:read")
@blueprint.arguments(DeliveriesQuery, location="query")
@blueprint.answers(
    200, DeliveryAnswer, 400, *ALWAYS, 404, many=True, etag=True, description="The deliveries."
)
def list_deliveries(listing: Listing, webhook_id: str) -> Response:
    """List what was sent to a webhook, or waits to be, the 100 newest first.

    Deliveries are kept as long as their events.
    """
    found = webhooks.deliveries_of(store(), _part(), webhook_id)
    return lists.answer_page(DeliveryAnswer, found, listing)


@blueprint.get("/<webhook_id>/deliveries/<delivery_id>")
@blueprint.needs("webhooks:read")
@blueprint.answers(200, DeliveryAnswer, *ALWAYS, 404, etag=True, description="The delivery.")
def get_delivery(webhook_id: str, delivery_id: str) -> Delivery:
    """Get one delivery, with what the receiver answered at each attempt."""
    return webhooks.deliveries_of(store(), _part(), webhook_id).get(delivery_id)


@blueprint.post("/<webhook_id>/deliveries/<delivery_id>/redeliver")
@blueprint.needs("webhooks:write", changes="webhook")
@blueprint.answers(
    200, DeliveryAnswer, *ALWAYS, 404, WebhookDisabled, description="The delivery, which waits."
)
def redeliver_delivery(webhook_id: str, delivery_id: str) -> Delivery:
    """Send a delivery once more, now, whatever became of it; its `webhook-id` is the same."""
    delivery = webhooks.redeliver(store(), _part(), webhook_id, delivery_id, now=now())
    add_facts(redelivered=delivery_id)
    return delivery


@blueprint.post("/<webhook_id>/test")
@blueprint.needs("webhooks:write", changes="webhook")
@blueprint.answers(
    201,
    DeliveryAnswer,
    *ALWAYS,
    404,
    WebhookDisabled,
    location="/api/webhooks/{webhook_id}/deliveries/{_id}",
    example={"type": "webhook.test", "eventId": None, "status": "waiting", "attempts": []},
    description="The delivery, which waits.",
)
def test_webhook(webhook_id: str) -> Delivery:
    """Send an event of the type `webhook.test`, once: nothing happened."""
    delivery = webhooks.send_test(store(), _part(), webhook_id, now=now(), claim=claim())
    add_facts(tested=delivery["_id"])
    return delivery
