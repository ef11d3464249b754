"""What the engines of nodes are like, beyond what their driver is like (pure)."""

from service.model.documents import Node
from service.model.driver_traits import traits_of

PODMAN = "podman"
"""What the report of a node begins with, in `engine`, whose engine is Podman."""


def is_podman(node: Node) -> bool:
    """Return whether the engine of a node was Podman when it was last probed."""
    return node["report"] is not None and node["report"]["engine"].startswith(PODMAN)


def find_volume_format(node: Node) -> str | None:
    """Find how the files of a node's instances are copied; None: they cannot be.

    Podman does not say who files belong to.
    """
    return None if is_podman(node) else traits_of(node["driver"]).volume_format
