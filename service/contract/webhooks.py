"""Webhooks on the wire."""

from typing import Any, cast

import marshmallow as ma

from service.contract import answers, fields
from service.contract.answers import Answer
from service.contract.base import Patch, StrictRequest
from service.contract.lists import LONGEST_PAGE, ListQuery, one_of, sort_by
from service.model.documents import Attempt, Delivery, Disabled, Webhook
from service.model.events import TYPES
from service.model.orders import SecretOrder, WebhookChanges, WebhookOrder
from service.model.suggestions import suggest
from service.model.webhooks import TEST, DeliveryStatus, DisabledReason, parse_secret, parse_url

LONGEST_URL = 2048
LONGEST_OVERLAP_S = 30 * 86400
WEBHOOK_ID = "w9c1d2e3f4a5b6"
DELIVERY_ID = f"msg_{WEBHOOK_ID}_1767182400000"

_URL = "https://bot.example.org/skyquay"
_TYPES = ["instance.ready", "instance.deleted"]
_WANTED = ("instance_id", "user_id", "node_id")
_CHOICE = [name for name in TYPES if name != TEST]


def _check_url(text: str) -> None:
    try:
        parse_url(text)
    except ValueError as exc:
        raise ma.ValidationError(str(exc)) from exc


def _check_secret(text: str) -> None:
    try:
        parse_secret(text)
    except ValueError as exc:
        raise ma.ValidationError(str(exc)) from exc


def _check_type(name: str) -> None:
    if name not in _CHOICE:
        raise ma.ValidationError(f"There is no type {name!r}.{suggest(name, _CHOICE)}")


def _secret() -> ma.fields.String:
    return ma.fields.String(
        load_default=None,
        allow_none=True,
        validate=_check_secret,
        metadata={
            "description": "What deliveries are signed with: `whsec_` and 24 to 64 bytes in "
            "base64. Made if absent.",
        },
    )


class AddWebhook(StrictRequest[WebhookOrder]):
    """Where events are to be sent, and which."""

    url = ma.fields.String(
        required=True,
        validate=[ma.validate.Length(max=LONGEST_URL), _check_url],
        metadata={"description": "An https or http URL, which gets a POST each.", "sample": _URL},
    )
    types = ma.fields.List(
        ma.fields.String(validate=_check_type),
        allow_none=True,
        load_default=None,
        validate=ma.validate.Length(min=1, max=len(TYPES)),
        metadata={"description": "Of these types; all if absent.", "sample": _TYPES},
    )
    instance_id = fields.text(
        data_key="instanceId",
        required=False,
        load_default=None,
        longest=128,
        description="Of this instance.",
    )
    user_id = fields.text(
        data_key="userId",
        required=False,
        load_default=None,
        longest=128,
        description="Of this user, and what is the user's.",
    )
    node_id = fields.text(
        data_key="nodeId",
        required=False,
        load_default=None,
        longest=64,
        description="Of this node, and what is on it.",
    )
    secret = _secret()

    @ma.post_load
    def collect(self, loaded: dict[str, Any], **kwargs: Any) -> WebhookOrder:
        """Take together what events must have."""
        wanted = {name: loaded[name] for name in _WANTED if loaded[name] is not None}
        return WebhookOrder(
            url=loaded["url"], types=loaded["types"], wanted=wanted, secret=loaded["secret"]
        )


class EditWebhook(Patch[WebhookChanges], AddWebhook):
    """What changes of a webhook."""

    class Meta(Patch.Meta):
        exclude = ("secret",)

    enabled = fields.Flag(metadata={"description": "Whether anything is sent."})

    @ma.post_load
    def collect(self, loaded: dict[str, Any], **kwargs: Any) -> WebhookChanges:
        """Take together what events must have; null takes one of these away."""
        wanted = {name: loaded.pop(name) for name in _WANTED if name in loaded}
        return cast("WebhookChanges", {**loaded, **({"wanted": wanted} if wanted else {})})


