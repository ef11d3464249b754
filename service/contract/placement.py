"""Where an instance is put that names no node, on the wire."""

import re
from typing import Any

import marshmallow as ma

from service.contract import fields
from service.contract.base import StrictRequest
from service.model import labelling, orders
from service.model.placement import Prefer, Spread, is_auto

MOST = 100
"""How many tags and how many nodes one request names."""

LONGEST_TAG = 64


def _texts(longest: int, data_key: str, description: str) -> ma.fields.List[Any]:
    return ma.fields.List(
        fields.text(longest=longest, description=description),
        load_default=list,
        data_key=data_key,
        validate=ma.validate.Length(max=MOST, error="Must be at most {max}."),
        metadata={"description": description},
    )


class PlacementOrder(StrictRequest[orders.Placement]):
    """Which of the nodes are considered, and which of these is better."""

    tags = _texts(LONGEST_TAG, "tags", "The node has all of these, in any letter case.")
    labels = ma.fields.Dict(
        keys=ma.fields.String(
            validate=ma.validate.Regexp(
                re.compile(f"{labelling.NAME.pattern}$", re.ASCII), error=labelling.NAME_RULE
            )
        ),
        values=fields.text(longest=labelling.LONGEST, shortest=0, description="The label's value."),
        load_default=dict,
        validate=ma.validate.Length(max=labelling.MOST, error="Must be at most {max} labels."),
        metadata={"description": "The node has all of these."},
    )
    excluded = _texts(255, "exclude", "Ids or names of nodes that it is not put on.")
    spread = ma.fields.Enum(
        Spread,
        by_value=True,
        load_default=None,
        allow_none=True,
        metadata={
            "description": "`user`: on a node with as few instances of its owner as can be; "
            "`image`: of its image.",
        },
    )
    prefer = ma.fields.Enum(
        Prefer,
        by_value=True,
        load_default=Prefer.MOST_ROOM,
        metadata={
            "description": "`most-room`: the node with the largest share of its memory, its cores "
            "and its `maxInstances` left; `fewest-instances`.",
        },
    )


def placement() -> ma.fields.Nested:
    """Make the field of an order."""
    return ma.fields.Nested(
        PlacementOrder,
        allow_none=True,
        metadata={
            "description": "Which of the nodes is chosen, with the `nodeId` `auto`; see "
            "docs/placement.md."
        },
    )


def complete(loaded: dict[str, Any]) -> dict[str, Any]:
    """Take `auto` for no node, and null for no placement."""
    node_id, chosen = loaded.get("node_id"), loaded.get("placement")
    completed = {**loaded, **({"node_id": None} if is_auto(node_id) else {})}
    if chosen is None:
        completed.pop("placement", None)
    return completed
