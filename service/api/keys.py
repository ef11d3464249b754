"""API key endpoints. A key sees, makes and revokes none that may do more than itself."""

from typing import Any

from service import keys
from service.api.audit_trail import record_change
from service.api.blueprint import ALWAYS, WITH_BODY, Blueprint
from service.api.call import caller, store
from service.api.context import app_context, now
from service.contract import examples, wire
from service.contract.keys import (
    CreateKey,
    KeyAnswer,
    NewKeyAnswer,
    RevokedKeyAnswer,
    RotateKey,
)

blueprint = Blueprint("keys", __name__, url_prefix="/api/keys", description="Who may do what.")


@blueprint.get("")
@blueprint.needs("keys:read")
@blueprint.answers(
    200, KeyAnswer(many=True), *ALWAYS, example=[examples.KEY], description="The keys."
)
def list_keys() -> list[wire.Json]:
    """List the API keys that may do no more than yours, which is among them."""
    return [wire.key(key) for key in keys.list_covered(store(), caller())]


@blueprint.post("")
@blueprint.needs("keys:write", changes="key")
@blueprint.arguments(CreateKey, example=examples.CREATE_KEY)
@blueprint.answers(
    201,
    NewKeyAnswer,
    *WITH_BODY,
    *ALWAYS,
    409,
    example=examples.NEW_KEY,
    description="The key, with its value, which is shown this once.",
)
def create_key(fields: Any) -> tuple[wire.Json, int]:
    """Make an API key, which may do no more than yours: 403 otherwise.

    What limits yours limits the new one too. A limited key has no scope that cannot be limited,
    and 400 is the answer to one that names it: `users:write`, `users:verify`, `nodes:write`,
    `audit:read`, `metrics:read`; limited to instances, `instances:deploy`. `*` and `users:*` give
    what is left. 409 with the code `too_many_keys` when a limited key, with those that it made, has
    made as many as it may; 429 when it makes them too fast.
    """
    name, compatibility = fields.pop("name"), fields.pop("compatibility")
    if keys.access_of(caller()).is_limited:
        app_context().delegations.fail(f"keys {keys.family_of(caller())}", now=now())
    made = keys.delegate(
        store(),
        caller(),
        name=name,
        grant=fields,
        compatibility=compatibility,
        most=app_context().config.child_keys or None,
        now=now(),
    )
    record_change(made[0])
    return wire.new_key(*made), 201


@blueprint.post("/<key_id>/rotate")
@blueprint.needs("keys:write", changes="key")
@blueprint.arguments(RotateKey, required=False, example=examples.ROTATE_KEY)
@blueprint.answers(
    201,
    NewKeyAnswer,
    *WITH_BODY,
    *ALWAYS,
    409,
    example=examples.NEW_KEY,
    description="The key, with its new value, which is shown this once.",
)
def rotate_key(fields: Any, key_id: str) -> tuple[wire.Json, int]:
    """Give an API key a new value. The old one works beside it for a while, an hour by default."""
    key = keys.get_covered(store(), caller(), key_id)
    rotated = keys.rotate(store(), key, overlap_s=fields.get("overlap", 3600.0), now=now())
    record_change(rotated[0])
    return wire.new_key(*rotated), 201


@blueprint.delete("/<key_id>")
@blueprint.needs("keys:write", changes="key")
@blueprint.answers(
    200,
    RevokedKeyAnswer,
    400,
    *ALWAYS,
    example=examples.REVOKED_KEY,
    description="The key is worthless from now on.",
)
def revoke_key(key_id: str) -> wire.Json:
    """Revoke an API key. 400 for an unknown one, and for one that may do more than yours."""
    keys.revoke(store(), keys.get_covered(store(), caller(), key_id)["_id"])
    record_change(None)
    return {"id": key_id, "message": "The key is revoked."}