class RotateWebhook(StrictRequest[SecretOrder]):
    """The next secret, and how the old one goes."""

    secret = _secret()
    overlap_s = fields.seconds(
        data_key="overlap",
        longest=LONGEST_OVERLAP_S,
        load_default=86400.0,
        metadata={"description": "Seconds for which the old secret signs beside the new one."},
    )


class DisabledAnswer(Answer[Disabled]):
    """Why nothing is sent to a webhook."""

    reason = answers.choice(DisabledReason, "receiver_fails")
    message = answers.text("The receiver took no delivery for a day, at each attempt.")
    at = answers.time(fields.WHEN)


class WebhookAnswer(Answer[Webhook]):
    """Where events are sent. Never with its secret, which only its receiver has."""

    id = answers.text(WEBHOOK_ID, of="_id")
    url = answers.text(_URL)
    types = answers.texts(_TYPES, null=True, description="null: all that its key may be told of.")
    instanceId = answers.text(None, of=lambda hook: hook["wanted"].get("instance_id"), null=True)
    userId = answers.text(None, of=lambda hook: hook["wanted"].get("user_id"), null=True)
    nodeId = answers.text(None, of=lambda hook: hook["wanted"].get("node_id"), null=True)
    enabled = answers.flag(True)
    disabled = answers.nested(
        DisabledAnswer, None, null=True, description="Why nothing is sent; null: it is enabled."
    )
    oldSecretExpiresAt = answers.time(
        None,
        of=lambda hook: hook["retiring"]["until"] if hook["retiring"] else None,
        null=True,
        description="When the secret from before the last rotation signs no more.",
    )
    key = answers.text(fields.KEY_ID, of="key_id", description="The id of its API key.")
    actsFor = answers.text(None, of="acts_for", null=True, description="For whom its key acts.")
    createdAt = answers.time(fields.WHEN, of="created_at")
    updatedAt = answers.time(fields.WHEN, of="updated_at", audited=False)


class WebhookWithSecret(Webhook):
    """A webhook's document with its secret, which is stored encrypted only."""

    value: str


class NewWebhookAnswer(WebhookAnswer):
    """A webhook with its secret, which is shown this once."""

    secret = answers.text("whsec_C2FVsBQIhrscChlQIMV...", of="value", secret=True)


class AttemptAnswer(Answer[Attempt]):
    """One time that a delivery was sent."""

    at = answers.time(fields.WHEN)
    durationMs = answers.integer(31, of="duration_ms")
    status = answers.integer(204, null=True, description="Of HTTP; null: there was no answer.")
    answer = answers.text("", null=True, description="How the answer begins, without secrets.")
    error = answers.text(None, null=True, description="Why it failed; null: it did not.")


class DeliveryAnswer(Answer[Delivery]):
    """One event for one webhook."""

    id = answers.text(DELIVERY_ID, of="_id", description="The `webhook-id` of each attempt.")
    webhookId = answers.text(WEBHOOK_ID, of="webhook_id")
    eventId = answers.text(
        "1767182400000",
        of=lambda delivery: None if "event" in delivery else str(delivery["event_id"]),
        null=True,
        description="null: it is a test.",
    )
    type = answers.text("instance.ready")
    status = answers.choice(DeliveryStatus, "succeeded")
    attempts = answers.many(AttemptAnswer)
    nextAttemptAt = answers.time(
        None,
        of=lambda delivery: (
            delivery["next_attempt_at"] if delivery["status"] == DeliveryStatus.WAITING else None
        ),
        null=True,
    )
    createdAt = answers.time(fields.WHEN, of="created_at")
    endedAt = answers.time(fields.WHEN, of="ended_at", null=True)


def _page() -> fields.Parsed:
    return fields.count(
        longest=LONGEST_PAGE,
        load_default=100,
        metadata={"description": "How many at most. `Link` has the next page."},
    )


class WebhooksQuery(ListQuery):
    """Which webhooks."""

    answer = WebhookAnswer
    limit = _page()


class DeliveriesQuery(ListQuery):
    """Which deliveries: the newest, unless another order is asked for."""

    answer = DeliveryAnswer
    sort = sort_by(otherwise="-createdAt")
    limit = _page()

    status = one_of(DeliveryStatus, of="status", description="With this status.")
