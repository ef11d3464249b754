"""To which nodes an instance can be transferred."""

from collections.abc import Callable
from typing import TypeVar

from service import idempotency, placement, transfers
from service.errors import (
    CapacityExceeded,
    Maintenance,
    NodeFailure,
    NoFreePorts,
    NotCleared,
    NotSupported,
    PortTaken,
    ServiceError,
)
from service.model.container_settings import check_bounds, settings_of
from service.model.documents import Instance, Node, Operation
from service.model.origin import Origin
from service.model.placement import Ranking, Unfit, UnfitReason, is_auto
from service.model.precondition import ANY_STATE, Precondition
from service.store import Store
from service.transfers import check_pair

Begun = TypeVar("Begun")

REASONS: dict[type[ServiceError], UnfitReason] = {
    CapacityExceeded: UnfitReason.CAPACITY_EXCEEDED,
    Maintenance: UnfitReason.MAINTENANCE,
    NoFreePorts: UnfitReason.NO_PORTS,
    NodeFailure: UnfitReason.OFFLINE,
    NotCleared: UnfitReason.LEFTOVERS,
    NotSupported: UnfitReason.NOT_SUPPORTED,
    PortTaken: UnfitReason.PORT_TAKEN,
}
"""What one node refuses, and another may not."""

MOST_TRIED = 5
"""How many nodes are tried for one instance, the best first, where the first ones refuse. Each is a
transaction."""


def begin(
    store: Store,
    reference: str,
    *,
    node_id: str,
    only_if: Precondition = ANY_STATE,
    origin: Origin,
) -> tuple[Instance, Operation]:
    """Take on a transfer like `transfers.begin`; with `auto` to the best node that takes it.

    Raises like that, and NoNodeFits where none of the MOST_TRIED best does.
    """
    if not is_auto(node_id):
        return transfers.begin(store, reference, node_id=node_id, only_if=only_if, origin=origin)
    if done := idempotency.find_done(store, origin.claim):
        return done
    return begin_on_best(
        rank(store, store.instances.get_by_reference(reference)),
        lambda best: transfers.begin(
            store, reference, node_id=best, only_if=only_if, origin=origin
        ),
    )


def rank(store: Store, instance: Instance) -> Ranking:
    """Rank the nodes that an instance is not on. Raises NotFound when its own is gone."""
    source = store.nodes.get(instance["node_id"])

    def check(node: Node) -> None:
        check_pair(source, node)
        check_bounds(settings_of(instance), node)

    found = placement.rank(store, placement.wish_of(instance), exclude=[source["_id"]], check=check)
    others = [each for each in found.unfit if each.reason != UnfitReason.EXCLUDED]
    return Ranking(found.fits, others)


def begin_on_best(ranking: Ranking, begin_on: Callable[[str], Begun]) -> Begun:
    """Begin on the best node that takes it, of the MOST_TRIED best; return what `begin_on` does.

    Raises NoNodeFits, which says why of each, and what `begin_on` raises that is not about the
    node.
    """
    refused: list[Unfit] = []
    for fit in ranking.fits[:MOST_TRIED]:
        try:
            return begin_on(fit.node["_id"])
        except tuple(REASONS) as exc:
            if isinstance(exc, NodeFailure) and exc.node_id != fit.node["_id"]:
                raise
            reason = next(reason for kind, reason in REASONS.items() if isinstance(exc, kind))
            refused.append(Unfit(fit.node, reason, exc.message, exc.details))
    untried = len(ranking.fits) - len(refused)
    raise placement.explain([*ranking.unfit, *refused], untried=untried)
