"""What a node has left of what it may give away, as the database counts it."""

from typing import Any

from service.errors import CapacityExceeded, Maintenance
from service.model.documents import Node


def has_room(what: str, amount: int) -> dict[str, object]:
    """Write the expression for whether a node has so much left of `memory_mib` and the like."""
    limit = f"$capacity.{what}"
    enough = {"$lte": [{"$add": [f"$allocated.{what}", amount]}, limit]}
    return {"$or": [{"$eq": [{"$ifNull": [limit, None]}, None]}, enough]}


def takes_one(*, memory_mib: int, cpu_milli: int, disk_mib: int = 0) -> dict[str, Any]:
    """Write the query for whether a node gets one more instance of this size."""
    place = {"$lt": ["$allocated.instances", "$max_instances"]}
    room = [
        has_room("memory_mib", memory_mib),
        has_room("cpu_milli", cpu_milli),
        *([has_room("disk_mib", disk_mib)] if disk_mib else []),  # none is needed, however full
        {"$or": [{"$eq": ["$max_instances", None]}, place]},
    ]
    return {"schedulable": True, "$expr": {"$and": room}}


def find_refusal(
    node: Node, *, memory_mib: int, cpu_milli: int, disk_mib: int = 0
) -> CapacityExceeded | Maintenance | None:
    """Return why a node that was read does not get one more; None when `takes_one` finds it."""
    capacity, allocated, most = node["capacity"], node["allocated"], node["max_instances"]
    limit_mib, limit_milli = capacity["memory_mib"], capacity["cpu_milli"]
    limit_disk = capacity["disk_mib"]
    if (
        node["schedulable"]
        and (most is None or allocated["instances"] < most)
        and (limit_mib is None or allocated["memory_mib"] + memory_mib <= limit_mib)
        and (limit_milli is None or allocated["cpu_milli"] + cpu_milli <= limit_milli)
        and (not disk_mib or limit_disk is None or allocated["disk_mib"] + disk_mib <= limit_disk)
    ):
        return None
    return refusal(node, memory_mib=memory_mib, cpu_milli=cpu_milli, disk_mib=disk_mib)


def refusal(
    node: Node, *, memory_mib: int, cpu_milli: int, disk_mib: int
) -> CapacityExceeded | Maintenance:
    """Make the error for a node that does not get one more instance of this size."""
    if not node["schedulable"]:
        return Maintenance("The node gets no more instances for now.", nodeId=[node["_id"]])
    most, instances = node["max_instances"], node["allocated"]["instances"]
    if most is not None and instances >= most:
        return CapacityExceeded(
            "The node has as many instances as it may.", instances=instances, maxInstances=most
        )
    return exceeded(node, memory_mib=memory_mib, cpu_milli=cpu_milli, disk_mib=disk_mib)


def exceeded(node: Node, *, memory_mib: int, cpu_milli: int, disk_mib: int = 0) -> CapacityExceeded:
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
    limit = capacity["disk_mib"]
    if disk_mib and limit is not None and allocated["disk_mib"] + disk_mib > limit:
        return CapacityExceeded(
            "The node has not enough disk left.",
            requestedDiskMib=disk_mib,
            allocatedDiskMib=allocated["disk_mib"],
            capacityDiskMib=limit,
        )
    return CapacityExceeded(
        "The node has not enough cores left.",
        requestedCpu=cpu_milli / 1000,
        allocatedCpu=allocated["cpu_milli"] / 1000,
        capacityCpu=(capacity["cpu_milli"] or 0) / 1000,
    )


def amounts(instances: int, memory_mib: int, cpu_milli: int, disk_mib: int) -> dict[str, int]:
    """Make the `$inc` of what was promised, for so many instances of this size."""
    return {
        "allocated.instances": instances,
        "allocated.memory_mib": instances * memory_mib,
        "allocated.cpu_milli": instances * cpu_milli,
        "allocated.disk_mib": instances * disk_mib,
    }
