"""Instances that go to other nodes, as metrics: transfers, and the drains that begin them."""

from collections.abc import Iterator

from prometheus_client.core import Metric

from service.model.drains import ACTIVE, HOLDS
from service.model.lifecycle import OPEN, OperationKind
from service.store import Store
from service.telemetry.families import count, gauge


def measure_moves(store: Store) -> Iterator[Metric]:
    """Read what is under way. Drains are few, and so is what is open of operations."""
    found = store.drains.sum_up()
    drains = {status: each.drains for status, each in found.items()}
    yield count("skyquay_drains", "Drains that have not ended.", "status", ACTIVE, drains)
    yield gauge(
        "skyquay_drain_left_instances",
        "Instances that nodes hold which are being drained.",
        sum(each.left for status, each in found.items() if status in HOLDS),
    )
    yield gauge(
        "skyquay_drain_stuck_instances",
        "Instances that drains cannot move for now.",
        sum(each.stuck for each in found.values()),
    )
    transfers = store.operations.count_open(OperationKind.TRANSFER)
    yield count("skyquay_transfers", "Transfers that have not ended.", "status", OPEN, transfers)
