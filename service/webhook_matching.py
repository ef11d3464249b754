"""Which webhooks are told of which events."""

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import NamedTuple

from service import events, rights
from service.keys import access_of
from service.model.documents import Delivery, Event, Key, Webhook, new_delivery
from service.model.webhooks import DisabledReason
from service.store import Store
from service.webhook_owners import describe, find_owners


class _Listener(NamedTuple):
    webhook_id: str
    is_for: Callable[[Event], bool]


def make_deliveries(store: Store, found: Iterable[Event], *, now: datetime) -> list[Delivery]:
    """Make the deliveries of events to all webhooks that are told of them, in their order.

    It takes the same few queries for any number of webhooks. Those whose key or user is no more
    are disabled.
    """
    listeners = []
    webhooks = {each["_id"]: each for each in store.webhooks.list_enabled()}
    for webhook_id, owner in find_owners(store, webhooks.values(), now=now).items():
        if isinstance(owner, DisabledReason):
            store.webhooks.disable(webhook_id, describe(owner, now=now))
            continue
        is_for = _make_test(store, webhooks[webhook_id], owner)
        listeners.append(_Listener(webhook_id, is_for))
    return [
        new_delivery(each.webhook_id, event, expires_at=event["expires_at"], now=now)
        for event in found
        for each in listeners
        if each.is_for(event)
    ]


def _make_test(store: Store, webhook: Webhook, owner: Key) -> Callable[[Event], bool]:
    """Make what says whether the owner would find an event with the webhook's filters."""
    seen = rights.limit(store, owner, acts_for=webhook["acts_for"])
    return seen.events.make_test(
        kinds=events.list_kinds(access_of(owner), None),
        types=webhook["types"],
        wanted=webhook["wanted"],
    )
