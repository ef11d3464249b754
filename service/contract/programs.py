"""What an instance's program is sent, and what its container uses, on the wire."""

import unicodedata
from datetime import datetime
from typing import TypedDict

import marshmallow as ma

from service.contract import answers, fields
from service.contract.answers import Answer
from service.contract.base import StrictRequest
from service.model.container import MAX_LINE_BYTES, ContainerUsage
from service.model.documents import Instance
from service.model.lifecycle import Power
from service.model.orders import Command
from service.model.quantities import print_cores

IDLE = ContainerUsage(cpu_milli=0, memory_bytes=0)
"""What a container uses that does not run."""


class SendCommand(StrictRequest[Command]):
    """A line for a program to read."""

    line = fields.text(
        longest=MAX_LINE_BYTES,
        description="What the program reads, without the line feed: no control characters, and "
        f"{MAX_LINE_BYTES} bytes of UTF-8 at the most.",
        sample="save-all",
    )

    @ma.validates("line")
    def require_one_line(self, line: str, data_key: str) -> None:
        """Accept what programs and terminals take for one line, and nothing else."""
        if any(unicodedata.category(character) == "Cc" for character in line):
            raise ma.ValidationError("Must be one line without control characters.")
        if len(line.encode()) > MAX_LINE_BYTES:
            raise ma.ValidationError(f"Must have at most {MAX_LINE_BYTES} bytes of UTF-8.")


class InstanceUsage(TypedDict):
    """What an instance's container uses."""

    instance: Instance
    usage: ContainerUsage | None  # None: it does not run
    now: datetime


def _usage(source: InstanceUsage) -> ContainerUsage:
    return source["usage"] or IDLE


def _find_uptime_s(source: InstanceUsage) -> int | None:
    started_at = _usage(source).started_at
    if started_at is None:
        return None
    return max(0, int((source["now"] - started_at).total_seconds()))  # clocks may differ


class StatsAnswer(Answer[InstanceUsage]):
    """What an instance uses now. Null: its node does not say."""

    Id = answers.text(fields.INSTANCE_ID, of=lambda source: source["instance"]["_id"])
    power = answers.choice(
        Power,
        "running",
        of=lambda source: Power.STOPPED if source["usage"] is None else Power.RUNNING,
        description="Whether it runs now.",
    )
    cpu = answers.number(
        0.25,
        of=lambda source: _usage(source).cpu_milli / 1000,
        description="Cores used, over the last moment.",
    )
    cpuLimit = answers.number(
        0.5,
        of=lambda source: print_cores(source["instance"]["cpu_milli"]),
        description="Cores that it was given.",
    )
    memoryBytes = answers.integer(
        33554432,
        of=lambda source: _usage(source).memory_bytes,
        description="Without what the kernel would give back at once.",
    )
    memoryLimitBytes = answers.integer(
        134217728,
        of=lambda source: _usage(source).memory_limit_bytes,
        null=True,
        description="What its node enforces.",
    )
    networkReceivedBytes = answers.integer(
        2048,
        of=lambda source: _usage(source).received_bytes,
        null=True,
        description="Since it was started.",
    )
    networkSentBytes = answers.integer(
        1024,
        of=lambda source: _usage(source).sent_bytes,
        null=True,
        description="Since it was started.",
    )
    diskBytes = answers.integer(
        4096,
        of=lambda source: _usage(source).disk_bytes,
        null=True,
        description="Of its volume; null where that would take long.",
    )
    startedAt = answers.time(fields.WHEN, of=lambda source: _usage(source).started_at, null=True)
    uptimeSeconds = answers.integer(3600, of=_find_uptime_s, null=True)
    time = answers.time(fields.WHEN, of="now", description="When it was measured.")
