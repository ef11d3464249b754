"""API keys on the wire."""

from datetime import UTC, datetime
from typing import Any, cast

import marshmallow as ma

from service.contract import answers, fields
from service.contract.answers import Answer
from service.contract.base import Patch, Request, SingleField
from service.model.access import COMPATIBILITIES, GRANTS, parse_network
from service.model.documents import Key
from service.model.orders import Grant, KeyChanges, KeyOrder
from service.model.suggestions import suggest

MOST = 100
"""How many ids or networks a limit may have."""
LONGEST_OVERLAP_S = 30 * 86400

_NAME = "Ada's bot"
_SCOPES = ["instances:*", "images:read", "nodes:read"]
_NETWORKS = ["203.0.113.0/24"]
_EXPIRES_AT = "2126-01-31T12:00:00.000Z"


def _limit(name: str, what: str, description: str, **metadata: object) -> ma.fields.List[str]:
    return ma.fields.List(
        fields.text(longest=64, description=f"{what}."),
        data_key=name,
        allow_none=True,
        load_default=None,
        validate=ma.validate.Length(min=1, max=MOST),
        metadata={"description": description, **metadata},
    )


def _expiry() -> ma.fields.AwareDateTime:
    return ma.fields.AwareDateTime(
        data_key="expiresAt",
        allow_none=True,
        load_default=None,
        default_timezone=UTC,
        # What the database cannot keep is no time anybody means.
        validate=ma.validate.Range(max=datetime(2200, 1, 1, tzinfo=UTC)),
        metadata={"description": "When it expires.", "sample": _EXPIRES_AT},
    )


def _suggest_scope(scope: str) -> None:
    if scope not in GRANTS and (meant := suggest(scope, GRANTS)):
        raise ma.ValidationError(f"There is no such scope.{meant}")


class CreateKey(Request[KeyOrder]):
    """A key to add. Limits that are absent are those of the key that makes it."""

    name = fields.text(description="What you call it.", sample=_NAME)
    scopes = ma.fields.List(
        ma.fields.String(validate=[_suggest_scope, ma.validate.OneOf(GRANTS)]),
        required=True,
        validate=ma.validate.Length(min=1, max=len(GRANTS)),
        metadata={"description": "What it may do.", "sample": _SCOPES},
    )
    user_id = fields.text(
        data_key="user",
        required=False,
        load_default=None,
        longest=64,
        description="Limit it to this user and the user's instances.",
        sample=fields.USER,
    )
    instance_ids = _limit("instances", "An instance's id", "Limit it to these instances.")
    node_ids = _limit("nodes", "A node's id", "Limit it to these nodes and the instances there.")
    networks = _limit(
        "networks",
        "An address or a network",
        "Limit it to requests from these IP addresses or networks, like 10.1.0.0/16.",
        sample=_NETWORKS,
    )
    expires_at = _expiry()
    compatibility = ma.fields.String(
        allow_none=True,
        load_default=None,
        validate=ma.validate.OneOf(COMPATIBILITIES),
        metadata={"description": "Answer as that version of the older panel did."},
    )

    @ma.validates("networks")
    def check_networks(self, networks: list[str] | None, **kwargs: Any) -> None:
        """Networks are what the standard library takes for one."""
        wrong: dict[int, list[str]] = {}
        for number, text in enumerate(networks or ()):
            try:
                parse_network(text)
            except ValueError as exc:
                wrong[number] = [str(exc)]
        if wrong:
            raise ma.ValidationError(wrong)

    @ma.post_load
    def gather_grant(self, loaded: dict[str, Any], **kwargs: Any) -> KeyOrder:
        """Take together what the key may do."""
        name, compatibility = loaded.pop("name"), loaded.pop("compatibility")
        return KeyOrder(name=name, compatibility=compatibility, grant=cast("Grant", loaded))


class EditKey(Patch[KeyChanges]):
    """What changes of a key."""

    name = fields.text(description="What you call it.", sample=_NAME)
    expires_at = _expiry()


class RotateKey(SingleField[float]):
    """How the old value of a key goes."""

    overlap = fields.seconds(
        longest=LONGEST_OVERLAP_S,
        load_default=3600.0,
        metadata={
            "description": "Seconds for which the old value works beside the new one.",
            "sample": 3600,
        },
    )


class KeyWithValue(Key):
    """A key's document with its value, which is stored nowhere."""

    value: str


class KeyAnswer(Answer[Key]):
    """A key. Never with its value, which only its holder has."""

    id = answers.text(fields.KEY_ID, of="_id")
    name = answers.text(_NAME)
    prefix = answers.text("sq_Xk3v9Q", description="Its first characters, to recognise it by.")
    scopes = answers.texts(_SCOPES)
    user = answers.text(fields.USER_ID, of="user_id", null=True)
    instances = answers.texts(None, of="instance_ids", null=True)
    nodes = answers.texts(None, of="node_ids", null=True)
    networks = answers.texts(_NETWORKS, null=True)
    compatibility = answers.text(None, null=True)
    expiresAt = answers.time(_EXPIRES_AT, of="expires_at", null=True)
    oldValueExpiresAt = answers.time(
        None,
        of=lambda key: key["retiring"]["until"] if key["retiring"] else None,
        null=True,
        description="When the value from before the last rotation expires.",
    )
    lastUsedAt = answers.time(
        fields.WHEN, of="last_used_at", null=True, audited=False, description="To the minute."
    )
    createdBy = answers.text(
        "3f6c2b1a09d8", of="created_by", null=True, description="The id of the key that made it."
    )
    createdAt = answers.time(fields.WHEN, of="created_at")


class NewKeyAnswer(KeyAnswer):
    """A key with its value, which is shown this once."""

    key = answers.text("sq_Xk3v9Q...", of="value", secret=True)


class RevokedKeyAnswer(Answer[str]):
    """The key of this id is worthless."""

    id = answers.text(fields.KEY_ID, of=answers.itself)
    message = answers.text("The key is revoked.", of=lambda _: "The key is revoked.")
