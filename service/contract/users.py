"""Users on the wire."""

from typing import Any

import marshmallow as ma

from service.contract import fields
from service.contract.base import Answer, Request


class LookUpUser(Request):
    """Which user is meant."""

    type = ma.fields.String(
        required=True,
        validate=ma.validate.OneOf(["email", "username", "id"]),
        metadata={"description": "What `value` is."},
    )
    value = fields.text(longest=320, description="The e-mail address, name or id, in full.")


class CreateUser(Request):
    """A user to add."""

    username = fields.text(longest=64, description="Unique in any letter case.")
    email = ma.fields.Email(
        required=True,
        validate=ma.validate.Length(max=320),
        metadata={"description": "Unique in any letter case."},
    )
    password = fields.text(longest=1024, description="Stored as an argon2id hash only.")
    user_id = fields.text(
        data_key="userId",
        required=False,
        load_default=None,
        longest=64,
        description="Kept as it is; made up when absent.",
    )
    admin = ma.fields.Boolean(load_default=False, allow_none=True, truthy={True}, falsy={False})

    @ma.post_load
    def fill_in(self, loaded: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Take null for no."""
        return {**loaded, "admin": bool(loaded["admin"])}


class VerifyPassword(Request):
    """Whose password is checked: a user by name or by e-mail address, one of them."""

    username = fields.text(required=False, load_default=None, longest=64, description="The name.")
    email = fields.text(
        required=False, load_default=None, longest=320, description="The e-mail address."
    )
    password = fields.text(longest=1024, description="Neither stored nor logged.")

    @ma.validates_schema
    def check_one(self, loaded: dict[str, Any], **kwargs: Any) -> None:
        """Raise unless one of the two is given."""
        given = [loaded.get(name) is not None for name in ("username", "email")]
        if all(given):
            raise ma.ValidationError({"username": ["Give this or 'email', not both."]})
        if not any(given):
            raise ma.ValidationError({"username": ["Either this or 'email' is required."]})


class UserAnswer(Answer):
    """A user. Never with a password, hashed or not."""

    userId = ma.fields.String(required=True)
    username = ma.fields.String(required=True)
    email = ma.fields.String(required=True)
    admin = ma.fields.Boolean(required=True)
    accessTo = ma.fields.List(ma.fields.String(), required=True)
    createdAt = ma.fields.DateTime(required=True)


class CreatedUserAnswer(Answer):
    """The user that was added."""

    userId = ma.fields.String(required=True)
    username = ma.fields.String(required=True)
    email = ma.fields.String(required=True)
    admin = ma.fields.Boolean(required=True)


class VerifiedAnswer(Answer):
    """Whether the password is the user's."""

    valid = ma.fields.Boolean(required=True)
    user = ma.fields.Nested(
        UserAnswer,
        required=True,
        allow_none=True,
        metadata={"description": "null: there is no such user, or the password is wrong."},
    )
