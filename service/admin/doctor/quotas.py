"""Quotas: whether what is counted of users is what their instances add up to."""

from functools import partial

from service.admin.doctor.findings import Finding, Level
from service.store import Store
from service.store.collection import Session

_SUBJECT = "quotas"


def examine_quotas(store: Store, *, mend: bool) -> Finding:
    """Compare what is counted of each user with the user's instances; `mend` counts anew."""
    miscounted = store.transaction(lambda session: store.quotas.list_miscounted(session=session))
    if not miscounted:
        return Finding(Level.OK, _SUBJECT, "What is counted of users is what they have.")
    found = f"What is counted of these users is not what they have: {', '.join(miscounted)}."
    if not mend:
        remedy = "Run `skyquay doctor --mend`, which counts anew."
        return Finding(Level.WARN, _SUBJECT, found, remedy)
    for user_id in miscounted:
        store.transaction(partial(_recount, store, user_id))
    return Finding(Level.OK, _SUBJECT, f"{found} It was counted anew.")


def _recount(store: Store, user_id: str, session: Session) -> None:
    store.quotas.recount(user_id, session=session)
