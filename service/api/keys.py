"""API key endpoints. A key sees, makes and revokes none that may do more than itself."""

from collections.abc import Mapping
from typing import Any

from flask import Response

from service import delegation, keys
from service.api import lists
from service.api.audit_trail import record_change
from service.api.blueprint import ALWAYS, WITH_BODY, Blueprint
from service.api.call import caller, claim, own_key, store
from service.api.context import app_context, now
from service.api.etags import read_precondition
from service.api.waiting import changing_keys
from service.contract.keys import (
    CreateKey,
    KeyAnswer,
    KeyWithValue,
    NewKeyAnswer,
    RevokedKeyAnswer,
    RotateKey,
)
from service.contract.list_queries import KeysQuery
from service.errors import TooManyKeys
from service.model.documents import Key
from service.model.listing import Listing
from service.model.orders import KeyOrder

blueprint = Blueprint(
    "keys", __name__, url_prefix="/api/keys", description="API keys and their rights."
)


def check_order(order: Mapping[str, Any]) -> None:
    """Check what is well formed of an order. Raises InvalidInput."""
    delegation.check(store(), caller(), order.get("grant", order), now=now())


def check_expiry(order: Mapping[str, Any], **ids: str) -> None:  # noqa: ARG001
    """Check when a key would expire, of what is well formed. Raises InvalidInput."""
    keys.check_future(order.get("expires_at"), now())


@blueprint.get("")
@blueprint.needs("keys:read")
@blueprint.arguments(KeysQuery, location="query")
@blueprint.answers(200, KeyAnswer, 400, *ALWAYS, many=True, etag=True, description="The keys.")
def list_keys(listing: Listing) -> list[Key] | Response:
    """List the API keys that have no more rights than yours, yours included."""
    if listing.is_whole:
        return keys.list_covered(store(), caller())
    return lists.answer_page(KeyAnswer, store().keys, listing, keys.covered_by(caller()))


@blueprint.post("")
@blueprint.needs("keys:write", changes="key")
@blueprint.arguments(CreateKey, check=check_order)
@blueprint.answers(
    201,
    NewKeyAnswer,
    *WITH_BODY,
    *ALWAYS,
    TooManyKeys,
    description="The key with its value, which is shown only here.",
)
def create_key(order: KeyOrder) -> KeyWithValue:
    """Make an API key, which may do no more than yours: 403 otherwise.

    The limits of your key apply to the new one too. A limited key has no scope that cannot be
    limited; naming one is a 400: `users:write`, `users:verify`, `images:write`, `nodes:write`,
    `audit:read`, `metrics:read`; limited to instances, `instances:deploy`; limited, but to no user,
    `users:read` and `users:act`. `*` and `users:*` give what is left. A key that acts for a user
    makes keys that may do no more than both. 409 with the code `too_many_keys` when a limited key,
    with those that it made, has made as many as it may; 429 when it makes them too fast.
    """
    family = keys.find_family(own_key())
    if family is not None:
        app_context().delegations.fail(f"keys {family}", now=now())
    key, value = delegation.delegate(
        store(),
        caller(),
        **order,
        family=family,
        most=app_context().max_child_keys,
        now=now(),
        claim=claim(),
    )
    record_change(key)
    return {**key, "value": value}


@blueprint.post("/<key_id>/rotate")
@blueprint.needs("keys:write", changes="key")
@blueprint.arguments(RotateKey, required=False)
@blueprint.answers(
    201,
    NewKeyAnswer,
    *WITH_BODY,
    *ALWAYS,
    409,
    412,
    description="The key with its new value, which is shown only here.",
)
def rotate_key(overlap_s: float, key_id: str) -> KeyWithValue:
    """Give an API key a new value. The old one works beside it for a while, an hour by default."""
    key = keys.get_covered(store(), caller(), key_id)
    with changing_keys():
        rotated, value = keys.rotate(
            store(),
            key,
            overlap_s=overlap_s,
            only_if=read_precondition(),
            now=now(),
            claim=claim(),
        )
    record_change(rotated)
    return {**rotated, "value": value}


@blueprint.delete("/<key_id>")
@blueprint.needs("keys:write", changes="key")
@blueprint.answers(
    200,
    RevokedKeyAnswer,
    400,
    412,
    *ALWAYS,
    description="The key is revoked.",
)
def revoke_key(key_id: str) -> str:
    """Revoke an API key. 400 for an unknown one, and for one that may do more than yours."""
    key = keys.get_covered(store(), caller(), key_id)
    with changing_keys():
        keys.revoke(store(), key["_id"], only_if=read_precondition())
    record_change(None)
    return key_id
