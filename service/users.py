"""What can be done with users."""

import secrets
from collections.abc import Callable
from datetime import datetime
from functools import cache
from threading import BoundedSemaphore

import argon2
import bcrypt

from service.errors import AlreadyDone, InvalidInput, NotFound, UserNotEmpty
from service.model.documents import QuotaChanges, User, new_quota, new_user
from service.model.labelling import label, relabel
from service.model.orders import UserChanges, UserKey
from service.model.origin import Claim
from service.model.precondition import ANY_STATE, Precondition
from service.model.quotas import merge, quota_of
from service.store import Store
from service.store.collection import Session

MIN_PASSWORD_LENGTH = 8
"""How many characters a new password needs, but for clients of the older panel."""

HASHES_AT_A_TIME = 2
"""How many passwords one process hashes at a time: each takes 64 MiB, and four threads of its own.

There is a process for each core, and more at a time would only take more memory.
"""

_hasher = argon2.PasswordHasher()
_turns = BoundedSemaphore(HASHES_AT_A_TIME)

_BCRYPT_BYTES = 72
"""All that bcrypt ever looked at."""


def make_id() -> str:
    """Make up an id for a user who was sent without one."""
    return secrets.token_hex(8)


def create(
    store: Store,
    *,
    username: str,
    email: str,
    password: str,
    user_id: str | None = None,
    admin: bool = False,
    quota: QuotaChanges | None = None,
    external_id: str | None = None,
    labels: dict[str, str | None] | None = None,
    min_password_length: int = 1,
    now: datetime,
    claim: Claim | None = None,
    new_id: Callable[[], str] = make_id,
) -> User:
    """Add a user. The id that was sent is kept, because clients look users up by it.

    Raises Conflict when an id, the e-mail address or the name is taken, in any letter case, and
    InvalidInput for a password of fewer characters than `min_password_length`. A repeat of what an
    earlier request did answers the user whom it added; AlreadyDone when that one is gone.
    """
    if claim is not None and claim.made is not None:
        added = store.users.find(claim.made["user"])
        if added is None:
            raise AlreadyDone(claim.made)
        return added
    check_length(password, min_password_length)
    user = new_user(
        user_id or new_id(),
        username=username,
        email=email,
        password_hash=_hash(password),
        admin=admin,
        quota=merge(new_quota(), quota),
        labelling=label({"external_id": external_id, "labels": labels}),
        now=now,
    )

    def write(session: Session) -> None:
        store.users.add(user, session=session)
        store.idempotency.mark(claim, {"user": user["_id"]}, session=session)

    store.transaction(write)
    return user


def look_up(store: Store, key: UserKey, value: str) -> User:
    """Read the user with this id, e-mail address or name. Raises NotFound."""
    user: User | None
    match key:
        case "id":
            user = store.users.find(value)
        case "email":
            user = store.users.find_by_email(value)
        case "username":
            user = store.users.find_by_username(value)
    if user is None:
        raise NotFound("user", value, field="value")
    return user


def name_subject(store: Store, key: UserKey, value: str) -> str:
    """Name whose wrong passwords are counted together: one user, by whatever he is named."""
    try:
        return f"user {look_up(store, key, value)['_id']}"
    except NotFound:
        return f"{key} {value.casefold()}"


def verify(store: Store, key: UserKey, value: str, password: str, *, now: datetime) -> User | None:
    """Read the user whose password this is; None when it is not, or there is no such user.

    It takes as long in all three cases, whatever kind of hash there is: one of bcrypt, from another
    panel, gives way to one of ours.
    """
    try:
        user = look_up(store, key, value)
    except NotFound:
        user = None
    hashed = user["password_hash"] if user else ""
    of_bcrypt = hashed.startswith("$2")
    matches = _check_bcrypt(hashed if of_bcrypt else _nobodys_hash(), password)
    if of_bcrypt or user is None:
        fresh = _hash(password)
        if user is None or not matches:
            return None
    else:
        try:
            with _turns:
                _hasher.verify(hashed, password)
        except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
            return None
        if not _hasher.check_needs_rehash(hashed):
            return user
        fresh = _hash(password)
    # Not when the password was set anew meanwhile: this one is the old one then.
    store.users.set_password_hash(user["_id"], fresh, only_if=hashed, now=now)
    return user


