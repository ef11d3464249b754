"""To which nodes an instance can be transferred."""

from collections import Counter

from service import placement
from service.errors import CapacityExceeded, InvalidInput
from service.model.container_settings import check_bounds, settings_of
from service.model.documents import Instance, Node
from service.model.driver_traits import traits_of
from service.model.placement import UnfitReason
from service.store import Store


def choose(store: Store, instance: Instance) -> list[str]:
    """List the ids of the nodes to which an instance can be transferred, the best first.

    Raises NotFound when its own is gone, and CapacityExceeded, which says why none fits.
    """
    source = store.nodes.get(instance["node_id"])

    def check(node: Node) -> None:
        format_, there = (traits_of(each["driver"]).volume_format for each in (source, node))
        if format_ is None or format_ != there:
            raise InvalidInput("Files cannot be copied to it.")
        check_bounds(settings_of(instance), node)

    found = placement.rank(store, placement.wish_of(instance), exclude=[source["_id"]], check=check)
    if not found.fits:
        counts = Counter(each.reason for each in found.unfit)
        del counts[UnfitReason.EXCLUDED]  # its own
        why = ", ".join(f"{count} {reason}" for reason, count in sorted(counts.items()))
        raise CapacityExceeded(f"No other node takes it: {why or 'there is none'}.")
    return [fit.node["_id"] for fit in found.fits]
