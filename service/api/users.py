"""User endpoints."""

from flask import Response

from service import users
from service.api import lists
from service.api.audit_trail import mark_rejected, record_change
from service.api.blueprint import ALWAYS, WITH_BODY, Blueprint
from service.api.call import caller, claim, store
from service.api.context import app_context, now
from service.contract.list_queries import UsersQuery
from service.contract.users import (
    CreatedUserAnswer,
    CreateUser,
    LookUpUser,
    UserAnswer,
    VerifiedAnswer,
    VerifyPassword,
)
from service.model.documents import User
from service.model.listing import Listing
from service.model.orders import Credentials, NewUser, UserLookup

blueprint = Blueprint("users", __name__, url_prefix="/api", description="Who owns instances.")


@blueprint.get("/users")
@blueprint.needs("users:read")
@blueprint.arguments(UsersQuery, location="query")
@blueprint.answers(200, UserAnswer, 400, *ALWAYS, many=True, etag=True, description="All users.")
def list_users(listing: Listing) -> Response:
    """List all users."""
    return lists.answer(UserAnswer, store().users, listing)


@blueprint.post("/getUser")
@blueprint.needs("users:read")
@blueprint.arguments(LookUpUser)
@blueprint.answers(201, UserAnswer, *WITH_BODY, *ALWAYS, description="The user.")
def look_up_user(lookup: UserLookup) -> User:
    """Get one user by e-mail address, name or id.

    201 with the user; 400 if unknown (as in the reference).
    """
    return users.look_up(store(), **lookup)


def _check(order: NewUser) -> None:
    users.check_length(order["password"], _min_length())


@blueprint.post("/auth/create-user")
@blueprint.needs("users:write", changes="user", named_by="userId")
@blueprint.arguments(CreateUser, check=_check)
@blueprint.answers(
    201,
    CreatedUserAnswer,
    *WITH_BODY,
    *ALWAYS,
    409,
    description="The user was added.",
)
def create_user(order: NewUser) -> User:
    """Add a user.

    409 when the e-mail address, the name (in any letter case) or the `userId` is taken. 400 for a
    password of fewer than 8 characters, unless the key has `compatibility`.
    """
    user = users.create(
        store(), **order, min_password_length=_min_length(), now=now(), claim=claim()
    )
    record_change(user)
    return user


@blueprint.post("/auth/verify")
@blueprint.needs("users:verify")
@blueprint.arguments(VerifyPassword)
@blueprint.answers(
    200,
    VerifiedAnswer,
    *WITH_BODY,
    *ALWAYS,
    description="Whether the password is correct; if so, the user.",
)
def verify_password(credentials: Credentials) -> User | None:
    """Check a user's password, for dashboards where users log in.

    The duration does not reveal whether the user exists. 429 after too many failures for one user,
    by name or e-mail address.
    """
    key, value = credentials["key"], credentials["value"]
    lockout, subject = app_context().lockout, users.name_subject(store(), key, value)
    lockout.check(subject, now=now())
    user = users.verify(store(), **credentials, now=now())
    if user is None:
        mark_rejected()
        lockout.fail(subject, now=now())
    return user


def _min_length() -> int:
    # The older panel asked for no length, and its clients make passwords up that may be short.
    return 1 if caller()["compatibility"] else users.MIN_PASSWORD_LENGTH
