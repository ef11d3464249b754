"""Which webhooks are told of which events."""

from collections.abc import Iterable, Set
from datetime import datetime
from typing import NamedTuple

from service import events
from service.keys import access_of
from service.model.access import Access
from service.model.documents import Delivery, Event, Webhook, new_delivery
from service.model.webhooks import DisabledReason
from service.store import Store
from service.webhook_owners import describe, find_owners


class _Listener(NamedTuple):
    webhook: Webhook
    access: Access
    kinds: Set[str]


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
        access = access_of(owner)
        kinds = events.list_kinds(access, None)
        listeners.append(_Listener(webhooks[webhook_id], access, kinds))
    return [
        new_delivery(each.webhook["_id"], event, expires_at=event["expires_at"], now=now)
        for event in found
        for each in listeners
        if _is_told(each, event)
    ]


def _is_told(listener: _Listener, event: Event) -> bool:
    types, wanted = listener.webhook["types"], listener.webhook["wanted"]
    return (
        (types is None or event["type"] in types)
        and event["kind"] in listener.kinds
        and all(event[name] == value for name, value in wanted.items())  # type: ignore[literal-required]
        and events.may_see(listener.access, event)
    )
