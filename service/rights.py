"""What a key may do and see: by itself or for a user, now or when something is done later."""

from collections.abc import Callable
from datetime import datetime

from service import keys
from service.errors import Forbidden, NotFound, Unauthorized
from service.model.access import ACT
from service.model.documents import Key, User
from service.store import Store


def act_for(store: Store, key: Key, user_id: str) -> tuple[Key, User]:
    """Narrow a key to what it may do on behalf of a user; answer it as it would be, and the user.

    Raises Forbidden for a key that acts for nobody, and NotFound for a user whom there is not, or
    who is outside its limits: these look alike.
    """
    return narrow(key, user_id, find=store.users.find)


def narrow(key: Key, user_id: str, *, find: Callable[[str], User | None]) -> tuple[Key, User]:
    """Do the same where `find` knows the users."""
    access = keys.access_of(key)
    if not access.may(ACT):
        raise Forbidden(f"This API key may not act for users: it needs {ACT}.", scope=[ACT])
    user = find(user_id) if access.may_act_for(user_id) else None
    if user is None:
        raise NotFound("user", user_id, field="Act-As")
    both = access.acting_for(user_id, is_admin=user["admin"])
    return {**key, "scopes": sorted(both.scopes), "user_id": both.user_id}, user


def require(key: Key, scope: str, *, acts_for: str | None) -> None:
    """Raise Forbidden unless the key, narrowed to the user for whom it acts, has this scope."""
    if not keys.access_of(key).may(scope):
        who = "This API key" if acts_for is None else "Acting for this user, this API key"
        raise Forbidden(f"{who} may not do that: it needs {scope}.", scope=[scope])


def limit(store: Store, key: Key, *, acts_for: str | None) -> Store:
    """Return the store, or the part of it that the key may see, narrowed like that."""
    access = keys.access_of(key)
    if not access.is_limited:
        return store
    return store.within(
        user_id=access.user_id,
        instance_ids=access.instance_ids,
        node_ids=access.node_ids,
        key_id=key["_id"],
        acts_for=acts_for,
    )


def recall(
    store: Store, key_id: str | None, *, acts_for: str | None, scope: str, now: datetime
) -> Store:
    """Return what the key of this id may see by now, for what needs `scope`.

    Raises Unauthorized for one that was revoked or has expired, and like `act_for` and `require`.
    """
    key = store.keys.find(key_id) if key_id is not None else None
    if key is None or (key["expires_at"] is not None and key["expires_at"] <= now):
        raise Unauthorized("The API key that asked for this was revoked, or has expired.")
    if acts_for is not None:
        key, _ = act_for(store, key, acts_for)
    require(key, scope, acts_for=acts_for)
    return limit(store, key, acts_for=acts_for)
