"""What can be done with API keys. A key itself is known to its holder alone; we keep its digest."""

import hashlib
import secrets
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta

from service import idempotency
from service.errors import Conflict, Forbidden, InvalidInput, NotFound, TooManyKeys, Unauthorized
from service.model.access import Access, expand, parse_network
from service.model.documents import Key, RetiringKey, new_key
from service.model.orders import Grant
from service.model.origin import Claim
from service.model.precondition import ANY_STATE, Precondition
from service.model.wrong_fields import WrongFields
from service.store import Store
from service.store.collection import Session

PREFIX = "sq_"
TOUCH_EVERY = timedelta(minutes=1)
"""How fresh `last_used_at` is kept: a write for each request would cost more than the request."""
MOST_SPENT = 100
"""How many values that a key had before are known, so that none of them is made a key anew."""
MAX_CHILD_KEYS = 100
"""How many keys a limited key may make, counting those made by them."""

_LENGTH = len(PREFIX) + 43
"""32 random bytes are 43 characters."""

_SHOWN = len(PREFIX) + 6
"""How many characters of a key that we made are kept to recognise it by."""
_SHOWN_OF_OTHERS = 4


def make_key() -> str:
    """Make up a key of 256 random bits."""
    return PREFIX + secrets.token_urlsafe(32)


def is_random(key: str) -> bool:
    """Return whether a key is of the form that we make: too long, and too random, to be guessed."""
    return len(key) == _LENGTH and key.startswith(PREFIX)


def digest(key: str) -> str:
    """Hash a key. It is random and long, so a fast hash keeps it safe."""
    return hashlib.sha256(key.encode()).hexdigest()


def create(
    store: Store,
    *,
    name: str,
    now: datetime,
    key: str | None = None,
    grant: Grant | None = None,
    compatibility: str | None = None,
    created_by: str | None = None,
    family: str | None = None,
    most: int | None = None,
    claim: Claim | None = None,
    new_value: Callable[[], str] = make_key,
) -> tuple[Key, str]:
    """Add a key, with all rights unless `grant` says less; answer its document and the key.

    The key is never seen again. `compatibility` is one of `access.COMPATIBILITIES`; without it
    answers are as the API's reference says. Raises InvalidInput when its limits take away a named
    scope, NotFound for an unknown user, Conflict for a known value, TooManyKeys for a full family.
    """
    key = key or new_value()
    granted = grant or {}
    document = new_key(
        secrets.token_hex(6),
        digest=digest(key),
        prefix=_find_prefix(key),
        name=name,
        scopes=granted.get("scopes", ["*"]),
        user_id=granted.get("user_id"),
        instance_ids=granted.get("instance_ids"),
        node_ids=granted.get("node_ids"),
        networks=granted.get("networks"),
        compatibility=compatibility,
        expires_at=granted.get("expires_at"),
        created_by=created_by,
        family=family,
        now=now,
    )
    wrong, access = WrongFields(), access_of(document)
    note_limits(wrong, store, access, document["scopes"])
    wrong.raise_any()

    def write(session: Session) -> None:
        if document["user_id"] is not None:
            store.users.count_key(document["user_id"], session=session)
        if family is not None:
            count = store.keys.count_delegation(family, session=session)
            if most is not None and count >= most:
                raise TooManyKeys(
                    "This key and those that it made have made as many keys as they may.",
                    keys=[f"There are {count} of {most}: revoke some."],
                )
        store.keys.add(document, session=session)
        store.idempotency.mark(claim, {"key": document["_id"]}, session=session)

    store.transaction(write)
    return document, key


def family_of(key: Key) -> str:
    """Name the keys that count as one: a limited key with all that descend from it."""
    return key.get("family", key["_id"])


def find_family(key: Key) -> str | None:
    """Name the family that the keys will be of that this one makes; None: of none, or their own."""
    return family_of(key) if access_of(key).is_limited else None


def draft_local_administrator(*, now: datetime) -> Key:
    """Make the document of a key that nobody has: of commands on the machine of the database."""
    return new_key("local", digest="", prefix="", name="local", scopes=["*"], now=now)


def find_rotated(store: Store, key: str) -> Key | None:
    """Find the key that had this value before it was rotated; None when there is no such key."""
    return store.keys.find_spent(digest(key))


def ensure(store: Store, key: str, *, name: str, now: datetime) -> Key | None:
    """See to it that this very key exists, with all rights; None when it did already."""
    if store.keys.find_by_digest(digest(key)) is None:
        with suppress(Conflict):  # whoever else does the same
            return create(store, name=name, key=key, now=now)[0]
    return None


def authenticate(store: Store, key: str, *, now: datetime, address: str | None = None) -> Key:
    """Find whose key this is.

    The old value of a key that was rotated makes, rotates and revokes no keys: whoever has it
    could take the key over from who has the new one.

    Raises Unauthorized, and Forbidden for one that may not be used from `address`.
    """
    return recognize(store, digest(key) if key else None, now=now, address=address)


def recognize(
    store: Store, hashed: str | None, *, now: datetime, address: str | None = None
) -> Key:
    """Find whose key has this digest, like `authenticate`."""
    document = store.keys.find_known(hashed) if hashed is not None else None
    return use(store, document, hashed, now=now, address=address)


