"""What users' instances are promised, counted beside what nodes promise, and their quotas."""

from collections.abc import Iterable
from datetime import datetime

from service.model.documents import Amounts, Instance, User, new_amounts
from service.model.quotas import amounts_of, subtract
from service.store import Store
from service.store.collection import Session


def charge(
    store: Store,
    instance: Instance,
    *,
    even_if_over: bool = False,
    now: datetime,
    session: Session,
) -> User:
    """Count one more instance of its user's, in the transaction that makes it the user's.

    Raises QuotaExceeded, unless it is taken `even_if_over`, and NotFound when the user is gone.
    """
    return store.users.charge(
        instance["user_id"],
        amounts_of(instance),
        even_if_over=even_if_over,
        now=now,
        session=session,
    )


def refund(store: Store, instances: Iterable[Instance], *, session: Session) -> None:
    """Take back what was counted of instances, in the transaction that takes them from users."""
    less: dict[str, Amounts] = {}
    for instance in instances:
        before = less.get(instance["user_id"], new_amounts())
        less[instance["user_id"]] = subtract(before, amounts_of(instance))
    for user_id, amounts in less.items():
        store.users.adjust(user_id, amounts, session=session)
