"""How a container is run, on the wire: the same fields at a deploy and in a change."""

from typing import Any

import marshmallow as ma

from service.contract import fields
from service.model.container_settings import (
    DEFAULTS,
    MAX_STOP_GRACE_S,
    parse_cpuset,
    parse_timezone,
)
from service.model.quantities import parse_memory_mib


def parse_swap(value: str | int | float) -> int:
    """Read an amount of swap, which may be none, in MiB. Raises ValueError."""
    return 0 if str(value).strip() == "0" else parse_memory_mib(value)


class ContainerFields(ma.Schema):
    """The fields that say how a container is run. Null is what it is when nothing is said."""

    swap_mib = fields.Parsed(
        parse_swap,
        types=("string", "number"),
        data_key="swap",
        allow_none=True,
        metadata={"description": "Beside the memory: MiB, or with a unit; by default none."},
    )
    cpuset = fields.Parsed(
        parse_cpuset,
        types=("string",),
        allow_none=True,
        metadata={"description": "The node's cores that it may use, like 0-3,7; by default all."},
    )
    stop_grace_s = fields.count(
        data_key="stopGrace",
        longest=MAX_STOP_GRACE_S,
        allow_none=True,
        metadata={"description": "Seconds that its program has to end; by default 8."},
    )
    auto_start = ma.fields.Boolean(
        data_key="autoStart",
        allow_none=True,
        metadata={
            "description": "Whether it is started again when its program ended by itself, or the "
            "node was restarted; by default true."
        },
    )
    timezone = fields.Parsed(
        parse_timezone,
        types=("string",),
        allow_none=True,
        metadata={"description": "Its variable TZ, like Europe/Helsinki."},
    )

    @ma.post_load
    def complete(self, loaded: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Take null for what it is when nothing is said."""
        defaults = {name: value for name, value in DEFAULTS.items() if loaded.get(name, 0) is None}
        return {**loaded, **defaults}
