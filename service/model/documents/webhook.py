"""The documents of webhooks and of what is delivered to them."""

from datetime import datetime
from typing import NotRequired, TypedDict

from service.model.documents.event import Event
from service.model.documents.operation import Lease
from service.model.webhooks import DeliveryStatus, DisabledReason


class RetiringSecret(TypedDict):
    """The secret that a webhook had before, and until when it signs beside the new one."""

    secret: str  # encrypted
    until: datetime


class Disabled(TypedDict):
    """Why and since when nothing is sent."""

    reason: DisabledReason
    message: str  # a sentence
    at: datetime


class Webhook(TypedDict):
    """Where events are sent. It belongs to a key, and sees what that key sees."""

    _id: str
    url: str
    types: list[str] | None  # of events; None: all that the key may be told of
    wanted: dict[str, str]  # what the events have besides: instance_id, user_id, node_id
    secret: str  # encrypted
    retiring: RetiringSecret | None
    key_id: str
    acts_for: str | None  # id of the user for whom the key acts
    family: str  # the keys that count as one: keys.family_of
    enabled: bool
    disabled: Disabled | None  # None while it is enabled
    revision: NotRequired[int]
    observations: NotRequired[int]
    changed_by: NotRequired[str | None]
    created_at: datetime
    updated_at: datetime


class Attempt(TypedDict):
    """One time that a delivery was sent."""

    at: datetime
    duration_ms: int
    status: int | None  # of HTTP; None: no answer
    answer: str | None  # how the answer begins, without secrets
    error: str | None  # why it is no success; None: it is one


class Delivery(TypedDict):
    """One event for one webhook."""

    _id: str  # the `webhook-id` of all attempts
    webhook_id: str
    event_id: int
    event: NotRequired[Event]  # of a test: it is in no log
    type: str
    resource: str  # kind and id of what the event is about: such deliveries keep their order
    status: DeliveryStatus
    begun: bool  # whether it was ever claimed
    failures: int  # since it was made, or last asked for by a client
    next_attempt_at: datetime
    lease: Lease | None
    attempts: list[Attempt]  # the latest ones
    revision: NotRequired[int]
    created_at: datetime
    ended_at: datetime | None
    expires_at: datetime  # when it is forgotten


def new_webhook(
    webhook_id: str,
    *,
    url: str,
    types: list[str] | None,
    wanted: dict[str, str],
    secret: str,
    key_id: str,
    acts_for: str | None,
    family: str,
    now: datetime,
) -> Webhook:
    """Make the document of a webhook, which is enabled."""
    return Webhook(
        _id=webhook_id,
        url=url,
        types=types,
        wanted=wanted,
        secret=secret,
        retiring=None,
        key_id=key_id,
        acts_for=acts_for,
        family=family,
        enabled=True,
        disabled=None,
        created_at=now,
        updated_at=now,
    )


def new_delivery(
    webhook_id: str, event: Event, *, expires_at: datetime, now: datetime, is_test: bool = False
) -> Delivery:
    """Make the delivery of an event to a webhook: there is one of each, due at once."""
    delivery = Delivery(
        _id=f"msg_{webhook_id}_{event['_id']}",
        webhook_id=webhook_id,
        event_id=event["_id"],
        type=event["type"],
        resource=f"{event['kind']} {event['resource_id']}",
        status=DeliveryStatus.WAITING,
        begun=False,
        failures=0,
        next_attempt_at=now,
        lease=None,
        attempts=[],
        revision=1,
        created_at=now,
        ended_at=None,
        expires_at=expires_at,
    )
    if is_test:
        delivery |= {"event": event, "_id": f"{delivery['_id']}_test", "resource": "test"}
    return delivery
