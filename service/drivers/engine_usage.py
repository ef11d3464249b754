"""What a container uses, as Docker measures it: read from what its API says."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from service.drivers.engine_runs import parse_time
from service.model.container import ContainerSample, ContainerUsage

_SECOND_NS = 10**9
_MS_NS = 10**6


def to_usage(
    container: Mapping[str, Any], sample: Mapping[str, Any], *, disk_bytes: int | None = None
) -> ContainerUsage:
    """Read a sample of two measurements, and when the container was started.

    Raises ValueError, KeyError or TypeError for what Docker does not say.
    """
    memory, networks = sample.get("memory_stats") or {}, sample.get("networks")
    return ContainerUsage(
        cpu_milli=_find_cpu_milli(sample),
        memory_bytes=_find_used(memory),
        memory_limit_bytes=memory.get("limit"),
        received_bytes=_sum(networks, "rx_bytes"),
        sent_bytes=_sum(networks, "tx_bytes"),
        disk_bytes=disk_bytes,
        started_at=parse_time(container["State"]["StartedAt"]),
    )


def to_sample(
    sample: Mapping[str, Any], *, disk_bytes: int | None = None
) -> ContainerSample | None:
    """Read what a container has used until now; None when it does not run.

    Raises ValueError, KeyError or TypeError for what Docker does not say.
    """
    memory, networks = sample.get("memory_stats") or {}, sample.get("networks")
    if not memory.get("usage"):
        return None
    return ContainerSample(
        measured_at=parse_time(sample["read"]),
        cpu_ms=sample["cpu_stats"]["cpu_usage"]["total_usage"] // _MS_NS,
        memory_bytes=_find_used(memory),
        memory_limit_bytes=memory.get("limit"),
        received_bytes=_sum(networks, "rx_bytes"),
        sent_bytes=_sum(networks, "tx_bytes"),
        disk_bytes=disk_bytes,
    )


def _find_cpu_milli(sample: Mapping[str, Any]) -> int:
    """Return the thousandths of a core that were used between the two measurements."""
    measured_at, before_at = (datetime.fromisoformat(sample[name]) for name in ("read", "preread"))
    elapsed_s = (measured_at - before_at).total_seconds()
    used, before = (
        sample[name]["cpu_usage"]["total_usage"] for name in ("cpu_stats", "precpu_stats")
    )
    # One that was started in between has no first measurement.
    return max(0, round((used - before) * 1000 / (elapsed_s * _SECOND_NS))) if before else 0


def _find_used(memory: Mapping[str, Any]) -> int:
    """Leave out what the kernel would give back at once, as `docker stats` does."""
    used, details = memory.get("usage") or 0, memory.get("stats") or {}
    cached = details.get("total_inactive_file", details.get("inactive_file", 0))  # cgroups 1, 2
    return used - cached if cached < used else used


def _sum(networks: Any, name: str) -> int | None:
    return None if networks is None else sum(each[name] for each in networks.values())
