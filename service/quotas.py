"""What users' instances are promised, counted beside what nodes promise, and their quotas."""

from collections.abc import Iterable
from datetime import datetime

from service import stats
from service.model.documents import Amounts, Instance, User, new_amounts
from service.model.quotas import Measured, UserUsage, amounts_of, subtract
from service.store import Store
from service.store.collection import Session
from service.store.quotas import find_refusal

MOST_MEASURED = 500
"""How many instances a user may have whose measured use is added up for whoever asks."""


def charge(
    store: Store,
    instance: Instance,
    *,
    even_if_over: bool = False,
    seen: User | None = None,
    now: datetime,
    session: Session,
) -> None:
    """Count one more instance of its user's, in the transaction that makes it the user's.

    Raises QuotaExceeded and UserSuspended, unless it is taken `even_if_over`: a worker brings it in
    line with the user's suspension then. Raises NotFound when the user is gone. Who was `seen` in
    this transaction is judged by that, which is as strict and costs the database less.
    """
    amounts = amounts_of(instance)
    if seen is not None and (refusal := find_refusal(seen, amounts)) is not None:
        raise refusal
    user = store.users.charge(
        instance["user_id"],
        amounts,
        even_if_over=even_if_over or seen is not None,
        now=now,
        session=session,
    )
    if user.get("suspended") or "before_suspension" in instance:
        store.suspensions.mark(user["_id"], session=session)


def refund(store: Store, instances: Iterable[Instance], *, session: Session) -> None:
    """Take back what was counted of instances, in the transaction that takes them from users."""
    less: dict[str, Amounts] = {}
    for instance in instances:
        before = less.get(instance["user_id"], new_amounts())
        less[instance["user_id"]] = subtract(before, amounts_of(instance))
    for user_id, amounts in less.items():
        store.users.adjust(user_id, amounts, session=session)


def find_usage(store: Store, user_id: str) -> UserUsage:
    """Find what a user's instances are promised, and what they use. Raises NotFound.

    What they use is not added up of more than `MOST_MEASURED`.
    """
    user = store.users.get(user_id)
    there = store.instances.list_places(user_id, limit=MOST_MEASURED + 1)
    if len(there) > MOST_MEASURED:
        return UserUsage(user, None)
    last = list(stats.find_sampled(store, there).last.values())
    measured = Measured(
        instances=len(last),
        cpu_milli=sum(usage.get("cpu_milli", 0) for usage in last),
        memory_bytes=sum(usage.get("memory_bytes", 0) for usage in last),
        disk_bytes=sum(usage.get("disk_bytes", 0) for usage in last),
    )
    return UserUsage(user, measured)
