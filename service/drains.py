"""What can be done with the drain of a node: to start it, pause, resume and undo it, and look on.

These write what is wanted; a worker moves the instances (worker/draining.py).
"""

from datetime import datetime, timedelta

from service.errors import Maintenance, NoDrain, WrongStatus
from service.model.documents import Drain, DrainProgress, Node, new_drain
from service.model.drains import DEFAULT_AT_ONCE, HOLDS, DrainStatus
from service.model.origin import Origin
from service.store import Store
from service.store.collection import Session

_UNSAID = "It cannot be moved."


def start(store: Store, reference: str, *, at_once: int | None, origin: Origin) -> DrainProgress:
    """Keep a node from getting instances, and have those that it has moved elsewhere.

    One that is on, even if paused, is answered, with `at_once` from now on if that is given; so is
    one that is done, while the node is empty and gets nothing. One that is being undone goes on.
    Raises NotFound.
    """
    node_id = store.nodes.get_by_reference(reference)["_id"]

    def write(session: Session) -> DrainProgress:
        now, node = origin.now, store.nodes.get(node_id, session=session)
        drain = store.drains.find(node_id, session=session)
        wish: dict[str, object] = {} if at_once is None else {"at_once": at_once}
        if _is_repeat(origin):
            pass
        elif drain is not None and drain["status"] in HOLDS:
            store.drains.move(drain, drain["status"], wish, now=now, session=session)
        elif drain is not None and drain["status"] == DrainStatus.UNDOING:
            wish |= {"move_back": False, "stuck": {}}
            store.drains.move(drain, DrainStatus.RUNNING, wish, now=now, session=session)
            _show(store, node, DrainStatus.RUNNING, schedulable=False, now=now, session=session)
        elif drain is None or not _is_drained(store, node, drain, session=session):
            before = node["schedulable"]
            if drain is not None and drain["status"] == DrainStatus.DONE:
                # What keeps the node from getting instances may be that drain.
                before = before or drain["schedulable_before"]
            begun = new_drain(
                node_id,
                at_once=at_once or DEFAULT_AT_ONCE,
                schedulable_before=before,
                origin=origin,
            )
            store.drains.put(begun, session=session)
            _show(store, node, DrainStatus.RUNNING, schedulable=False, now=now, session=session)
        store.idempotency.mark(origin.claim, {"drain": node_id}, session=session)
        return read(store, node_id, session=session)

    return store.transaction(write)


def pause(store: Store, reference: str, *, origin: Origin) -> DrainProgress:
    """Begin to move nothing more; what is on its way arrives.

    Raises like `read`, and WrongStatus for a drain that has ended or is being undone.
    """
    return _move(store, reference, DrainStatus.PAUSED, {"waiting_for": None}, origin=origin)


def resume(store: Store, reference: str, *, origin: Origin) -> DrainProgress:
    """Go on with a drain that is paused, and try what is stuck at once. Raises like `pause`."""
    return _move(store, reference, DrainStatus.RUNNING, {"stuck": {}}, origin=origin)


def undo(store: Store, reference: str, *, move_back: bool, origin: Origin) -> DrainProgress:
    """Let the node get instances as before; begin to move nothing more away.

    What is on its way arrives. With `move_back` what was moved returns, where it still is where it
    was moved to, and as far as it fits. One that was undone is answered. Raises like `read`.
    """
    node_id = store.nodes.get_by_reference(reference)["_id"]

    def write(session: Session) -> DrainProgress:
        now, node = origin.now, store.nodes.get(node_id, session=session)
        drain = _get(store, node, session)
        returns = move_back and bool(drain["moved"] or drain["moving"])
        ended = drain["status"] == DrainStatus.UNDONE
        if not _is_repeat(origin) and not (ended and not returns):
            wish = {"move_back": drain["move_back"] or returns, "stuck": {}, "waiting_for": None}
            undoing = DrainStatus.UNDOING  # until a worker sees that nothing is on its way
            store.drains.move(drain, undoing, {**wish, "ended_at": None}, now=now, session=session)
            schedulable = node["schedulable"] if ended else drain["schedulable_before"]
            _show(store, node, undoing, schedulable=schedulable, now=now, session=session)
        store.idempotency.mark(origin.claim, {"drain": node_id}, session=session)
        return read(store, node_id, session=session)

    return store.transaction(write)


