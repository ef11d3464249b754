"""API keys on the wire."""

from datetime import UTC, datetime
from typing import Any

import marshmallow as ma

from service.contract import fields
from service.contract.base import Answer, Request
from service.keys import COMPATIBILITIES
from service.model.access import GRANTS, parse_network

MOST = 100
"""How many ids or networks a limit may have."""
LONGEST_OVERLAP_S = 30 * 86400


def _limit(name: str, what: str, description: str) -> ma.fields.List[str]:
    return ma.fields.List(
        fields.text(longest=64, description=f"{what}."),
        data_key=name,
        allow_none=True,
        load_default=None,
        validate=ma.validate.Length(min=1, max=MOST),
        metadata={"description": description},
    )


class CreateKey(Request):
    """A key to add. Limits that are absent are those of the key that makes it."""

    name = fields.text(description="What you call it.")
    scopes = ma.fields.List(
        ma.fields.String(validate=ma.validate.OneOf(GRANTS)),
        required=True,
        validate=ma.validate.Length(min=1, max=len(GRANTS)),
        metadata={"description": "What it may do."},
    )
    user_id = fields.text(
        data_key="user",
        required=False,
        load_default=None,
        longest=64,
        description="Limit it to this user and the user's instances.",
    )
    instance_ids = _limit("instances", "An instance's id", "Limit it to these instances.")
    node_ids = _limit("nodes", "A node's id", "Limit it to these nodes and the instances there.")
    networks = _limit(
        "networks",
        "An address or a network",
        "Limit it to requests from these IP addresses or networks, like 10.1.0.0/16.",
    )
    expires_at = ma.fields.AwareDateTime(
        data_key="expiresAt",
        allow_none=True,
        load_default=None,
        default_timezone=UTC,
        # What the database cannot keep is no time anybody means.
        validate=ma.validate.Range(max=datetime(2200, 1, 1, tzinfo=UTC)),
        metadata={"description": "When it stops to work."},
    )
    compatibility = ma.fields.String(
        allow_none=True,
        load_default=None,
        validate=ma.validate.OneOf(COMPATIBILITIES),
        metadata={"description": "Answer as that version of the older panel did."},
    )

    @ma.validates("networks")
    def check_networks(self, networks: list[str] | None, **kwargs: Any) -> None:
        """Networks are what the standard library takes for one."""
        for text in networks or ():
            try:
                parse_network(text)
            except ValueError as exc:
                raise ma.ValidationError(str(exc)) from exc


class RotateKey(Request):
    """How the old value of a key goes."""

    overlap = fields.seconds(
        longest=LONGEST_OVERLAP_S,
        load_default=3600.0,
        metadata={"description": "Seconds for which the old value works beside the new one."},
    )


class KeyAnswer(Answer):
    """A key. Never with its value, which only its holder has."""

    id = ma.fields.String(required=True)
    name = ma.fields.String(required=True)
    prefix = ma.fields.String(
        required=True, metadata={"description": "How it begins, to recognise it by."}
    )
    scopes = ma.fields.List(ma.fields.String(), required=True)
    user = ma.fields.String(required=True, allow_none=True)
    instances = ma.fields.List(ma.fields.String(), required=True, allow_none=True)
    nodes = ma.fields.List(ma.fields.String(), required=True, allow_none=True)
    networks = ma.fields.List(ma.fields.String(), required=True, allow_none=True)
    compatibility = ma.fields.String(required=True, allow_none=True)
    expiresAt = ma.fields.DateTime(required=True, allow_none=True)
    oldValueExpiresAt = ma.fields.DateTime(
        required=True,
        allow_none=True,
        metadata={"description": "Until when the value before the last rotation works."},
    )
    lastUsedAt = ma.fields.DateTime(
        required=True, allow_none=True, metadata={"description": "To the minute."}
    )
    createdBy = ma.fields.String(
        required=True, allow_none=True, metadata={"description": "The id of the key that made it."}
    )
    createdAt = ma.fields.DateTime(required=True)


class NewKeyAnswer(KeyAnswer):
    """A key with its value, which is shown this once."""

    key = ma.fields.String(required=True)


class RevokedKeyAnswer(Answer):
    """The key is worthless."""

    id = ma.fields.String(required=True)
    message = ma.fields.String(required=True)
