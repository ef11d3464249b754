"""What is measured, for Prometheus. Counts of many processes are added up where they share a folder
(PROMETHEUS_MULTIPROC_DIR, which `skyquay serve` sets for its processes); what the database knows is
asked of it at each scrape, so that it is true however many processes there are.
"""

from collections.abc import Iterable

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Histogram,
    generate_latest,
    multiprocess,
    values,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from service.errors import ServiceError
from service.store import Store

CONTENT_TYPE = CONTENT_TYPE_LATEST

_OWN = CollectorRegistry()

REQUESTS = Histogram(
    "skyquay_request_duration_seconds",
    "How long requests took.",
    ["method", "route", "status"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
    registry=_OWN,
)
REFUSED = Counter(
    "skyquay_refused_requests", "Requests that were not let.", ["code"], registry=_OWN
)
OPERATIONS = Histogram(
    "skyquay_operation_duration_seconds",
    "How long operations took from being taken on to their end.",
    ["kind", "outcome"],
    buckets=(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600),
    registry=_OWN,
)
DATABASE = Histogram(
    "skyquay_database_duration_seconds",
    "How long commands of the database took.",
    ["command", "outcome"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5, 10),
    registry=_OWN,
)


def note_command(command: str, outcome: str, seconds: float) -> None:
    """Note how long a command of the database took."""
    DATABASE.labels(command, outcome).observe(seconds)


def render(store: Store) -> bytes:
    """Write everything down as Prometheus reads it."""
    registry = CollectorRegistry()
    if values.ValueClass is values.MutexValue:
        registry.register(_Local())
    else:
        multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    registry.register(_Stored(store))
    return generate_latest(registry)


class _Local(Collector):
    """What this process alone counted."""

    def collect(self) -> Iterable[Metric]:
        """Hand out what was counted."""
        return _OWN.collect()


class _Stored(Collector):
    """What the database knows."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def collect(self) -> Iterable[Metric]:
        """Ask the database. When it is away, nothing but that is told."""
        up = GaugeMetricFamily("skyquay_database_up", "Whether the database answers.")
        try:
            found = list(self._ask())
        except ServiceError:
            up.add_metric([], 0)
            return [up]
        up.add_metric([], 1)
        return [up, *found]

    def _ask(self) -> Iterable[Metric]:
        yield _count("skyquay_nodes", "Nodes.", "status", self._store.nodes.count_by("status"))
        yield _count(
            "skyquay_instances", "Instances.", "state", self._store.instances.count_by("state")
        )
        waiting = self._store.operations.measure_queue()
        yield _count("skyquay_queue", "Operations that have not ended.", "status", waiting.counts)
        age = GaugeMetricFamily(
            "skyquay_queue_oldest_seconds", "Age of the oldest operation that has not ended."
        )
        age.add_metric([], waiting.oldest_s)
        yield age


def _count(name: str, text: str, label: str, counts: dict[str, int]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=[label])
    for value, count in counts.items():
        family.add_metric([value], count)
    return family
