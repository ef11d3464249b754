"""What can be done with webhooks. One belongs to the key that made it, and sees what that sees.

A key finds its own webhooks, apart for each user for whom it acts; one with all rights finds all.
No other may change one: whoever changes where it leads is told what its key may know.
"""

import secrets
from datetime import datetime, timedelta
from typing import Any

from service import idempotency, nodes, webhook_owners
from service.errors import Forbidden, InvalidInput, TooManyWebhooks, WebhookDisabled
from service.events import list_kinds
from service.keys import access_of, family_of
from service.model.access import SCOPES
from service.model.addresses import Refuse
from service.model.documents import (
    Delivery,
    Event,
    Key,
    RetiringSecret,
    Webhook,
    new_delivery,
    new_webhook,
)
from service.model.orders import SecretOrder, WebhookChanges, WebhookOrder
from service.model.origin import Claim
from service.model.precondition import ANY_STATE, Precondition
from service.model.webhooks import TEST, DisabledReason, parse_url, print_secret
from service.model.wrong_fields import WrongFields
from service.security.vault import Vault
from service.store import Store
from service.store.collection import Session
from service.store.deliveries import Deliveries
from service.store.webhooks import Webhooks

MOST_OF_KEY = 50
"""How many webhooks a key may have, counting those of limited keys that it made."""

MOST = 1000
"""How many there may be."""

KEEP_TEST_S = 86400.0


Part = Webhooks
"""Those that somebody finds."""


def part_of(store: Store, by: Key, *, acts_for: str | None) -> Part:
    """Return the webhooks that a key, narrowed to the user for whom it acts, finds and changes."""
    access = access_of(by)
    if not access.is_limited and access.allowed >= set(SCOPES):
        return store.webhooks
    return store.webhooks.of_owner(by["_id"], acts_for)


def check(order: WebhookOrder | WebhookChanges, by: Key, *, refuse: Refuse) -> None:
    """Check what is well formed of an order. Raises InvalidInput, and Forbidden for types."""
    wrong = WrongFields()
    with wrong.noting():
        if "url" in order:
            _check_address(order["url"], refuse)
    wrong.raise_any()
    list_kinds(access_of(by), order.get("types"))


def create(
    store: Store,
    vault: Vault,
    by: Key,
    order: WebhookOrder,
    *,
    acts_for: str | None,
    refuse: Refuse,
    now: datetime,
    claim: Claim | None = None,
) -> tuple[Webhook, str]:
    """Add a webhook; answer its document, and its secret, which is never seen again.

    It is told of what happens from now on. Raises InvalidInput for an address that is refused,
    Forbidden for types that the key may not know of and for who has no key, TooManyWebhooks,
    NoSecretKey, and AlreadyDone for a repeat.
    """
    idempotency.refuse_repeat(claim)
    check(order, by, refuse=refuse)
    secret = order["secret"] or make_secret()
    webhook = new_webhook(
        f"w{secrets.token_hex(6)}",
        url=order["url"],
        types=order["types"],
        wanted=order["wanted"],
        secret=vault.seal(secret),
        key_id=by["_id"],
        acts_for=acts_for,
        family=family_of(by),
        now=now,
    )

    def write(session: Session) -> None:
        if store.keys.find(by["_id"], session=session) is None:
            raise Forbidden(
                "A webhook belongs to an API key, and this is none: name a server and a key.",
                key=["Commands on the machine of the database have none."],
            )
        of_family, of_all = store.webhooks.count_for(webhook["family"], session=session)
        if of_family >= MOST_OF_KEY or of_all >= MOST:
            most = MOST_OF_KEY if of_family >= MOST_OF_KEY else MOST
            raise TooManyWebhooks(
                "There are as many webhooks as there may be.", webhooks=[f"There are {most}."]
            )
        store.webhooks.add(webhook, session=session)
        store.idempotency.mark(claim, {"webhook": webhook["_id"]}, session=session)

    store.transaction(write)
    return webhook, secret


def edit(
    store: Store,
    part: Part,
    by: Key,
    webhook_id: str,
    changes: WebhookChanges,
    *,
    refuse: Refuse,
    only_if: Precondition = ANY_STATE,
    now: datetime,
) -> Webhook:
    """Change a webhook. One that is enabled again is sent at once what waits for it still.

    Raises like `create`, NotFound, PreconditionFailed, and WebhookDisabled for one that cannot be
    enabled, as its key or user is no more.
    """
    check(changes, by, refuse=refuse)
    enabled = changes.get("enabled")

    def write(session: Session) -> Webhook:
        before = part.get(webhook_id, session=session)
        only_if.check(before)
        fields: dict[str, Any] = {**changes, "updated_at": now}
        if "wanted" in changes:
            wanted = {**before["wanted"], **changes["wanted"]}
            fields["wanted"] = {name: value for name, value in wanted.items() if value is not None}
        if enabled:
            _refuse_orphan(store, before, now)
            fields["disabled"] = None
        elif enabled is False and before["enabled"]:
            fields["disabled"] = webhook_owners.describe(DisabledReason.REQUESTED, now=now)
        return store.webhooks.change(webhook_id, fields, session=session)

    edited = store.transaction(write)
    if enabled:
        store.deliveries.retry_begun(webhook_id, now=now)
    return edited


