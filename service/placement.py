"""Finding a node for an instance: which fit, the best first, and why others do not."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from random import Random, SystemRandom
from typing import NamedTuple

from service.errors import InvalidInput
from service.model.documents import Instance, Node
from service.model.placement import Fit, Unfit, UnfitReason, Wish, judge, order
from service.model.replacements import held_by
from service.store import Store
from service.store.capacity import find_refusal
from service.store.collection import Session

CHANCE = SystemRandom()
"""Of the system: processes that are forked from one would share its state."""


class Beside(NamedTuple):
    """Whose instances a new one is kept apart from: those with this value of this field."""

    field: str  # user_id or image_id
    value: str


class Ranking(NamedTuple):
    """The nodes, as far as they may be seen."""

    fits: list[Fit]
    """Best first. Whether the free ports of a node suffice is found when they are chosen."""
    unfit: list[Unfit]


def suits_all(node: Node) -> None:
    """Raise no InvalidInput, for what runs on any node."""


def rank(
    store: Store,
    wish: Wish,
    *,
    exclude: Iterable[str] = (),
    apart_from: Beside | None = None,
    check: Callable[[Node], None] = suits_all,
    among: int = 1,
    chance: Random = CHANCE,
    session: Session | None = None,
) -> Ranking:
    """Rank the nodes for an instance. Nodes are without their secrets and certificates.

    `exclude` has nodes beside those of the wish; `check` raises InvalidInput for a node on which it
    cannot run at all. In the transaction that reserves its place, what is found stays true: when
    somebody else takes a place of the chosen node first, all of it is tried again. Those who meet
    so choose `among` more.
    """
    counts = (
        store.instances.count_by_node({apart_from.field: apart_from.value}, session=session)
        if apart_from is not None
        else {}
    )
    nodes = store.nodes.list_for_placement(session=session)
    taken = (
        store.instances.list_holders(
            [node["_id"] for node in nodes], wish.host_ports, session=session
        )
        if wish.host_ports
        else {}
    )
    wish = replace(wish, exclude=wish.exclude.union(exclude))
    fits, unfit = [], []
    for node in nodes:
        refusal = find_refusal(node, memory_mib=wish.memory_mib, cpu_milli=wish.cpu_milli)
        found = judge(node, wish, refusal=refusal, crowd=counts.get(node["_id"], 0))
        if isinstance(found, Fit):
            found = _judge_further(found, taken.get(node["_id"], set()) & wish.host_ports, check)
        if isinstance(found, Fit):
            fits.append(found)
        else:
            unfit.append(found)
    return Ranking(order(fits, among=among, chance=chance), unfit)


def wish_of(instance: Instance) -> Wish:
    """Return what an instance that exists needs on another node, with all ports found anew."""
    return Wish(**held_by(instance), free_ports=len(instance["port_map"]))


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
