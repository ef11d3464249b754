"""The document of a user."""

from collections.abc import Iterable
from datetime import datetime
from typing import NotRequired, TypedDict, cast

from service.model.labelling import Labelling


class Amounts(TypedDict):
    """What the instances of one user are promised together, or of which a change is to be made."""

    instances: int
    memory_mib: int
    cpu_milli: int
    disk_mb: int  # thousandths of a GB
    ports: int  # host ports


class Quota(TypedDict):
    """The most that the instances of one user may be promised; None: no limit."""

    instances: int | None
    memory_mib: int | None
    cpu_milli: int | None
    disk_mb: int | None
    ports: int | None


class QuotaChanges(TypedDict, total=False):
    """Which limits of a quota change; None: no limit. See Quota."""

    instances: int | None
    memory_mib: int | None
    cpu_milli: int | None
    disk_mb: int | None
    ports: int | None


class User(TypedDict):
    """Somebody who owns instances."""

    _id: str  # the API's userId: kept as it was sent, else 8 bytes of hex
    username: str
    username_key: str  # case-folded; unique
    email: str
    email_key: str  # case-folded; unique
    password_hash: str  # argon2id, or bcrypt from elsewhere
    admin: bool
    access_to: list[str]  # ids of instances of others
    quota: NotRequired[Quota]  # absent: no limit
    used: NotRequired[Amounts]  # counted in the transactions that promise it; absent: nothing
    suspended: NotRequired[bool]  # whether the user's instances may not run
    aligning: NotRequired[bool]  # whether some may not be in line with that yet
    external_id: NotRequired[str]  # the dashboard's id of it; unique
    labels: NotRequired[dict[str, str]]
    deployed_at: NotRequired[datetime]  # when the user's newest instance was taken on
    keys_made: NotRequired[int]  # how many keys were limited to the user, revoked ones too
    revision: NotRequired[int]  # raised by each write; absent: 0, of earlier versions
    observations: NotRequired[int]  # how many of these writes were observations; absent: 0
    changed_by: NotRequired[str | None]  # who wrote it last: store/cause.py
    created_at: datetime
    updated_at: datetime


def new_quota() -> Quota:
    """Make a quota that limits nothing."""
    return Quota(instances=None, memory_mib=None, cpu_milli=None, disk_mb=None, ports=None)


def new_amounts() -> Amounts:
    """Make the amounts of who has nothing."""
    return Amounts(instances=0, memory_mib=0, cpu_milli=0, disk_mb=0, ports=0)


def new_user(
    user_id: str,
    *,
    username: str,
    email: str,
    password_hash: str,
    admin: bool = False,
    access_to: Iterable[str] = (),
    quota: Quota | None = None,
    labelling: Labelling | None = None,
    now: datetime,
) -> User:
    """Make the document of a user."""
    document = User(
        _id=user_id,
        username=username,
        username_key=username.casefold(),
        email=email,
        email_key=email.casefold(),
        password_hash=password_hash,
        admin=admin,
        access_to=list(access_to),
        quota=quota or new_quota(),
        used=new_amounts(),
        revision=1,
        created_at=now,
        updated_at=now,
    )
    return cast("User", {**document, **(labelling or {})})
