"""Whose webhooks are: a webhook sees what its key sees, narrowed to the user for whom that acts."""

from collections.abc import Iterable
from datetime import datetime

from service import rights
from service.keys import access_of
from service.model.documents import Disabled, Key, User, Webhook
from service.model.webhooks import DisabledReason
from service.store import Store

MESSAGES = {
    DisabledReason.REQUESTED: "A client disabled it.",
    DisabledReason.KEY_REVOKED: "Its API key was revoked, or may no longer act for its user.",
    DisabledReason.KEY_EXPIRED: "Its API key has expired.",
    DisabledReason.USER_DELETED: "The user for whom its API key acts was deleted.",
    DisabledReason.RECEIVER_GONE: "The receiver answered 410: it is gone.",
    DisabledReason.RECEIVER_FAILS: "The receiver took no delivery for a day, at each attempt.",
}
"""Why a webhook is disabled, in a sentence."""


def find_owners(
    store: Store, webhooks: Iterable[Webhook], *, now: datetime
) -> dict[str, Key | DisabledReason]:
    """Find the keys of webhooks by the ids of these, narrowed; or why they may see nothing."""
    listed = list(webhooks)
    keys = {key["_id"]: key for key in store.keys.list_by_ids({each["key_id"] for each in listed})}
    acted_for = {each["acts_for"] for each in listed} - {None}
    found = (
        store.users.list_by_ids(user_id for user_id in acted_for if user_id) if acted_for else []
    )
    users = {user["_id"]: user for user in found}
    return {
        each["_id"]: _find_owner(
            keys.get(each["key_id"]), each["acts_for"], users.get(each["acts_for"] or ""), now
        )
        for each in listed
    }


def _find_owner(
    key: Key | None, acts_for: str | None, user: User | None, now: datetime
) -> Key | DisabledReason:
    if key is None:
        return DisabledReason.KEY_REVOKED
    if key["expires_at"] is not None and key["expires_at"] <= now:
        return DisabledReason.KEY_EXPIRED
    if acts_for is None:
        return key
    if user is None:
        return DisabledReason.USER_DELETED
    if not access_of(key).may_act_for(user["_id"]):
        return DisabledReason.KEY_REVOKED
    return rights.narrow(key, user["_id"], find=lambda _: user)[0]


def describe(reason: DisabledReason, *, now: datetime) -> Disabled:
    """Say why and since when a webhook is disabled."""
    return Disabled(reason=reason, message=MESSAGES[reason], at=now)


def disable_orphans(store: Store, *, now: datetime) -> None:
    """Disable the webhooks whose key or user is no more."""
    webhooks = store.webhooks.list_enabled()
    for webhook_id, owner in find_owners(store, webhooks, now=now).items():
        if isinstance(owner, DisabledReason):
            store.webhooks.disable(webhook_id, describe(owner, now=now))