def use(
    store: Store, document: Key | None, hashed: str | None, *, now: datetime, address: str | None
) -> Key:
    """Use the key that was found by this digest, if one was, like `authenticate`."""
    if document is None or hashed is None:
        raise Unauthorized("The x-api-key header is missing or its key is not valid.")
    check(document, hashed, address=address, now=now)
    used = document["last_used_at"]
    if used is None or now - used >= TOUCH_EVERY:
        store.keys.touch(document["_id"], now=now, unless_since=now - TOUCH_EVERY)
        document["last_used_at"] = now  # where it is known for a while, so that this is done once
    if hashed != document["digest"]:
        return {**document, "scopes": sorted(expand(document["scopes"]) - {"keys:write"})}
    return document


def check(document: Key, hashed: str, *, now: datetime, address: str | None = None) -> None:
    """Check what is in the document of the key with this digest. Raises like `authenticate`."""
    if document["expires_at"] is not None and document["expires_at"] <= now:
        raise Unauthorized("This API key has expired.")
    old = document["retiring"]
    if hashed != document["digest"] and (old is None or old["until"] <= now):
        raise Unauthorized("This API key was rotated, and its old value has expired.")
    if address is None or document["networks"] is None:
        return
    if not access_of(document).admits(address):
        raise Forbidden("This API key may not be used from this address.", address=[address])


def access_of(key: Key) -> Access:
    """Return what a key may do."""
    return access_to(
        Grant(
            scopes=key["scopes"],
            user_id=key["user_id"],
            instance_ids=key["instance_ids"],
            node_ids=key["node_ids"],
            networks=key["networks"],
            expires_at=key["expires_at"],
        )
    )


def list_covered(store: Store, by: Key) -> list[Key]:
    """Read the keys that may do no more than this one, itself among them, oldest first."""
    own = access_of(by)
    found = store.keys.list_limited(
        user_id=own.user_id, instance_ids=own.instance_ids, node_ids=own.node_ids
    )
    return list(filter(covered_by(by), found))


def covered_by(by: Key) -> Callable[[Key], bool]:
    """Return what tells whether a key may do no more than this one."""
    own = access_of(by)
    return lambda key: own.covers(access_of(key))


def get_covered(store: Store, by: Key, key_id: str) -> Key:
    """Read a key that may do no more than this one. Raises NotFound for any other."""
    key = store.keys.get(key_id)
    if not access_of(by).covers(access_of(key)):
        raise NotFound("key", key_id)
    return key


def rotate(
    store: Store,
    key: Key,
    *,
    overlap_s: float,
    only_if: Precondition = ANY_STATE,
    now: datetime,
    claim: Claim | None = None,
    new_value: Callable[[], str] = make_key,
) -> tuple[Key, str]:
    """Give a key a new value; the one before works `overlap_s` seconds more.

    One that is older still is worthless. No process knows the key as it was any more. Raises
    Conflict when somebody else rotates it now, PreconditionFailed, and AlreadyDone for a repeat:
    nobody knows the new value, and the old one is to work until then.
    """
    idempotency.refuse_repeat(claim)
    value, old = new_value(), key["retiring"]
    before = key.get("spent", [old["digest"]] if old else [])
    changes = {
        "digest": digest(value),
        "prefix": _find_prefix(value),
        "retiring": RetiringKey(digest=key["digest"], until=now + timedelta(seconds=overlap_s)),
        "spent": [*before, key["digest"]][-MOST_SPENT:],
    }

    def write(session: Session) -> Key:
        only_if.check(store.keys.get(key["_id"], session=session))
        rotated = store.keys.rotate(key, changes, session=session)
        if rotated is None:
            raise Conflict("The key was rotated or revoked meanwhile.")
        store.idempotency.mark(claim, {"key": key["_id"]}, session=session)
        return rotated

    rotated = store.transaction(write)
    store.keys.outlast_caches()
    return rotated, value


def revoke(store: Store, key_id: str, *, only_if: Precondition = ANY_STATE) -> bool:
    """Make a key worthless, in all processes. False when there was none of this id.

    Raises PreconditionFailed.
    """

    def write(session: Session) -> bool:
        key = store.keys.find(key_id, session=session)
        if key is not None:
            only_if.check(key)
        return store.keys.remove(key_id, session=session)

    removed = store.transaction(write)
    if removed:
        store.keys.outlast_caches()
    return removed


def note_limits(wrong: WrongFields, store: Store, access: Access, scopes: list[str]) -> None:
    """Note which named scopes the limits of a key take away, and that its user is unknown."""
    with wrong.noting():
        access.refuse_useless(scopes)
    with wrong.noting():
        if access.user_id is not None:
            store.users.get(access.user_id, field="user")


def check_future(expires_at: datetime | None, now: datetime) -> None:
    """Raise InvalidInput for a key that would never work."""
    if expires_at is not None and expires_at <= now:
        raise InvalidInput("The key would never work.", expiresAt=["Must be in the future."])


def access_to(grant: Grant) -> Access:
    """Return what a grant with all its fields lets a key do."""
    instances, nodes, networks = (
        grant["instance_ids"], grant["node_ids"], grant["networks"]
    )  # fmt: skip
    return Access(
        scopes=expand(grant["scopes"]),
        user_id=grant["user_id"],
        instance_ids=None if instances is None else frozenset(instances),
        node_ids=None if nodes is None else frozenset(nodes),
        networks=None if networks is None else tuple(map(parse_network, networks)),
        expires_at=grant["expires_at"],
    )


def _find_prefix(key: str) -> str:
    return key[: _SHOWN if key.startswith(PREFIX) else _SHOWN_OF_OTHERS]
