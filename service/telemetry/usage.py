"""What instances use, as metrics: a bounded number of series, and the others summed up by node."""

from collections.abc import Iterable, Iterator, Mapping
from operator import itemgetter
from typing import NamedTuple

from prometheus_client.core import GaugeMetricFamily, Metric

from service.model.documents import Sampling

REST = ""
"""Stands for the id of all instances of a node that have no series of their own."""


class Measure(NamedTuple):
    """A metric of an instance: the field of its last sample, and how many of that are one unit."""

    name: str
    text: str
    field: str
    per_unit: int = 1


MEASURES = (
    Measure("skyquay_instance_cpu_cores", "Cores that instances use.", "cpu_milli", 1000),
    Measure("skyquay_instance_memory_bytes", "Memory that instances use.", "memory_bytes"),
    Measure(
        "skyquay_instance_network_receive_bytes_per_second",
        "What instances receive.",
        "received_rate",
    ),
    Measure(
        "skyquay_instance_network_transmit_bytes_per_second", "What instances send.", "sent_rate"
    ),
    Measure("skyquay_instance_volume_bytes", "Disk that the volumes take.", "disk_bytes"),
)


def measure_usage(samplings: Iterable[Sampling], *, most: int) -> Iterator[Metric]:
    """Make the metrics of what instances used last.

    The first `most` instances, by id, have series of their own: so none gets and loses its series
    as it uses more or less. All others of a node are one series, with REST for their id.
    """
    known = list(samplings)
    used: list[tuple[str, str, Mapping[str, object]]] = [
        (instance_id, sampling["_id"], usage)
        for sampling in known
        for instance_id, usage in sampling["last"].items()
    ]
    used.sort(key=itemgetter(0))
    for measure in MEASURES:
        yield _make_family(measure, used, most)
    summed = max(0, len(used) - most)
    yield GaugeMetricFamily(
        "skyquay_instances_summed",
        "Instances without series of their own, which are summed up by node.",
        value=summed,
    )
    yield GaugeMetricFamily(
        "skyquay_sampling_interval_seconds",
        "How often instances are sampled, on the node where that is the longest.",
        value=max(
            ((each["interval_ms"] or 0) / 1000 * each["rounds"] for each in known), default=0
        ),
    )
    yield GaugeMetricFamily(
        "skyquay_sampling_skipped_nodes",
        "Nodes whose last samples are not complete.",
        value=sum(each["skipped"] is not None for each in known),
    )


def _make_family(
    measure: Measure, used: list[tuple[str, str, Mapping[str, object]]], most: int
) -> Metric:
    family = GaugeMetricFamily(measure.name, measure.text, labels=["instance_id", "node_id"])
    rest: dict[str, float] = {}
    for place, (instance_id, node_id, usage) in enumerate(used):
        value = usage.get(measure.field)
        if not isinstance(value, int):
            continue
        if place < most:
            family.add_metric([instance_id, node_id], value / measure.per_unit)
        else:
            rest[node_id] = rest.get(node_id, 0) + value / measure.per_unit
    for node_id, value in rest.items():
        family.add_metric([REST, node_id], value)
    return family
