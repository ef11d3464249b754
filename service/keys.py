"""What can be done with API keys. A key itself is known to its holder alone; we keep its digest."""

import hashlib
import secrets
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta

from service.documents import Key
from service.errors import Conflict, Unauthorized
from service.store import Store

PREFIX = "sq_"
TOUCH_EVERY = timedelta(minutes=1)
"""How fresh `last_used_at` is kept: a write for each request would cost more than the request."""
ALL_RIGHTS = ["*"]
COMPATIBILITIES = ("0.3.0",)


def make_key() -> str:
    """Make up a key of 256 random bits."""
    return PREFIX + secrets.token_urlsafe(32)


def digest(key: str) -> str:
    """Hash a key. It is random and long, so a fast hash keeps it safe."""
    return hashlib.sha256(key.encode()).hexdigest()


def create(
    store: Store,
    *,
    name: str,
    now: datetime,
    key: str | None = None,
    compatibility: str | None = None,
    expires_at: datetime | None = None,
    new_key: Callable[[], str] = make_key,
) -> tuple[Key, str]:
    """Add a key with all rights; answer its document and the key, which is never seen again.

    `compatibility` is one of COMPATIBILITIES; without it answers are as the API's reference says.

    Raises Conflict when there is a key of this value already.
    """
    key = key or new_key()
    document = Key(
        _id=secrets.token_hex(6),
        digest=digest(key),
        name=name,
        scopes=ALL_RIGHTS,
        compatibility=compatibility,
        expires_at=expires_at,
        last_used_at=None,
        created_at=now,
    )
    store.keys.add(document)
    return document, key


def ensure(store: Store, key: str, *, name: str, now: datetime) -> None:
    """See to it that this very key exists, with all rights, whoever else does the same."""
    if store.keys.find_by_digest(digest(key)) is None:
        with suppress(Conflict):
            create(store, name=name, key=key, now=now)


def authenticate(store: Store, key: str, *, now: datetime) -> Key:
    """Find whose key this is. Raises Unauthorized."""
    document = store.keys.find_by_digest(digest(key)) if key else None
    if document is None:
        raise Unauthorized("The x-api-key header is missing or its key is not valid.")
    if document["expires_at"] is not None and document["expires_at"] <= now:
        raise Unauthorized("This API key has expired.")
    used = document["last_used_at"]
    if used is None or now - used >= TOUCH_EVERY:
        store.keys.touch(document["_id"], now=now)
    return document


def revoke(store: Store, key_id: str) -> bool:
    """Make a key worthless from now on. False when there was none of this id."""
    return store.keys.remove(key_id)
