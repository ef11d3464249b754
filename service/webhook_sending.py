"""What is sent for a delivery, and what becomes of it by the receiver's answer."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from service import events, rights
from service.keys import access_of
from service.model.documents import Attempt, Delivery, Event, Key, Webhook
from service.model.webhooks import (
    SECRET_PREFIX,
    DeliveryStatus,
    DisabledReason,
    Target,
    find_retry_s,
    parse_retry_after,
    parse_url,
    sign,
)
from service.security.masking import mask
from service.store import Store
from service.webhook_owners import describe, find_owners

log = logging.getLogger(__name__)

GONE = 410

MAX_ANSWER_CHARACTERS = 1024
"""How much of an answer is kept."""

Print = Callable[[Store, Key, Event], bytes]
"""Writes an event as the key is told of it by the API, as JSON."""


@dataclass(frozen=True, slots=True)
class Message:
    """What is sent, where to, and how."""

    target: Target
    headers: Mapping[str, str]
    body: bytes
    is_limited: bool
    """Whether the key sees some documents only."""
    secrets: tuple[str, ...]
    """What nobody may read in the answer."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a receiver answered; `error` says why it did not, or in which way it did so wrongly."""

    duration_ms: int
    status: int | None = None
    text: str | None = None
    retry_after: str | None = None
    error: str | None = None


def prepare(
    store: Store,
    webhook: Webhook,
    delivery: Delivery,
    *,
    open_secret: Callable[[str], str],
    print_event: Print,
    now: datetime,
) -> Message | DisabledReason | None:
    """Make what is sent, as the webhook's key sees it now; or say why it may see nothing any more.

    None: the event is forgotten, or outside of what the key sees by now. Raises NoSecretKey, and
    StoreFailure for a secret that another key encrypted.
    """
    owner = find_owners(store, [webhook], now=now)[webhook["_id"]]
    if isinstance(owner, DisabledReason):
        return owner
    seen = rights.limit(store, owner, acts_for=webhook["acts_for"])
    event = delivery.get("event") or _find_event(seen, owner, delivery)
    if event is None:
        return None
    body = print_event(seen, owner, event)
    old = webhook["retiring"]
    sealed = [webhook["secret"], *([old["secret"]] if old and old["until"] > now else [])]
    secrets = tuple(map(open_secret, sealed))
    timestamp = int(now.timestamp())
    return Message(
        target=parse_url(webhook["url"]),
        headers={
            "Content-Type": "application/json",
            "webhook-id": delivery["_id"],
            "webhook-timestamp": str(timestamp),
            "webhook-signature": sign(secrets, delivery["_id"], timestamp=timestamp, body=body),
        },
        body=body,
        is_limited=access_of(owner).is_limited,
        secrets=secrets,
    )


def _find_event(seen: Store, owner: Key, delivery: Delivery) -> Event | None:
    event = seen.events.find_event(delivery["event_id"])
    is_told = event is not None and event["kind"] in events.list_kinds(access_of(owner), None)
    return event if is_told else None


def record(
    store: Store,
    webhook: Webhook,
    delivery: Delivery,
    reply: Reply,
    *,
    token: str,
    secrets: tuple[str, ...] = (),
    chance: float,
    now: datetime,
) -> DeliveryStatus:
    """Write down how an attempt ended; one that failed is made again later, for a day.

    After the last one, and when the receiver says that it is gone, the webhook is disabled. A test
    is sent once, and disables nothing. `chance` is as in `find_retry_s`.
    """
    if reply.error is None and 200 <= (reply.status or 0) < 300:
        status, failures, retry_s = DeliveryStatus.SUCCEEDED, delivery["failures"], None
    else:
        failures = delivery["failures"] + 1
        asked_s = parse_retry_after(reply.retry_after, now=now)
        retry_s = find_retry_s(failures, chance=chance, asked_s=asked_s)
        is_test = "event" in delivery
        if is_test or reply.status == GONE:
            retry_s = None
        status = DeliveryStatus.FAILED if retry_s is None else DeliveryStatus.WAITING
        if retry_s is None and not is_test:
            # Before its delivery ends, so that a crash in between leaves one that is sent again.
            is_gone = reply.status == GONE
            reason = DisabledReason.RECEIVER_GONE if is_gone else DisabledReason.RECEIVER_FAILS
            disable(store, webhook, reason, now=now)
    attempt = Attempt(
        at=now,
        duration_ms=reply.duration_ms,
        status=reply.status,
        answer=None if reply.text is None else _shorten(reply.text, secrets),
        error=reply.error,
    )
    store.deliveries.finish(
        delivery["_id"],
        token,
        status,
        attempt=attempt,
        failures=failures,
        next_attempt_at=now + timedelta(seconds=retry_s or 0),
        now=now,
    )
    return status


def drop(store: Store, delivery: Delivery, *, token: str, now: datetime) -> DeliveryStatus:
    """Write down that it is not to be sent."""
    store.deliveries.finish(
        delivery["_id"],
        token,
        DeliveryStatus.DROPPED,
        attempt=None,
        failures=delivery["failures"],
        next_attempt_at=delivery["next_attempt_at"],
        now=now,
    )
    return DeliveryStatus.DROPPED


def disable(store: Store, webhook: Webhook, reason: DisabledReason, *, now: datetime) -> None:
    """Send nothing more to a webhook as it is."""
    if store.webhooks.disable(webhook["_id"], describe(reason, now=now), url=webhook["url"]):
        log.warning("webhook.disabled", extra={"webhook_id": webhook["_id"], "reason": reason})


def _shorten(text: str, secrets: tuple[str, ...]) -> str:
    # Longer than what is kept, so that a secret that is cut off at the end is masked too.
    hidden = [*secrets, *(secret.removeprefix(SECRET_PREFIX) for secret in secrets)]
    return mask(text[: 2 * MAX_ANSWER_CHARACTERS], hidden)[:MAX_ANSWER_CHARACTERS]
