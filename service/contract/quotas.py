"""Quotas of users on the wire, and what their instances are promised."""

from functools import partial

from service.contract import answers, fields
from service.contract.answers import Answer
from service.contract.base import StrictRequest
from service.model.documents import Amounts, Quota, QuotaChanges
from service.model.quantities import parse_cpu_milli, parse_disk_mb, parse_memory_mib, print_cores

MOST = 1_000_000
"""The highest limit of instances and of ports, and of cores."""

MOST_MIB = 2**34
MOST_MB = 10**12


class QuotaFields(StrictRequest[QuotaChanges]):
    """The most that the instances of a user may be promised together; null or absent: no limit."""

    instances = fields.count(
        least=0,
        longest=MOST,
        allow_none=True,
        metadata={"description": "How many there may be.", "sample": 10},
    )
    memory_mib = fields.Parsed(
        partial(parse_memory_mib, least=0, most=MOST_MIB),
        types=("string", "number"),
        data_key="memory",
        allow_none=True,
        metadata={"description": "MiB, or with a unit.", "sample": 4096},
    )
    cpu_milli = fields.Parsed(
        partial(parse_cpu_milli, least=0, most=MOST * 1000),
        types=("string", "number"),
        data_key="cpu",
        allow_none=True,
        metadata={"description": "Cores.", "sample": 4},
    )
    disk_mb = fields.Parsed(
        partial(parse_disk_mb, most=MOST_MB),
        types=("string", "number"),
        data_key="disk",
        allow_none=True,
        metadata={"description": "GB."},
    )
    ports = fields.count(
        least=0,
        longest=MOST,
        allow_none=True,
        metadata={"description": "Host ports."},
    )


def _print(thousandths: int | None) -> int | float | None:
    return None if thousandths is None else print_cores(thousandths)


class QuotaAnswer(Answer[Quota]):
    """The most that the instances of a user may be promised together; null: no limit."""

    instances = answers.integer(10, null=True)
    memory = answers.integer(4096, of="memory_mib", null=True, description="MiB.")
    cpu = answers.number(
        4, of=lambda quota: _print(quota["cpu_milli"]), null=True, description="Cores."
    )
    disk = answers.number(
        None, of=lambda quota: _print(quota["disk_mb"]), null=True, description="GB."
    )
    ports = answers.integer(None, null=True, description="Host ports.")


class AmountsAnswer(Answer[Amounts]):
    """What the instances of a user are promised together."""

    instances = answers.integer(1)
    memory = answers.integer(128, of="memory_mib", description="MiB.")
    cpu = answers.number(
        0.5, of=lambda amounts: print_cores(amounts["cpu_milli"]), description="Cores."
    )
    disk = answers.number(
        10, of=lambda amounts: print_cores(amounts["disk_mb"]), description="GB, where it is said."
    )
    ports = answers.integer(1, description="Host ports.")