def check_length(password: str, min_length: int) -> None:
    """Raise InvalidInput for a password of fewer characters."""
    if len(password) < min_length:
        raise InvalidInput(
            "The password is too short.", password=[f"Must have at least {min_length} characters."]
        )


def _hash(password: str) -> str:
    with _turns:
        return _hasher.hash(password)


@cache
def _nobodys_hash() -> str:
    """Make a hash that no password has, of the cost that the older panel used."""
    return bcrypt.hashpw(secrets.token_bytes(16).hex().encode(), bcrypt.gensalt(10)).decode()


def _check_bcrypt(hashed: str, password: str) -> bool:
    try:
        return bcrypt.checkpw(password.encode()[:_BCRYPT_BYTES], hashed.encode())
    except ValueError:  # it is no hash of bcrypt
        return False


def edit(
    store: Store,
    user_id: str,
    changes: UserChanges,
    *,
    min_password_length: int = MIN_PASSWORD_LENGTH,
    only_if: Precondition = ANY_STATE,
    now: datetime,
) -> User:
    """Change what `changes` name of a user, all of it or, after an error, nothing.

    Raises NotFound, PreconditionFailed, and Conflict and InvalidInput like `create`.
    """
    only_if.check(store.users.get(user_id))  # before a hash is made, which takes its time
    fields: dict[str, object] = {"updated_at": now}
    if "username" in changes:
        fields |= {"username": changes["username"], "username_key": changes["username"].casefold()}
    if "email" in changes:
        fields |= {"email": changes["email"], "email_key": changes["email"].casefold()}
    if "admin" in changes:
        fields["admin"] = changes["admin"]
    if "password" in changes:
        check_length(changes["password"], min_password_length)
        fields["password_hash"] = _hash(changes["password"])

    def write(session: Session) -> User:
        user = store.users.get(user_id, session=session)
        only_if.check(user)
        given, removed = relabel(user.get("labels", {}), changes)
        limits = {"quota": merge(quota_of(user), changes["quota"])} if "quota" in changes else {}
        return store.users.change(
            user_id, {**fields, **limits, **given}, remove=removed, session=session
        )

    return store.transaction(write)


def set_password(
    store: Store, user_id: str, password: str, *, min_password_length: int = 1, now: datetime
) -> None:
    """Replace the user's password. Raises NotFound, and InvalidInput like `create`."""
    store.users.get(user_id, field="userId")
    check_length(password, min_password_length)
    store.users.set_password_hash(user_id, _hash(password), now=now)


def delete(store: Store, user_id: str, *, only_if: Precondition = ANY_STATE) -> int:
    """Forget a user, and revoke the keys that are limited to the user; return their number.

    Raises UserNotEmpty while the user owns instances, NotFound for no user, and PreconditionFailed.
    """

    def write(session: Session) -> int:
        only_if.check(store.users.get(user_id, field="userId", session=session))
        store.users.remove(user_id, session=session)
        owned = store.instances.list_owned(user_id, session=session)
        deleted = store.deleted.list_owned(user_id, session=session)
        if owned or deleted:
            count = f"Owns {len(owned)} instances"
            kept = f", and {len(deleted)} that are deleted and not purged" if deleted else ""
            raise UserNotEmpty("The user still owns instances.", userId=[f"{count}{kept}."])
        return store.keys.remove_of_user(user_id, session=session)

    revoked = store.transaction(write)
    if revoked:
        store.keys.outlast_caches()
    return revoked
