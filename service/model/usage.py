"""What an instance uses, made of the samples that count what it used (pure)."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any, cast

from service.model.container import ContainerSample
from service.model.documents import Usage

MIN_GAP_S = 1.0
"""Two samples that are closer than this make no rate."""

_CHARTED = ("cpu_milli", "memory_bytes", "received_rate", "sent_rate", "disk_bytes")


def make_usage(
    sample: ContainerSample,
    before: Usage | None,
    *,
    disk_bytes: int | None = None,
    at: datetime,
) -> Usage:
    """Compare a sample with the one before: what it used in between is a rate.

    No rate without one before. A counter that went back began anew, at 0, when it was started.
    """
    counted = {name: value for name, value in asdict(sample).items() if value is not None}
    if disk_bytes is not None:
        counted.setdefault("disk_bytes", disk_bytes)
    usage = {**counted, "at": at}
    gap_s = (sample.measured_at - before["measured_at"]).total_seconds() if before else 0.0
    if before and gap_s >= MIN_GAP_S:
        for rate, counter in (
            ("cpu_milli", "cpu_ms"),
            ("received_rate", "received_bytes"),
            ("sent_rate", "sent_bytes"),
        ):
            earlier = cast("Mapping[str, Any]", before).get(counter)
            if counter in counted and earlier is not None:
                used = counted[counter] - (earlier if earlier <= counted[counter] else 0)
                usage[rate] = round(used / gap_s)
    return cast("Usage", usage)


def to_sample_document(usage: Usage, *, instance_id: str, node_id: str) -> dict[str, Any]:
    """Make what is kept of it for charts."""
    values = cast("Mapping[str, Any]", usage)
    kept = {name: values[name] for name in _CHARTED if name in values}
    return {"at": usage["at"], "of": {"instance": instance_id, "node": node_id}, **kept}
