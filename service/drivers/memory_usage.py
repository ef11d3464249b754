"""What containers of nodes in memory use, unless a test says otherwise."""

from datetime import UTC, datetime

from service.drivers import ContainerSample, ContainerUsage

USAGE = ContainerUsage(
    cpu_milli=250,
    memory_bytes=32 * 2**20,
    memory_limit_bytes=128 * 2**20,
    received_bytes=2048,
    sent_bytes=1024,
    disk_bytes=4096,
    started_at=datetime(2026, 1, 31, 11, tzinfo=UTC),
)
SAMPLE = ContainerSample(
    measured_at=datetime(2026, 1, 31, 12, tzinfo=UTC),
    cpu_ms=900_000,
    memory_bytes=32 * 2**20,
    memory_limit_bytes=128 * 2**20,
    received_bytes=2048,
    sent_bytes=1024,
    started_at=datetime(2026, 1, 31, 11, tzinfo=UTC),
)
VOLUME_BYTES = 4096
