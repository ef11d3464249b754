"""What can be changed of an API key that exists: not its rights."""

from datetime import datetime
from typing import cast

from service.errors import Forbidden
from service.keys import access_of, check_future, get_covered
from service.model.documents import Key
from service.model.orders import KeyChanges
from service.model.precondition import ANY_STATE, Precondition
from service.store import Store
from service.store.collection import Session


def edit(
    store: Store,
    by: Key,
    key_id: str,
    changes: KeyChanges,
    *,
    only_if: Precondition = ANY_STATE,
    now: datetime,
) -> Key:
    """Change a key's name, or when it expires, on behalf of another; no process knows it as it was.

    Raises NotFound like `get_covered`, PreconditionFailed, InvalidInput for one that would never
    work, and Forbidden when it would then do more than the other one.
    """
    key = get_covered(store, by, key_id)
    changed = cast("Key", {**key, **changes})
    if "expires_at" in changes:
        check_future(changes["expires_at"], now)
        if not access_of(by).covers(access_of(changed)):
            raise Forbidden(
                "A key cannot make one that may do more than itself.",
                expiresAt=["Your own key expires sooner."],
            )

    def write(session: Session) -> Key:
        only_if.check(store.keys.get(key_id, session=session))
        return store.keys.change(key_id, changes, session=session)

    edited = store.transaction(write)
    store.keys.outlast_caches()
    return edited
