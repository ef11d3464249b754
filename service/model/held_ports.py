"""Host ports of a node that something else there has, as an operation found out (pure)."""

from datetime import datetime, timedelta

from service.model.documents import Node

FORGOTTEN_AFTER = timedelta(hours=1)
"""After how long such a port may be found for an instance again."""

MOST = 200
"""How many of a node are known."""


def list_held(node: Node, *, now: datetime) -> set[int]:
    """List the ports of the node that were found to be held, and not long ago."""
    return {
        held["port"]
        for held in node.get("held_ports", ())
        if held["seen_at"] > now - FORGOTTEN_AFTER
    }
