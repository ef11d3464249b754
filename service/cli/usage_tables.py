"""How what instances and nodes use is written in cells."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from service.cli.output import Column

Document = Mapping[str, Any]

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def print_bytes(count: float | None) -> str | None:
    """Write an amount of bytes: 32 MiB. None stays None."""
    if count is None:
        return None
    size, unit = float(count), 0
    while size >= 1024 and unit < len(_UNITS) - 1:
        size, unit = size / 1024, unit + 1
    return f"{size:.3g} {_UNITS[unit]}" if size < 999.5 else f"{size:.0f} {_UNITS[unit]}"


def _latest(instance: Document, name: str) -> Any:
    return None if instance["latest"] is None else instance["latest"][name]


def _print_cpu(instance: Document) -> str | None:
    cores = _latest(instance, "cpu")
    return None if cores is None else f"{cores:.2f} of {instance['cpuLimit']:g}"


def _print_memory(instance: Document) -> str | None:
    used, limit = (print_bytes(_latest(instance, n)) for n in ("memoryBytes", "memoryLimitBytes"))
    return used if limit is None else f"{used} of {limit}"


def _print_rate(name: str) -> Any:
    def read(instance: Document) -> str | None:
        rate = print_bytes(_latest(instance, name))
        return None if rate is None else f"{rate}/s"

    return read


def _print_uptime(instance: Document) -> str | None:
    if instance["startedAt"] is None or instance["latest"] is None:
        return None
    began, seen = map(datetime.fromisoformat, (instance["startedAt"], instance["latest"]["time"]))
    minutes = int(max(0.0, (seen - began).total_seconds())) // 60
    days, hours = minutes // 1440, minutes // 60 % 24
    return f"{days} d {hours} h" if days else f"{hours} h {minutes % 60} min"


INSTANCE_COLUMNS = (
    Column("ID", "Id"),
    Column("NAME", "Name"),
    Column("NODE", "nodeId"),
    Column("POWER", "power"),
    Column("CPU", _print_cpu),
    Column("MEMORY", _print_memory),
    Column("RECEIVED", _print_rate("networkReceivedRate")),
    Column("SENT", _print_rate("networkSentRate")),
    Column("DISK", lambda instance: print_bytes(_latest(instance, "diskBytes"))),
    Column("UP", _print_uptime),
    Column("USER", "userId", is_wide=True),
)
"""What of an instance in the answer of listStats is shown."""
