"""To which nodes an instance can be transferred."""

from contextlib import suppress

from service import idempotency, placement, transfers
from service.errors import (
    CapacityExceeded,
    Maintenance,
    NodeFailure,
    NoFreePorts,
    NotSupported,
    PortTaken,
)
from service.model.container_settings import check_bounds, settings_of
from service.model.documents import Instance, Node, Operation
from service.model.origin import Origin
from service.model.placement import UnfitReason, is_auto
from service.model.precondition import ANY_STATE, Precondition
from service.store import Store
from service.transfers import check_pair

MOST_NAMED = 5
"""How many nodes are named that do not take an instance."""

ELSEWHERE = (CapacityExceeded, Maintenance, NoFreePorts, NodeFailure, NotSupported, PortTaken)
"""What one node refuses, and another may not."""


def begin(
    store: Store,
    reference: str,
    *,
    node_id: str,
    only_if: Precondition = ANY_STATE,
    origin: Origin,
) -> tuple[Instance, Operation]:
    """Take on a transfer like `transfers.begin`; with `auto` to the best node that takes it.

    Raises like that, and like `choose`.
    """
    if not is_auto(node_id):
        return transfers.begin(store, reference, node_id=node_id, only_if=only_if, origin=origin)
    if done := idempotency.find_done(store, origin.claim):
        return done
    *others, last = choose(store, store.instances.get_by_reference(reference))
    for other in others:
        with suppress(*ELSEWHERE):
            return transfers.begin(store, reference, node_id=other, only_if=only_if, origin=origin)
    return transfers.begin(store, reference, node_id=last, only_if=only_if, origin=origin)


def choose(store: Store, instance: Instance) -> list[str]:
    """List the ids of the nodes to which an instance can be transferred, the best first.

    Raises NotFound when its own is gone, and CapacityExceeded, which says why none fits.
    """
    source = store.nodes.get(instance["node_id"])

    def check(node: Node) -> None:
        check_pair(source, node)
        check_bounds(settings_of(instance), node)

    found = placement.rank(store, placement.wish_of(instance), exclude=[source["_id"]], check=check)
    if not found.fits:
        unfit = [each for each in found.unfit if each.reason != UnfitReason.EXCLUDED]  # its own
        named = [f"{each.node['name']}: {each.message}" for each in unfit[:MOST_NAMED]]
        more = [f"{len(unfit) - MOST_NAMED} more."] if len(unfit) > MOST_NAMED else []
        why = " ".join([*named, *more]) or "There is none."
        raise CapacityExceeded(f"No other node takes it. {why}")
    return [fit.node["_id"] for fit in found.fits]
