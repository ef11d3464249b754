"""Users on the wire."""

from typing import Any

import marshmallow as ma

from service.contract import answers, fields
from service.contract.answers import Answer
from service.contract.base import Request
from service.model.documents import User
from service.model.orders import Credentials, NewUser, UserKey, UserLookup

EMAIL = "ada@example.org"
_FOUR_WORDS = "correct horse battery staple"


class LookUpUser(Request[UserLookup]):
    """Which user is meant."""

    key = ma.fields.String(
        data_key="type",
        required=True,
        validate=ma.validate.OneOf(["email", "username", "id"]),
        metadata={"description": "What `value` is.", "sample": "email"},
    )
    value = fields.text(
        longest=320, description="The e-mail address, name or id, in full.", sample=EMAIL
    )


class CreateUser(Request[NewUser]):
    """A user to add."""

    username = fields.text(longest=64, description="Unique in any letter case.", sample="ada")
    email = ma.fields.Email(
        required=True,
        validate=ma.validate.Length(max=320),
        metadata={"description": "Unique in any letter case.", "sample": EMAIL},
    )
    password = fields.text(
        longest=1024, description="Stored as an argon2id hash only.", sample=_FOUR_WORDS
    )
    user_id = fields.text(
        data_key="userId",
        required=False,
        load_default=None,
        longest=64,
        description="Kept as sent; generated if absent.",
        sample=fields.USER_ID,
    )
    admin = ma.fields.Boolean(
        load_default=False,
        allow_none=True,
        truthy={True},
        falsy={False},
        metadata={"description": "Shown to dashboards; it gives no rights here."},
    )

    @ma.post_load
    def fill_in(self, loaded: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Take null for no."""
        return {**loaded, "admin": bool(loaded["admin"])}


class VerifyPassword(Request[Credentials]):
    """Whose password is checked: a user by name or by e-mail address, one of them."""

    username = fields.text(required=False, load_default=None, longest=64, description="The name.")
    email = fields.text(
        required=False,
        load_default=None,
        longest=320,
        description="The e-mail address.",
        sample=EMAIL,
    )
    password = fields.text(
        longest=1024, description="Neither stored nor logged.", sample=_FOUR_WORDS
    )

    @ma.validates_schema
    def check_one(self, loaded: dict[str, Any], **kwargs: Any) -> None:
        """Raise unless one of the two is given."""
        given = [loaded.get(name) is not None for name in ("username", "email")]
        if all(given):
            raise ma.ValidationError({"username": ["Give this or 'email', not both."]})
        if not any(given):
            raise ma.ValidationError({"username": ["Either this or 'email' is required."]})

    @ma.post_load
    def name_user(self, loaded: dict[str, Any], **kwargs: Any) -> Credentials:
        """Say which of the two names the user."""
        key: UserKey = "email" if loaded["username"] is None else "username"
        return Credentials(key=key, value=loaded[key], password=loaded["password"])


class CreatedUserAnswer(Answer[User]):
    """The user that was added."""

    userId = answers.text(fields.USER_ID, of="_id")
    username = answers.text("ada")
    email = answers.text(EMAIL)
    admin = answers.flag(False)


class UserAnswer(CreatedUserAnswer):
    """A user. Never with a password, hashed or not."""

    accessTo = answers.texts([], of="access_to")
    createdAt = answers.time(fields.WHEN, of="created_at")


class VerifiedAnswer(Answer[User | None]):
    """Whether the password is the user's."""

    valid = answers.flag(True, of=lambda user: user is not None)
    user = answers.nested(
        UserAnswer,
        of=answers.itself,
        null=True,
        description="null: there is no such user, or the password is wrong.",
    )
