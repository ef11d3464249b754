"""Users on the wire."""

import re
from typing import Any

import marshmallow as ma

from service.contract import answers, fields
from service.contract.answers import Answer
from service.contract.base import Patch, Request, StrictRequest
from service.contract.quotas import QuotaAnswer, QuotaFields
from service.model.documents import User
from service.model.orders import Credentials, NewUser, UserChanges, UserKey, UserLookup
from service.model.quotas import list_warnings, quota_of

EMAIL = "ada@example.org"
_FOUR_WORDS = "correct horse battery staple"
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@:+-]*", re.ASCII)


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


class AddUser(StrictRequest[NewUser], CreateUser):
    """A user to add."""

    user_id = fields.text(
        data_key="userId",
        required=False,
        load_default=None,
        longest=64,
        description="Generated if absent.",
        sample=fields.USER_ID,
    )
    admin = fields.Flag(load_default=False, allow_none=True)
    quota = ma.fields.Nested(
        QuotaFields,
        allow_none=True,
        metadata=fields.describe(
            "The most that the user's instances may be promised together; no limits if absent.",
            fields.make_example(QuotaFields),
        ),
    )
    external_id = fields.external_id()
    labels = fields.labels()

    @ma.validates("user_id")
    def check_id(self, user_id: str | None, **kwargs: Any) -> None:
        """Ids stand in paths, where some programs read a dot or a slash in their own way."""
        if user_id is not None and not _ID.fullmatch(user_id):
            raise ma.ValidationError(
                "Must have letters, digits and ._@:+- only, and begin with a letter or a digit."
            )


class EditUser(Patch[UserChanges], AddUser):
    """What changes of a user."""

    class Meta(Patch.Meta):
        exclude = ("user_id",)

    @ma.post_load
    def fill_in(self, loaded: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Take null for no."""
        return {**loaded, "admin": bool(loaded["admin"])} if "admin" in loaded else loaded


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
    suspended = answers.flag(
        False,
        of=lambda user: user.get("suspended", False),
        description="Whether none of the user's instances may run.",
    )
    quota = answers.nested(QuotaAnswer, of=quota_of)
    warnings = answers.texts(
        [],
        of=list_warnings,
        audited=False,
        description="Which limits of the quota are exceeded.",
    )
    externalId = answers.external_id()
    labels = answers.labels()
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
