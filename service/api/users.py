"""User endpoints."""

from typing import Any

from service import users
from service.api.audit_trail import mark_rejected, record_change
from service.api.blueprint import ALWAYS, WITH_BODY, Blueprint
from service.api.call import caller, store
from service.api.context import app_context, now
from service.contract import examples, wire
from service.contract.users import (
    CreatedUserAnswer,
    CreateUser,
    LookUpUser,
    UserAnswer,
    VerifiedAnswer,
    VerifyPassword,
)

blueprint = Blueprint("users", __name__, url_prefix="/api", description="Who owns instances.")


@blueprint.get("/users")
@blueprint.needs("users:read")
@blueprint.answers(
    200, UserAnswer(many=True), *ALWAYS, example=[examples.USER], description="All users."
)
def list_users() -> list[wire.Json]:
    """List all users."""
    return [wire.user(user) for user in store().users.all()]


@blueprint.post("/getUser")
@blueprint.needs("users:read")
@blueprint.arguments(LookUpUser, example=examples.LOOK_UP_USER)
@blueprint.answers(
    201, UserAnswer, *WITH_BODY, *ALWAYS, example=examples.USER, description="The user."
)
def get_user(lookup: dict[str, Any]) -> tuple[wire.Json, int]:
    """Get one user by e-mail address, name or id.

    A user that is found is answered with 201, and one that is not with 400, as ever.
    """
    return wire.user(users.look_up(store(), lookup["type"], lookup["value"])), 201


@blueprint.post("/auth/create-user")
@blueprint.needs("users:write", changes="user", named_by="userId")
@blueprint.arguments(CreateUser, example=examples.CREATE_USER)
@blueprint.answers(
    201,
    CreatedUserAnswer,
    *WITH_BODY,
    *ALWAYS,
    409,
    example=examples.CREATED_USER,
    description="The user was added.",
)
def create_user(fields: dict[str, Any]) -> tuple[wire.Json, int]:
    """Add a user.

    409 when the e-mail address, the name (in any letter case) or the `userId` is taken. 400 for a
    password of fewer than 8 characters, or as the settings say, unless the key has `compatibility`.
    """
    user = users.create(store(), **fields, min_password_length=_min_length(), now=now())
    record_change(user)
    return wire.created_user(user), 201


@blueprint.post("/auth/verify")
@blueprint.needs("users:verify")
@blueprint.arguments(VerifyPassword, example=examples.VERIFY_PASSWORD)
@blueprint.answers(
    200,
    VerifiedAnswer,
    *WITH_BODY,
    *ALWAYS,
    example=examples.VERIFIED,
    description="Whether it is, and then the user.",
)
def verify_password(fields: Any) -> wire.Json:
    """Check a user's password, for dashboards where users log in.

    It takes as long for a user who does not exist. 429 after too many failures for one user,
    by whichever of the two.
    """
    by: users.UserKey = "email" if fields["username"] is None else "username"
    lockout, subject = app_context().lockout, users.name_subject(store(), by, fields[by])
    lockout.check(subject, now=now())
    user = users.verify(store(), by, fields[by], fields["password"], now=now())
    if user is None:
        mark_rejected()
        lockout.fail(subject, now=now())
    return wire.verified(user)


def _min_length() -> int:
    # The older panel asked for no length, and its clients make passwords up that may be short.
    return 1 if caller()["compatibility"] else app_context().config.min_password_length
