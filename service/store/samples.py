"""What instances used in the last hour: a time series, of which charts are made.

A sample is {at, of: {instance, node}, cpu_milli, memory_bytes, received_rate, sent_rate,
disk_bytes}; what is not known is absent. It is no document: it has no revision, is no event, and is
not backed up. A service that speaks MongoDB's protocol and has no time series keeps it in a plain
collection, which takes more room and answers the same.
"""

import logging
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from pymongo.collection import Collection as MongoCollection
from pymongo.database import Database
from pymongo.errors import CollectionInvalid, OperationFailure
from pymongo.write_concern import WriteConcern

from service.store.collection import Indexes, translated

log = logging.getLogger(__name__)

COLLECTION = "samples"

KEEP_S = 3600
"""How long samples are kept. The database removes them within another hour."""

INDEXES: Indexes = [{"keys": [("of.instance", 1), ("at", 1)]}]

BATCH = 500
"""How many samples are written at a time."""

_NAMESPACE_EXISTS = 48


def make(database: Database[dict[str, Any]]) -> None:
    """Make the collection, unless it is there."""
    if COLLECTION in database.list_collection_names(filter={"name": COLLECTION}):
        return
    kinds: tuple[dict[str, Any], ...] = (
        {
            "timeseries": {"timeField": "at", "metaField": "of", "granularity": "seconds"},
            "expireAfterSeconds": KEEP_S,
        },
        {},
    )
    for options in kinds:
        try:
            database.create_collection(COLLECTION, check_exists=False, **options)
        except CollectionInvalid:
            return
        except OperationFailure as exc:
            if exc.code == _NAMESPACE_EXISTS:  # another process made it a moment ago
                return
            if not options:
                raise
            log.warning("The database has no time series: samples take more room there.")
        else:
            if not options:
                database[COLLECTION].create_index("at", expireAfterSeconds=KEEP_S)
            return


def is_time_series(database: Database[dict[str, Any]]) -> bool | None:
    """Return whether samples are kept as a time series; None where they have no collection yet."""
    for found in database.list_collections(filter={"name": COLLECTION}):
        return bool(found["type"] == "timeseries")
    return None


class Samples:
    """The samples of one database."""

    def __init__(self, collection: MongoCollection[dict[str, Any]]) -> None:
        # A sample that a failover takes along is a gap in a chart, for which nobody waits.
        self._samples = collection.with_options(write_concern=WriteConcern(w=1))

    @translated
    def add(self, samples: Sequence[dict[str, Any]]) -> None:
        """Write samples."""
        for start in range(0, len(samples), BATCH):
            self._samples.insert_many(samples[start : start + BATCH], ordered=False)

    @translated
    def list_series(
        self, instance_ids: Iterable[str], *, since: datetime, resolution_s: int
    ) -> list[dict[str, Any]]:
        """Read the means of these instances' samples since then, in steps of `resolution_s`.

        Each as {_id: {instance, step}, cpu_milli, memory_bytes, received_rate, sent_rate}; the
        first step is 0. What no sample has is None; a step without any is left out.
        """
        step_ms = resolution_s * 1000
        ms = {"$subtract": ["$at", since]}
        step = {"$toInt": {"$floor": {"$divide": [ms, step_ms]}}}
        means = ("cpu_milli", "memory_bytes", "received_rate", "sent_rate")
        pipeline = [
            {"$match": {"of.instance": {"$in": sorted(instance_ids)}, "at": {"$gte": since}}},
            {
                "$group": {
                    "_id": {"instance": "$of.instance", "step": step},
                    **{name: {"$avg": f"${name}"} for name in means},
                }
            },
        ]
        return list(self._samples.aggregate(pipeline))
