"""Whether what is counted of users and of nodes is what their instances add up to."""

from functools import partial

from service.admin.doctor.findings import Finding, Level
from service.model.documents import Allocated
from service.store import Store
from service.store.collection import Session

_REMEDY = "Run `skyquay doctor --mend`, which counts anew."
_MENDED = "It was counted anew."


def examine_quotas(store: Store, *, mend: bool) -> Finding:
    """Compare what is counted of each user with the user's instances; `mend` counts anew."""
    subject = "quotas"
    miscounted = store.transaction(lambda session: store.quotas.list_miscounted(session=session))
    if not miscounted:
        return Finding(Level.OK, subject, "What is counted of users is what they have.")
    found = f"What is counted of these users is not what they have: {', '.join(miscounted)}."
    if not mend:
        return Finding(Level.WARN, subject, found, _REMEDY)
    for user_id in miscounted:
        store.transaction(partial(_recount_user, store, user_id))
    return Finding(Level.OK, subject, f"{found} {_MENDED}")


def examine_promises(store: Store, *, mend: bool) -> Finding:
    """Compare what each node counts with what instances hold of it; `mend` counts anew."""
    subject = "promises"
    miscounted = store.transaction(lambda session: store.promises.list_miscounted(session=session))
    if not miscounted:
        return Finding(Level.OK, subject, "What nodes count is what they hold.")
    nodes = "; ".join(
        f"{node.name} counts {_describe(node.counted)}, and holds {_describe(node.held)}"
        for node in miscounted
    )
    found = f"What these nodes count is not what they hold: {nodes}."
    if not mend:
        return Finding(Level.WARN, subject, found, _REMEDY)
    for node in miscounted:
        store.transaction(partial(_recount_node, store, node.node_id))
    return Finding(Level.OK, subject, f"{found} {_MENDED}")


def _describe(amounts: Allocated) -> str:
    return (
        f"{amounts['instances']} instances, {amounts['memory_mib']} MiB of memory, "
        f"{amounts['cpu_milli'] / 1000:g} cores and {amounts['disk_mib']} MiB of disk"
    )


def _recount_user(store: Store, user_id: str, session: Session) -> None:
    store.quotas.recount(user_id, session=session)


def _recount_node(store: Store, node_id: str, session: Session) -> None:
    store.promises.recount(node_id, session=session)
