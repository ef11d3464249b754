"""What instances use, as metrics: bounded series, and sums by node of all others."""

from dataclasses import replace

from prometheus_client.core import CollectorRegistry
from prometheus_client.registry import Collector

from service.app import utc_now
from service.telemetry.usage import measure_usage
from tests.support import an_app
from tests.telemetry.test_telemetry import find, measure


def a_sampling(node_id, last, **fields):
    """Make how a node was sampled."""
    return {"_id": node_id, "interval_ms": 15_000, "rounds": 1, "skipped": None, "last": last,
            **fields}  # fmt: skip


SAMPLINGS = [
    a_sampling("n1", {"i1": {"cpu_milli": 250, "memory_bytes": 10}, "i4": {"memory_bytes": 1}}),
    a_sampling("n2", {"i2": {"cpu_milli": 500, "memory_bytes": 20}, "i3": {"memory_bytes": 2},
                      "i5": {"cpu_milli": 100, "memory_bytes": 4}}),
]  # fmt: skip


def read(most, samplings=SAMPLINGS):
    """Read the metrics: {name: {labels' values: value}}."""

    class Once(Collector):
        def collect(self):
            return measure_usage(samplings, most=most)

    registry = CollectorRegistry()
    registry.register(Once())
    return {
        family.name: {tuple(s.labels.values()): s.value for s in family.samples}
        for family in registry.collect()
    }


def test_each_instance_has_its_series():
    """With its node; what is not known has none."""
    found = read(most=5)

    assert {("i1", "n1"): 0.25, ("i2", "n2"): 0.5, ("i5", "n2"): 0.1} == found[
        "skyquay_instance_cpu_cores"
    ]
    assert 5 == len(found["skyquay_instance_memory_bytes"])
    assert {(): 0} == found["skyquay_instances_summed"]


def test_beyond_the_bound_they_are_summed_by_node():
    """The sum of a node is the same whatever the bound, and it is said how many are in it."""
    found = read(most=2)

    assert {("i1", "n1"): 10, ("i2", "n2"): 20, ("", "n1"): 1, ("", "n2"): 6} == found[
        "skyquay_instance_memory_bytes"
    ]
    assert {(): 3} == found["skyquay_instances_summed"]


def test_none_of_them_need_have_its_own():
    """Nodes do."""
    assert {("", "n1"): 11, ("", "n2"): 26} == read(most=0)["skyquay_instance_memory_bytes"]


def test_how_well_it_samples_is_measured():
    """The longest interval, and the nodes that are not complete."""
    slow = a_sampling("n3", {}, interval_ms=20_000, rounds=3, skipped="too slow")
    found = read(most=5, samplings=[*SAMPLINGS, slow])

    assert {(): 60} == found["skyquay_sampling_interval_seconds"]
    assert {(): 1} == found["skyquay_sampling_skipped_nodes"]


def test_the_endpoint_has_as_many_as_the_settings_say(
    config, store, database, memory_nodes, node, api
):
    """SKYQUAY_METRICS_INSTANCES."""

    store.sampling.sync(now=utc_now())
    last = {f"i{n}": {"memory_bytes": n} for n in range(1, 4)}
    database["sampling"].update_one({"_id": node["_id"]}, {"$set": {"last": last}})
    bounded = an_app(replace(config, metrics_instances=1), store, memory_nodes).test_client()
    api = replace(api, flask=bounded)

    measured = measure(api)

    labels = {"node_id": node["_id"]}
    name = "skyquay_instance_memory_bytes"
    assert (1, 0, 5) == tuple(
        find(measured, name, instance_id=each, **labels) for each in ("i1", "i2", "")
    )
