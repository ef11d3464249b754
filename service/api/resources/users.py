"""Users by address."""

from service import suspensions, users
from service.api.audit_trail import add_facts, record_change
from service.api.blueprint import ALWAYS, NO_CONTENT, WITH_BODY
from service.api.call import claim, origin, store
from service.api.context import now
from service.api.etags import read_precondition
from service.api.users import blueprint
from service.contract.base import NoContent
from service.contract.users import AddUser, EditUser, UserAnswer
from service.model.documents import User
from service.model.orders import NewUser, UserChanges


def _check(order: UserChanges, **ids: str) -> None:  # noqa: ARG001
    if "password" in order:
        users.check_length(order["password"], users.MIN_PASSWORD_LENGTH)


@blueprint.post("/users")
@blueprint.needs("users:write", changes="user", named_by="userId")
@blueprint.arguments(AddUser, check=_check)
@blueprint.answers(
    201,
    UserAnswer,
    *WITH_BODY,
    *ALWAYS,
    409,
    location="/api/users/{_id}",
    description="The user was added.",
)
def add_user(order: NewUser) -> User:
    """Add a user.

    409 when the e-mail address, the name (in any letter case), the `userId` or the `externalId` is
    taken. A password has 8 characters or more.
    """
    user = users.create(
        store(),
        **order,
        min_password_length=users.MIN_PASSWORD_LENGTH,
        now=now(),
        claim=claim(),
    )
    record_change(user)
    return user


@blueprint.get("/users/<user_id>")
@blueprint.needs("users:read")
@blueprint.answers(200, UserAnswer, *ALWAYS, 404, etag=True, description="The user.")
def get_user(user_id: str) -> User:
    """Get one user by id."""
    return store().users.get(user_id)


@blueprint.patch("/users/<user_id>")
@blueprint.needs("users:write", changes="user")
@blueprint.arguments(EditUser, check=_check, required=False)
@blueprint.answers(
    200,
    UserAnswer,
    *WITH_BODY,
    *ALWAYS,
    404,
    409,
    412,
    description="The user, as it is now.",
)
def edit_user(changes: UserChanges, user_id: str) -> User:
    """Change a user's name, e-mail address, password, role, external id or labels.

    What is absent stays as it is (RFC 7396). 409 when the name, the address or the `externalId` is
    taken.
    """
    user = users.edit(store(), user_id, changes, only_if=read_precondition(), now=now())
    record_change(user)
    if "password" in changes:
        add_facts(passwordChanged=True)
    return user


_SUSPENSION = (*ALWAYS, 404, 412)


@blueprint.post("/users/<user_id>/suspend")
@blueprint.needs("users:write", changes="user")
@blueprint.answers(200, UserAnswer, *_SUSPENSION, description="The user, suspended.")
def suspend_user(user_id: str) -> User:
    """Suspend a user: all instances are stopped, and none is deployed or started.

    That is done by a worker, which suspends instance after instance; on a node that is down, once
    it answers. Nothing is deleted, and the user's keys stay as they are.
    """
    return _change_suspension(user_id, suspended=True)


@blueprint.post("/users/<user_id>/unsuspend")
@blueprint.needs("users:write", changes="user")
@blueprint.answers(200, UserAnswer, *_SUSPENSION, description="The user, who may run instances.")
def unsuspend_user(user_id: str) -> User:
    """Let a suspended user's instances run again.

    Those that ran are started. What was suspended or stopped on its own before stays so.
    """
    return _change_suspension(user_id, suspended=False)


def _change_suspension(user_id: str, *, suspended: bool) -> User:
    user = suspensions.change_user(
        store(), user_id, suspended=suspended, only_if=read_precondition(), origin=origin()
    )
    record_change(user)
    return user


@blueprint.delete("/users/<user_id>")
@blueprint.needs("users:write", changes="user")
@blueprint.answers(NO_CONTENT, NoContent, *ALWAYS, 404, 409, 412, description="The user is gone.")
def remove_user(user_id: str) -> None:
    """Delete a user, and revoke the keys that are limited to the user.

    409 with their number while the user owns instances.
    """
    revoked = users.delete(store(), user_id, only_if=read_precondition())
    record_change(None)
    add_facts(keysRevoked=revoked)
