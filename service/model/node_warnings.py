"""What an operator should know of a node, from its document alone."""

from collections.abc import Mapping
from typing import Any

from service.model.documents import Node
from service.model.quantities import UNLIMITED

TRIAL_AFTER = 3
"""How many operations in a row a node leaves without an answer before it gets one at a time."""


def is_on_trial(node: Mapping[str, Any]) -> bool:
    """Return whether the node gets one operation at a time, until one of them comes to an end."""
    return bool(node.get("unanswered", 0) >= TRIAL_AFTER)


def list_warnings(node: Node) -> list[str]:
    """Say in sentences what is not limited, promised twice or beyond its limit, or hangs."""
    warnings = []
    memory_mib, cpu_milli = node["capacity"]["memory_mib"], node["capacity"]["cpu_milli"]
    allocated = node["allocated"]
    if memory_mib is None and node["memory_overallocate"] != UNLIMITED:
        reason = f"ram {node['ram']!r} is no amount like 32 GB."
        if node["memory_from_engine"]:
            reason = "its engine does not say how much it has."
        warnings.append(f"Its memory is not limited: {reason}")
    if memory_mib is not None and allocated["memory_mib"] > memory_mib:
        warnings.append(
            "More memory is promised than it may give away: "
            f"{allocated['memory_mib']} MiB of {memory_mib} MiB."
        )
    if cpu_milli is None and node["cpu_overallocate"] not in (None, UNLIMITED):
        warnings.append(
            f"Its cores are not limited: processor {node['processor']!r} is no number of cores."
        )
    if cpu_milli is not None and allocated["cpu_milli"] > cpu_milli:
        warnings.append(
            "More cores are promised than it may give away: "
            f"{allocated['cpu_milli'] / 1000:g} of {cpu_milli / 1000:g}."
        )
    disk_mib = node["capacity"]["disk_mib"]
    if disk_mib is None and node["disk_overallocate"] not in (None, UNLIMITED):
        warnings.append(
            f"Its disk is not limited: disk {node['disk']!r} is no amount like 500 GB, and its "
            "engine does not say how much it has."
        )
    if disk_mib is not None and allocated["disk_mib"] > disk_mib:
        warnings.append(
            "More disk is promised than it may give away: "
            f"{allocated['disk_mib']} MiB of {disk_mib} MiB."
        )
    if node["same_engine_as"] is not None:
        warnings.append(
            f"The node {node['same_engine_as']} is of the same engine: host ports, memory and "
            "cores are counted for each of the two alone."
        )
    if is_on_trial(node):
        warnings.append(
            f"It left the last {node['unanswered']} operations without an answer, and gets one at "
            "a time until one of them comes to an end."
        )
    return warnings
