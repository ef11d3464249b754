"""Finding a node for an instance: which fit, the best first, and why others do not."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from functools import partial
from random import Random, SystemRandom
from threading import BoundedSemaphore
from typing import NamedTuple

from service import port_choice
from service.errors import Busy, InvalidInput, NoFreePorts, NoNodeFits
from service.model.documents import Image, Instance, Node
from service.model.orders import Order, PlacementWish
from service.model.placement import (
    ALONE,
    Fit,
    Ranking,
    Spread,
    Unfit,
    UnfitReason,
    Wish,
    judge,
    sort,
)
from service.model.ports import AUTO, PortMapping
from service.model.replacements import held_by
from service.order_checks import Checked, check_node
from service.store import Store
from service.store.capacity import find_refusal
from service.store.collection import Session

CHANCE = SystemRandom()
"""Of the system: processes that are forked from one would share its state."""


class Beside(NamedTuple):
    """Whose instances a new one is kept apart from: those with this value of this field."""

    field: str  # user_id or image_id
    value: str


MOST_AT_ONCE = 4
"""How many deploys of one process choose a node at a time. More would take each other's places, and
begin anew, more often than they end."""

LONGEST_TURN_S = 30.0
"""How long one waits for its turn."""

MOST_EXPLAINED = 20
"""Of how many nodes an error says why they do not fit."""


_TURNS = BoundedSemaphore(MOST_AT_ONCE)


@contextmanager
def take_turn() -> Iterator[None]:
    """Let only some deploys of this process choose a node at a time. Raises Busy."""
    if not _TURNS.acquire(timeout=LONGEST_TURN_S):
        raise Busy("Many instances are being deployed now. Please try again.")
    try:
        yield
    finally:
        _TURNS.release()


def suits_all(node: Node) -> None:
    """Raise no InvalidInput, for what runs on any node."""


def rank(
    store: Store,
    wish: Wish,
    *,
    exclude: Iterable[str] = (),
    apart_from: Beside | None = None,
    check: Callable[[Node], None] = suits_all,
    slack: float = ALONE,
    chance: Random = CHANCE,
    session: Session | None = None,
) -> Ranking:
    """Rank the nodes for an instance. Nodes are as `list_for_placement` reads them.

    `exclude` has nodes beside those of the wish; `check` raises InvalidInput for a node on which it
    cannot run at all. In the transaction that reserves its place, what is found stays true: when
    somebody else takes a place of the chosen node first, all of it is tried again. `slack` is how
    many instances apart nodes may be that are chosen alike.
    """
    counts = (
        store.occupancy.count_by_node({apart_from.field: apart_from.value}, session=session)
        if apart_from is not None
        else {}
    )
    nodes = store.nodes.list_for_placement(session=session)
    taken = (
        store.occupancy.list_holders(
            [node["_id"] for node in nodes], wish.host_ports, session=session
        )
        if wish.host_ports
        else {}
    )
    wish = replace(wish, exclude=wish.exclude.union(exclude))
    fits, unfit = [], []
    for node in nodes:
        refusal = find_refusal(
            node, memory_mib=wish.memory_mib, cpu_milli=wish.cpu_milli, disk_mib=wish.disk_mib
        )
        found = judge(node, wish, refusal=refusal, crowd=counts.get(node["_id"], 0))
        if isinstance(found, Fit):
            found = _judge_further(found, taken.get(node["_id"], set()) & wish.host_ports, check)
        if isinstance(found, Fit):
            fits.append(found)
        else:
            unfit.append(found)
    return Ranking(sort(fits, slack=slack, chance=chance), unfit)


def wish_of(instance: Instance) -> Wish:
    """Return what an instance that exists needs on another node, with all ports found anew."""
    return Wish(**held_by(instance), free_ports=len(instance["port_map"]))


def place(
    store: Store,
    order: Order,
    checked: Checked,
    *,
    slack: float,
    now: datetime,
    session: Session,
) -> tuple[Node, tuple[PortMapping, ...]]:
    """Choose the node, where the order names none, and the host ports on it.

    In the transaction that reserves both; see `rank`. Raises NoFreePorts of the node that is named,
    else NoNodeFits.
    """
    ports = checked.ports
    if checked.node is not None:
        return checked.node, port_choice.settle(
            store, checked.node, ports, now=now, session=session
        )
    ranking = rank(
        store,
        wish_for(order, ports),
        apart_from=find_beside(order, checked.user["_id"], checked.image),
        check=partial(check_node, image=checked.image, order=order),
        slack=slack,
        session=session,
    )
    full = []
    for fit in ranking.fits:
        found = settle_on(store, fit, ports, now=now, session=session)
        if not isinstance(found, Unfit):
            return fit.node, found
        full.append(found)
    raise explain([*ranking.unfit, *full])


def settle_on(
    store: Store, fit: Fit, ports: tuple[PortMapping, ...], *, now: datetime, session: Session
) -> tuple[PortMapping, ...] | Unfit:
    """Find the host ports on a node, or say that it has too few: see `port_choice.settle`."""
    try:
        return port_choice.settle(store, fit.node, ports, now=now, session=session)
    except NoFreePorts as exc:
        return Unfit(fit.node, UnfitReason.NO_PORTS, exc.message, exc.details)


def wish_for(order: Order | PlacementWish, ports: tuple[PortMapping, ...]) -> Wish:
    """Return what an order with these ports needs of its node."""
    hosts = [mapping.host for mapping in ports]
    wish = Wish(
        memory_mib=order["memory_mib"],
        cpu_milli=order["cpu_milli"],
        free_ports=hosts.count(AUTO),
        host_ports=frozenset(hosts) - {AUTO},
    )
    if "placement" not in order:
        return wish
    wanted = order["placement"]
    return replace(
        wish,
        tags=frozenset(wanted["tags"]),
        labels=wanted["labels"],
        exclude=frozenset(wanted["excluded"]),
        prefer=wanted["prefer"],
    )


def explain(unfit: list[Unfit], *, untried: int = 0) -> NoNodeFits:
    """Make the error that says of each reason how many nodes have it, and of some nodes why.

    Of those that nearly fit, first: what an order excludes itself needs no explanation. `untried`
    is how many seemed to fit, less well than those that did not in the end.
    """
    severity = list(UnfitReason)
    nearest = sorted(unfit, key=lambda each: -severity.index(each.reason))
    message = "None of the nodes fits." if unfit else "There is no node to choose."
    if untried:
        message = f"None of the best nodes fits; {untried} more may."
    return NoNodeFits(
        message,
        reasons=dict(Counter(each.reason.value for each in nearest)),
        nodes=[
            {
                "id": each.node["_id"],
                "name": each.node["name"],
                "reason": each.reason.value,
                "message": each.message,
                "details": each.details,
            }
            for each in nearest[:MOST_EXPLAINED]
        ],
    )


def find_beside(
    order: Order | PlacementWish, user_id: str | None, image: Image | None
) -> Beside | None:
    """Return beside whose instances an order's is not to be; None: beside anybody's."""
    spread = order["placement"]["spread"] if "placement" in order else None
    if spread == Spread.USER and user_id is not None:
        return Beside("user_id", user_id)
    if spread == Spread.IMAGE and image is not None and image["_id"]:
        return Beside("image_id", image["_id"])
    return None


def _judge_further(fit: Fit, taken: set[int], check: Callable[[Node], None]) -> Fit | Unfit:
    node = fit.node
    if taken:
        ports = ", ".join(map(str, sorted(taken)))
        return Unfit(node, UnfitReason.PORT_TAKEN, f"The host port {ports} is taken on the node.")
    try:
        check(node)
    except InvalidInput as exc:
        return Unfit(node, UnfitReason.NOT_SUPPORTED, exc.message, exc.details)
    return fit