def rotate(
    store: Store,
    part: Part,
    vault: Vault,
    webhook_id: str,
    order: SecretOrder,
    *,
    only_if: Precondition = ANY_STATE,
    now: datetime,
    claim: Claim | None = None,
) -> tuple[Webhook, str]:
    """Give a webhook another secret, beside which the one before signs for a while.

    Raises NotFound, PreconditionFailed, NoSecretKey, and AlreadyDone for a repeat.
    """
    idempotency.refuse_repeat(claim)
    secret = order["secret"] or make_secret()
    sealed, until = vault.seal(secret), now + timedelta(seconds=order["overlap_s"])

    def write(session: Session) -> Webhook:
        before = part.get(webhook_id, session=session)
        only_if.check(before)
        retiring = RetiringSecret(secret=before["secret"], until=until)
        fields = {"secret": sealed, "retiring": retiring, "updated_at": now}
        store.idempotency.mark(claim, {"webhook": webhook_id}, session=session)
        return store.webhooks.change(webhook_id, fields, session=session)

    return store.transaction(write), secret


def remove(store: Store, part: Part, webhook_id: str, *, only_if: Precondition = ANY_STATE) -> None:
    """Forget a webhook, and what waits for it. Raises NotFound and PreconditionFailed."""

    def write(session: Session) -> None:
        only_if.check(part.get(webhook_id, session=session))
        store.webhooks.remove(webhook_id, session=session)

    store.transaction(write)
    store.deliveries.remove_of(webhook_id)


def deliveries_of(store: Store, part: Part, webhook_id: str) -> Deliveries:
    """Return what is delivered to a webhook. Raises NotFound."""
    return store.deliveries.of_webhook(part.get(webhook_id)["_id"])


def redeliver(
    store: Store, part: Part, webhook_id: str, delivery_id: str, *, now: datetime
) -> Delivery:
    """Have a delivery sent once more, whatever became of it, with the same `webhook-id`.

    Raises NotFound, and WebhookDisabled.
    """
    webhook = part.get(webhook_id)
    _require_enabled(webhook)
    deliveries = store.deliveries.of_webhook(webhook_id)
    deliveries.get(delivery_id)
    return deliveries.retry_now(delivery_id, now=now) or deliveries.get(delivery_id)


def send_test(
    store: Store, part: Part, webhook_id: str, *, now: datetime, claim: Claim | None = None
) -> Delivery:
    """Have an event sent that never happened, once, to see whether it arrives.

    A repeat sends nothing again. Raises NotFound, and WebhookDisabled.
    """
    webhook = part.get(webhook_id)
    if claim is not None and claim.made is not None:
        return store.deliveries.of_webhook(webhook_id).get(claim.made["delivery"])
    _require_enabled(webhook)
    expires_at = now + timedelta(seconds=KEEP_TEST_S)
    event = Event(
        _id=int(now.timestamp() * 1000),
        type=TEST,
        at=now,
        kind="webhook",
        resource_id=webhook_id,
        instance_id=None,
        user_id=None,
        node_id=None,
        cause=None,
        expires_at=expires_at,
    )
    delivery = new_delivery(webhook_id, event, expires_at=expires_at, now=now, is_test=True)

    def write(session: Session) -> None:
        store.deliveries.add(delivery, session=session)
        store.idempotency.mark(claim, {"delivery": delivery["_id"]}, session=session)

    store.transaction(write)
    return delivery


def make_secret() -> str:
    """Make up a secret of 256 random bits."""
    return print_secret(secrets.token_bytes(32))


def _check_address(url: str, refuse: Refuse) -> None:
    for ip in nodes.resolve(parse_url(url).host):
        if (reason := refuse(ip)) is not None:
            raise InvalidInput("No webhook may have this address.", url=[reason])


def _refuse_orphan(store: Store, webhook: Webhook, now: datetime) -> None:
    owner = webhook_owners.find_owners(store, [webhook], now=now)[webhook["_id"]]
    if isinstance(owner, DisabledReason):
        message = webhook_owners.MESSAGES[owner]
        raise WebhookDisabled("The webhook cannot be enabled again.", enabled=[message])


def _require_enabled(webhook: Webhook) -> None:
    if not webhook["enabled"]:
        why = webhook["disabled"]
        raise WebhookDisabled(
            "The webhook is disabled: nothing is sent there.",
            disabled=[why["message"]] if why else [],
        )
