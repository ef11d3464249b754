"""What a node has left of what it may give away, as the database counts it."""

from service.errors import CapacityExceeded
from service.model.documents import Node


def has_room(what: str, amount: int) -> dict[str, object]:
    """Write the expression for whether a node has so much left of `memory_mib` or `cpu_milli`."""
    limit = f"$capacity.{what}"
    enough = {"$lte": [{"$add": [f"$allocated.{what}", amount]}, limit]}
    return {"$or": [{"$eq": [{"$ifNull": [limit, None]}, None]}, enough]}


def exceeded(node: Node, *, memory_mib: int, cpu_milli: int) -> CapacityExceeded:
    """Make the error for a node that has not as much left, with the numbers."""
    allocated, capacity = node["allocated"], node["capacity"]
    limit = capacity["memory_mib"]
    if limit is not None and allocated["memory_mib"] + memory_mib > limit:
        return CapacityExceeded(
            "The node has not enough memory left.",
            requestedMib=memory_mib,
            allocatedMib=allocated["memory_mib"],
            capacityMib=limit,
        )
    return CapacityExceeded(
        "The node has not enough cores left.",
        requestedCpu=cpu_milli / 1000,
        allocatedCpu=allocated["cpu_milli"] / 1000,
        capacityCpu=(capacity["cpu_milli"] or 0) / 1000,
    )


def amounts(instances: int, memory_mib: int, cpu_milli: int) -> dict[str, int]:
    """Make the `$inc` of what was promised, for so many instances of this size."""
    return {
        "allocated.instances": instances,
        "allocated.memory_mib": instances * memory_mib,
        "allocated.cpu_milli": instances * cpu_milli,
    }
