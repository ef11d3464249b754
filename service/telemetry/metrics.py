"""Prometheus metrics. The counts of processes that share a folder are added up
(PROMETHEUS_MULTIPROC_DIR, which `skyquay serve` sets for its processes). What the database knows is
read at each scrape, so that it is right for any number of processes.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Histogram,
    disable_created_metrics,
    generate_latest,
    multiprocess,
    start_http_server,
    values,
)
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from service.errors import (
    CapacityExceeded,
    Maintenance,
    NoFreePorts,
    NoNodeFits,
    PortTaken,
    QuotaExceeded,
    ServiceError,
)
from service.model.lifecycle import OPEN, InstanceState, NodeStatus, OperationStatus
from service.store import Store
from service.telemetry.families import count, gauge
from service.telemetry.moves import measure_moves
from service.telemetry.usage import measure_usage

# When a series began, for each one: as many again, which nobody looks at.
disable_created_metrics()  # type: ignore[no-untyped-call]

CONTENT_TYPE = CONTENT_TYPE_LATEST

DATABASE_TIMEOUT_S = 2.0
"""Timeout of the database for one scrape. Prometheus itself waits for ten seconds."""

NO_NODE = "no_node"
"""Stands for the reason where there is no node at all."""

_OWN = CollectorRegistry()

REQUESTS = Histogram(
    "skyquay_request_duration_seconds",
    "Duration of requests.",
    ["method", "route", "status"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
    registry=_OWN,
)
REJECTED = Counter("skyquay_refused_requests", "Rejected requests.", ["code"], registry=_OWN)
QUOTA_REFUSALS = Counter(
    "skyquay_quota_refusals",
    "Requests that would have passed a user's quota, by each limit that they would have.",
    ["limit"],
    registry=_OWN,
)
PLACEMENT_REFUSALS = Counter(
    "skyquay_placement_refusals",
    "Requests for which no node had room; of several nodes by why the nearest had none.",
    ["reason"],
    registry=_OWN,
)
OPERATIONS = Histogram(
    "skyquay_operation_duration_seconds",
    "Time from the creation of operations to their end.",
    ["kind", "outcome"],
    buckets=(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600),
    registry=_OWN,
)
COPIED = Counter(
    "skyquay_transfer_copied_bytes",
    "Bytes of files that transfers had copied when they ended.",
    ["outcome"],
    registry=_OWN,
)
DATABASE = Histogram(
    "skyquay_database_duration_seconds",
    "Duration of database commands.",
    ["command", "outcome"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5, 10),
    registry=_OWN,
)

DELIVERIES = Counter(
    "skyquay_webhook_deliveries",
    "Attempts to deliver an event to a webhook; waiting: they failed, and are made again.",
    ["outcome"],
    registry=_OWN,
)


def use_metrics_slot(number: int | None) -> None:
    """Continue the counts of this worker slot. Must be called before anything is counted.

    Two processes must not use one slot at a time. None: the process's id is the slot.
    """
    if number is not None and values.ValueClass is not values.MutexValue:
        values.ValueClass = values.MultiProcessValue(lambda: number)  # type: ignore[no-untyped-call]


def record_operation(kind: str, outcome: str, seconds: float, copied_bytes: int | None) -> None:
    """Record how long an operation took that ended, and of a transfer how much it copied."""
    OPERATIONS.labels(kind, outcome).observe(seconds)
    if copied_bytes is not None:
        COPIED.labels(outcome).inc(copied_bytes)


def record_refusal(error: ServiceError) -> None:
    """Count an error of an instance if it says that there is no room for it, or no more of it."""
    match error:
        case QuotaExceeded(details=limits):
            for limit in limits:
                QUOTA_REFUSALS.labels(limit).inc()
        case NoNodeFits(details={"nodes": [{"reason": str(reason)}, *_]}):
            PLACEMENT_REFUSALS.labels(reason).inc()
        case NoNodeFits():
            PLACEMENT_REFUSALS.labels(NO_NODE).inc()
        case CapacityExceeded() | Maintenance() | NoFreePorts() | PortTaken():
            PLACEMENT_REFUSALS.labels(error.code).inc()


def record_delivery(outcome: str) -> None:
    """Count what became of an attempt to deliver an event."""
    DELIVERIES.labels(outcome).inc()


def record_command(command: str, outcome: str, seconds: float) -> None:
    """Record how long a database command took."""
    DATABASE.labels(command, outcome).observe(seconds)


def render(store: Store, *, most: int) -> bytes:
    """Return all metrics in Prometheus's text format; `most` instances have series of their own."""
    return generate_latest(_gather(store, most))


@contextmanager
def served(store: Store, address: tuple[str, int], *, most: int) -> Iterator[None]:
    """Serve the metrics there, without authentication. Raises OSError when that fails."""
    host, port = address
    server, thread = start_http_server(port, host, _gather(store, most))
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _gather(store: Store, most: int) -> CollectorRegistry:
    registry = CollectorRegistry()
    if values.ValueClass is values.MutexValue:
        registry.register(_Local())
    else:
        multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    registry.register(_Stored(store, most))
    return registry


class _Local(Collector):
    """What this process alone counted."""

    def collect(self) -> Iterable[Metric]:
        """Return what was counted."""
        return _OWN.collect()


class _Stored(Collector):
    """What the database knows."""

    def __init__(self, store: Store, most: int) -> None:
        self._store = store
        self._most = most

    def collect(self) -> Iterable[Metric]:
        """Read the database. While it is away, report only that."""
        name, text = "skyquay_database_up", "Whether the database answers."
        try:
            with self._store.bounded(DATABASE_TIMEOUT_S):
                found = list(self._ask())
        except ServiceError:
            return [gauge(name, text, 0)]
        return [gauge(name, text, 1), *found]

    def _ask(self) -> Iterable[Metric]:
        nodes, instances = self._store.nodes, self._store.instances
        yield count("skyquay_nodes", "Nodes.", "status", NodeStatus, nodes.count_by("status"))
        by_state = {
            **instances.count_by("state"),
            InstanceState.DELETED: self._store.deleted.count(),
        }
        yield count("skyquay_instances", "Instances.", "state", InstanceState, by_state)
        yield gauge(
            "skyquay_probe_oldest_seconds",
            "Time since the oldest probe, of the nodes that are probed.",
            self._store.probes.oldest_age_s(),
        )
        enabled = [webhook["_id"] for webhook in self._store.webhooks.list_enabled()]
        yield gauge(
            "skyquay_webhook_oldest_seconds",
            "How long the oldest delivery waits, of the webhooks that are enabled.",
            self._store.deliveries.oldest_waiting_s(enabled, now=self._store.server_time()),
        )
        queue = self._store.queue_stats()
        counts = {OperationStatus.PENDING: queue.waiting, OperationStatus.RUNNING: queue.running}
        yield count("skyquay_queue", "Operations that have not ended.", "status", OPEN, counts)
        yield gauge(
            "skyquay_queue_oldest_seconds",
            "How long the oldest due operation has waited for a worker.",
            queue.late_s,
        )
        promised = self._store.sum_promised()
        mib = 2**20
        for what, text, value in (
            ("memory_promised_bytes", "Memory promised to instances.", promised.memory_mib * mib),
            (
                "memory_capacity_bytes",
                "Memory that nodes may promise, of those that are limited.",
                promised.memory_capacity_mib * mib,
            ),
            ("cpu_promised_cores", "Cores promised to instances.", promised.cpu_milli / 1000),
        ):
            yield gauge(f"skyquay_{what}", text, value)
        yield from measure_moves(self._store)
        yield from measure_usage(self._store.sampling.list_usage(), most=self._most)
