"""What a node allows of how its containers are run, on the wire."""

import marshmallow as ma

from service.contract import fields
from service.contract.container_settings import parse_swap
from service.model.container_settings import MAX_STOP_GRACE_S, MIN_STOP_GRACE_S, parse_cpuset

_LONGEST_LIST = 255


def _parse_cores(text: str) -> str:
    """Read which cores may be pinned. Raises ValueError."""
    if len(text) > _LONGEST_LIST:
        raise ValueError(f"Must have at most {_LONGEST_LIST} characters.")
    return parse_cpuset(text)


def _parse_grace(value: str | int) -> int:
    """Read a longest grace. What nobody asked for must be within it. Raises ValueError."""
    digits = str(value)
    if not (digits.isascii() and digits.isdigit()) or not (
        MIN_STOP_GRACE_S <= int(digits[:9]) <= MAX_STOP_GRACE_S
    ):
        raise ValueError(f"Must be a number between {MIN_STOP_GRACE_S} and {MAX_STOP_GRACE_S}.")
    return int(digits)


class BoundFields(ma.Schema):
    """The fields that bound what instances may say of their containers. Null: no such bound."""

    max_swap_mib = fields.Parsed(
        parse_swap,
        types=("string", "number"),
        data_key="maxSwap",
        allow_none=True,
        metadata={"description": "The most `swap` of an instance: MiB, or with a unit; 0: none."},
    )
    pinnable_cores = fields.Parsed(
        _parse_cores,
        types=("string",),
        data_key="pinnableCores",
        allow_none=True,
        metadata={"description": "The cores that a `cpuset` may name, like 0-3,7."},
    )
    max_stop_grace_s = fields.Parsed(
        _parse_grace,
        types=("string", "integer"),
        data_key="maxStopGrace",
        allow_none=True,
        metadata={"description": "The longest `stopGrace` of an instance, in seconds; 8 or more."},
    )
