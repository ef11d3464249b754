"""What instances a node gets, and on which host ports, on the wire."""

import marshmallow as ma

from service.contract import fields
from service.model import ports

MOST_INSTANCES = 100_000


class PlacementFields(ma.Schema):
    """The fields that say what a node gets."""

    schedulable = fields.Flag(
        metadata={
            "description": "Whether it gets more instances; false keeps those that it has. "
            "A deploy is 409 `maintenance` then."
        },
    )
    max_instances = fields.count(
        longest=MOST_INSTANCES,
        data_key="maxInstances",
        allow_none=True,
        metadata={"description": "How many instances it may have; no bound if absent."},
    )
    port_range = fields.Parsed(
        lambda value: str(ports.parse_range(value)),
        types=("string",),
        data_key="portRange",
        allow_none=True,
        metadata={
            "description": "Where host ports are found for instances that ask for `auto`; "
            f"{ports.DEFAULT_RANGE} if absent.",
            "sample": "25565-25999",
        },
    )
