"""Samples: a time series of the last hour, or a plain collection where there are no time series."""

from datetime import timedelta

import pytest
from pymongo.errors import OperationFailure

from service.app import utc_now
from service.store import samples

NOW = utc_now().replace(second=0, microsecond=0)
SINCE = NOW - timedelta(minutes=10)


def a_sample(seconds, instance="i1", **values):
    """Make the sample of so many seconds after SINCE."""
    at = SINCE + timedelta(seconds=seconds)
    return {"at": at, "of": {"instance": instance, "node": "n"}, **values}


def test_samples_are_a_time_series_of_an_hour(store, database):
    """Which the database keeps small, and removes by itself."""
    [found] = database.list_collections(filter={"name": "samples"})

    assert ("timeseries", 3600) == (found["type"], found["options"]["expireAfterSeconds"])


def test_steps_have_means(store):
    """Of what there is: what no sample has is None, and so is no step without samples."""
    store.samples.add(
        [
            a_sample(0, cpu_milli=100, memory_bytes=10),
            a_sample(15, cpu_milli=200, memory_bytes=20),
            a_sample(90, memory_bytes=5),
            a_sample(0, "i2", memory_bytes=7),
            a_sample(-1, memory_bytes=9),
        ]
    )

    found = store.samples.list_series(["i1"], since=SINCE, resolution_s=30)

    by_step = {each["_id"]["step"]: (each["cpu_milli"], each["memory_bytes"]) for each in found}
    assert {0: (150, 15), 3: (None, 5)} == by_step


@pytest.mark.fresh_database
def test_a_service_without_time_series_keeps_them_all_the_same(store, database, monkeypatch):
    """In a plain collection, from which they are removed too, and which answers the same."""
    database.drop_collection("samples")
    create = type(database).create_collection

    def refuse_time_series(self, name, **options):
        if "timeseries" in options:
            raise OperationFailure("unknown option to create", code=72)
        return create(self, name, **options)

    monkeypatch.setattr(type(database), "create_collection", refuse_time_series)
    store.prepare()

    store.samples.add([a_sample(0, memory_bytes=10)])
    assert samples.is_time_series(database) is False
    assert 3600 == database["samples"].index_information()["at_1"]["expireAfterSeconds"]
    assert 1 == len(store.samples.list_series(["i1"], since=SINCE, resolution_s=30))
