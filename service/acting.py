"""Keys that act for users: what both may do."""

from service import keys
from service.errors import Forbidden, NotFound
from service.model.access import ACT
from service.model.documents import Key, User
from service.store import Store


def narrow(store: Store, key: Key, user_id: str) -> tuple[Key, User]:
    """Narrow a key to what it may do on behalf of a user; answer it as it would be, and the user.

    Raises Forbidden for a key that acts for nobody, and NotFound for a user whom there is not, or
    who is outside its limits: these look alike.
    """
    access = keys.access_of(key)
    if not access.may(ACT):
        raise Forbidden(f"This API key may not act for users: it needs {ACT}.", scope=[ACT])
    user = store.users.find(user_id) if access.may_act_for(user_id) else None
    if user is None:
        raise NotFound("user", user_id, field="Act-As")
    both = access.acting_for(user_id, is_admin=user["admin"])
    return {**key, "scopes": sorted(both.scopes), "user_id": both.user_id}, user
