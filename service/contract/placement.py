"""Where an instance is put that names no node, on the wire."""

import re
from typing import Any

import marshmallow as ma

from service.contract import answers, fields
from service.contract.answers import Answer
from service.contract.base import StrictRequest
from service.model import labelling, orders
from service.model.placement import Fit, Prefer, Ranking, Spread, Unfit, UnfitReason, is_auto

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


class RankNodes(StrictRequest[orders.PlacementWish]):
    """An instance for which nodes are ranked."""

    memory_mib = fields.memory(
        data_key="memory",
        required=True,
        metadata={"description": "MiB, or with a unit.", "sample": 128},
    )
    cpu_milli = fields.cpu(
        data_key="cpu", required=True, metadata={"description": "Cores.", "sample": "0.5"}
    )
    ports = fields.port_map(
        load_default=(), metadata={"description": "As in a deploy.", "sample": "8080:auto"}
    )
    user_id = fields.text(
        required=False,
        load_default=None,
        data_key="user",
        longest=64,
        description="The owner's `userId`, which `spread` needs to be `user`.",
    )
    image = fields.text(
        required=False,
        load_default=None,
        longest=512,
        description="As in a deploy. Nodes that cannot run it do not fit.",
    )
    placement = placement()

    @ma.validates_schema(skip_on_field_errors=False)
    def require_spread(self, loaded: dict[str, Any], **kwargs: Any) -> None:
        """Require what instances are to be spread by."""
        spread = (loaded.get("placement") or {}).get("spread")
        missing = {
            Spread.USER: "user" if loaded.get("user_id") is None else None,
            Spread.IMAGE: "image" if loaded.get("image") is None else None,
        }
        if spread is not None and (name := missing[spread]) is not None:
            raise ma.ValidationError({name: [f"Is needed to spread by {spread}."]})

    @ma.post_load
    def complete(self, loaded: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Take null for no placement."""
        return complete(loaded)


class FitAnswer(Answer[Fit]):
    """A node that may get the instance."""

    id = answers.text(fields.NODE_ID, of=lambda fit: fit.node["_id"])
    name = answers.text("local", of=lambda fit: fit.node["name"])
    score = answers.number(
        0.75,
        of=lambda fit: round(fit.score, 4) if fit.tells_score else None,
        optional=True,
        description="From 0 to 1, how much of it is left; less 1 for each instance that it should "
        "not be beside. Absent for a key that is limited to a user.",
    )


class UnfitAnswer(Answer[Unfit]):
    """A node that does not get the instance."""

    id = answers.text("9c1e44d07ab25f60", of=lambda unfit: unfit.node["_id"])
    name = answers.text("helsinki-1", of=lambda unfit: unfit.node["name"])
    reason = answers.choice(UnfitReason, "capacity_exceeded", of=lambda unfit: unfit.reason)
    message = answers.text("The node has not enough memory left.", of=lambda unfit: unfit.message)
    details = answers.mapping(
        {"requestedMib": 128, "allocatedMib": 1024, "capacityMib": 1024},
        of=lambda unfit: unfit.details,
        description="The numbers.",
    )


class RankingAnswer(Answer[Ranking]):
    """The nodes for an instance. Nothing is held for anybody."""

    fits = answers.many(
        FitAnswer,
        of=lambda ranking: ranking.fits,
        description="Best first; those that are nearly equal in random order, as a deploy chooses.",
    )
    unfit = answers.many(UnfitAnswer, of=lambda ranking: ranking.unfit)
