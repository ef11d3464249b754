"""The document of an API key."""

from datetime import datetime
from typing import NotRequired, TypedDict


class RetiringKey(TypedDict):
    """The value that a key had before it was rotated, and until when it still works."""

    digest: str  # SHA-256 of the key, hex
    until: datetime


class Key(TypedDict):
    """An API key: its digest, never the key."""

    _id: str
    digest: str  # SHA-256 of the key, hex; unique
    prefix: str  # how the key begins, to recognise it by
    retiring: RetiringKey | None
    name: str
    scopes: list[str]  # as they were granted: "*", "users:*", "users:read"
    user_id: str | None  # whose instances it is limited to; None: no limit, like the next three
    instance_ids: list[str] | None
    node_ids: list[str] | None
    networks: list[str] | None  # where it may be used from
    compatibility: str | None  # the panel's version whose codes its holder reads; None: reference
    expires_at: datetime | None
    last_used_at: datetime | None
    created_by: str | None  # key id; None: an operator, on the command line
    family: NotRequired[str]  # id of the first limited key from which it descends
    delegations: NotRequired[int]  # how many keys of its family were made while it was the oldest
    spent: NotRequired[list[str]]  # digests of the values before the last rotations, newest last
    revision: NotRequired[int]  # raised by each write; absent: 0, of earlier versions
    observations: NotRequired[int]  # how many of these writes were observations; absent: 0
    changed_by: NotRequired[str | None]  # who wrote it last: store/cause.py
    created_at: datetime


def new_key(
    key_id: str,
    *,
    digest: str,
    prefix: str,
    name: str,
    scopes: list[str],
    user_id: str | None = None,
    instance_ids: list[str] | None = None,
    node_ids: list[str] | None = None,
    networks: list[str] | None = None,
    compatibility: str | None = None,
    expires_at: datetime | None = None,
    created_by: str | None = None,
    family: str | None = None,
    now: datetime,
) -> Key:
    """Make the document of a key: where nothing else is said, it has no limits."""
    document = Key(
        _id=key_id,
        digest=digest,
        prefix=prefix,
        retiring=None,
        name=name,
        scopes=scopes,
        user_id=user_id,
        instance_ids=instance_ids,
        node_ids=node_ids,
        networks=networks,
        compatibility=compatibility,
        expires_at=expires_at,
        last_used_at=None,
        created_by=created_by,
        revision=1,
        created_at=now,
    )
    if family is not None:
        document["family"] = family
    return document