def read(store: Store, reference: str, *, session: Session | None = None) -> DrainProgress:
    """Read how far the drain of a node is. Raises NotFound, and NoDrain if there never was one."""
    if session is None:
        reference = store.nodes.get_by_reference(reference)["_id"]
    node = store.nodes.get(reference, session=session)
    drain = _get(store, node, session)
    left = len(store.instances.list_ids_on(node["_id"], session=session))
    return {**drain, "node": node, "left": left}


def read_part(store: Store, reference: str, *, sees_nodes: bool) -> DrainProgress:
    """Read the same for somebody who sees a part of the instances: of the others the numbers alone.

    Why an instance is stuck may name other nodes, and is left out unless those are seen as well.
    """
    progress = read(store, reference)
    moving, stuck = progress["moving"], progress["stuck"]
    seen = {each["_id"] for each in store.instances.list_by_ids({*moving, *stuck})}
    progress["moving"] = {name: each for name, each in moving.items() if name in seen}
    progress["stuck"] = {
        name: each if sees_nodes else {**each, "reason": _UNSAID}
        for name, each in stuck.items()
        if name in seen
    }
    return progress


def note_schedulable(
    store: Store, node: Node, schedulable: bool, *, now: datetime, session: Session
) -> None:
    """Have the undo of a drain leave what somebody sets since it ended.

    Raises Maintenance for true while a drain keeps the node from getting instances.
    """
    drain = store.drains.find(node["_id"], session=session)
    if drain is None:
        return
    if drain["status"] not in HOLDS:
        noted = {"schedulable_before": schedulable}
        store.drains.move(drain, drain["status"], noted, now=now, session=session)
    elif schedulable:
        raise Maintenance("The node is being drained: undo that first.", drain=[drain["status"]])


def _move(
    store: Store,
    reference: str,
    status: DrainStatus,
    changes: dict[str, object],
    *,
    origin: Origin,
) -> DrainProgress:
    node_id = store.nodes.get_by_reference(reference)["_id"]

    def write(session: Session) -> DrainProgress:
        node = store.nodes.get(node_id, session=session)
        drain = _get(store, node, session)
        if not _is_repeat(origin):
            if drain["status"] not in HOLDS:
                raise WrongStatus("The drain has ended.", status=[drain["status"]])
            store.drains.move(drain, status, changes, now=origin.now, session=session)
            _show(store, node, status, schedulable=False, now=origin.now, session=session)
        store.idempotency.mark(origin.claim, {"drain": node_id}, session=session)
        return read(store, node_id, session=session)

    return store.transaction(write)


def _is_repeat(origin: Origin) -> bool:
    return origin.claim is not None and origin.claim.made is not None


def _get(store: Store, node: Node, session: Session | None) -> Drain:
    drain = store.drains.find(node["_id"], session=session)
    if drain is None:
        raise NoDrain("The node was never drained.", nodeId=[f"{node['name']!r} never was."])
    return drain


def _is_drained(store: Store, node: Node, drain: Drain, *, session: Session) -> bool:
    """Return whether a drain that ended still holds: the node is empty, and gets nothing."""
    return (
        drain["status"] == DrainStatus.DONE
        and not node["schedulable"]
        and not store.instances.list_ids_on(node["_id"], session=session)
    )


def _show(
    store: Store,
    node: Node,
    status: DrainStatus,
    *,
    schedulable: bool,
    now: datetime,
    session: Session,
) -> None:
    """Write into the node where its drain is, and whether it gets instances."""
    shown = {"drain": status, "schedulable": schedulable}
    if any(node.get(name) != value for name, value in shown.items()):
        # Later than any that a probe under way has seen.
        updated_at = max(now, node["updated_at"] + timedelta(milliseconds=1))
        store.nodes.change(node["_id"], {**shown, "updated_at": updated_at}, session=session)
