"""Metrics that are read at each scrape."""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any

from prometheus_client.core import GaugeMetricFamily, Metric


def count(
    name: str, text: str, label: str, values: Iterable[StrEnum], counts: Mapping[Any, int]
) -> Metric:
    """Make a series for each value, also of those that nothing has: 0 is no gap."""
    family = GaugeMetricFamily(name, text, labels=[label])
    for value in sorted(values):
        family.add_metric([value], counts.get(value, 0))
    return family


def gauge(name: str, text: str, value: float) -> Metric:
    """Make a series of its own."""
    return GaugeMetricFamily(name, text, value=value)
