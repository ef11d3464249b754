"""To which nodes an instance can be transferred."""

from service import placement
from service.errors import CapacityExceeded, InvalidInput
from service.model.container_settings import check_bounds, settings_of
from service.model.documents import Instance, Node
from service.model.driver_traits import traits_of
from service.model.placement import UnfitReason
from service.store import Store

MOST_NAMED = 5
"""How many nodes are named that do not take an instance."""


def choose(store: Store, instance: Instance) -> list[str]:
    """List the ids of the nodes to which an instance can be transferred, the best first.

    Raises NotFound when its own is gone, and CapacityExceeded, which says why none fits.
    """
    source = store.nodes.get(instance["node_id"])

    def check(node: Node) -> None:
        if _is_same_engine(source, node):
            # What the instance leaves on its node would be what it has on the other.
            raise InvalidInput("It is the same engine.")
        format_, there = (traits_of(each["driver"]).volume_format for each in (source, node))
        if format_ is None or format_ != there:
            raise InvalidInput("Files cannot be copied to it.")
        check_bounds(settings_of(instance), node)

    found = placement.rank(store, placement.wish_of(instance), exclude=[source["_id"]], check=check)
    if not found.fits:
        unfit = [each for each in found.unfit if each.reason != UnfitReason.EXCLUDED]  # its own
        named = [f"{each.node['name']}: {each.message}" for each in unfit[:MOST_NAMED]]
        more = [f"{len(unfit) - MOST_NAMED} more."] if len(unfit) > MOST_NAMED else []
        why = " ".join([*named, *more]) or "There is none."
        raise CapacityExceeded(f"No other node takes it. {why}")
    return [fit.node["_id"] for fit in found.fits]


def _is_same_engine(one: Node, other: Node) -> bool:
    """Return whether containers of one node are those of the other, as far as engines say."""
    engines = [node["report"] and node["report"].get("engine_id") for node in (one, other)]
    return engines[0] is not None and engines[0] == engines[1]
