"""Nodes by their id or their name."""

from typing import Any

from service.errors import AmbiguousName, NotFound
from service.model.documents import Node


def called(reference: str | None) -> dict[str, Any]:
    """Make the query of the nodes of this id, or of this name."""
    return {"$or": [{"_id": reference}, {"name": reference}]}


def choose(found: list[Node], reference: str, *, field: str) -> Node:
    """Choose the node of this id, or else the only one of this name.

    Raises NotFound, and AmbiguousName for the name of several. Each names `field`.
    """
    named = [node for node in found if node["_id"] == reference] or found
    if not named:
        raise NotFound("node", reference, field=field)
    if len(named) > 1:
        raise AmbiguousName("node", reference, (each["_id"] for each in named), field=field)
    return named[0]
