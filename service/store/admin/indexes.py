"""The indexes of each collection, which keep what the store promises."""

from typing import Any

import pymongo
from pymongo import IndexModel
from pymongo.database import Database

from service.store import (
    audit,
    deleted,
    deliveries,
    drains,
    events,
    failed_attempts,
    idempotency,
    images,
    instances,
    keys,
    leftovers,
    nodes,
    occupancy,
    operations,
    phases,
    samples,
    sampling,
    tickets,
    users,
    watches,
    webhooks,
)
from service.store.collection import UNHURRIED_S, Indexes

INDEXES: dict[str, Indexes] = {
    "users": users.INDEXES,
    "images": images.INDEXES,
    "keys": keys.INDEXES,
    "nodes": nodes.INDEXES,
    "instances": [*instances.INDEXES, *occupancy.INDEXES, *phases.INDEXES],
    deleted.COLLECTION: deleted.INDEXES,
    "operations": operations.INDEXES,
    "leftovers": leftovers.INDEXES,
    "audit": audit.INDEXES,
    "failures": failed_attempts.INDEXES,
    "idempotency": idempotency.INDEXES,
    "events": events.INDEXES,
    "tickets": tickets.INDEXES,
    "sampling": sampling.INDEXES,
    "samples": samples.INDEXES,
    "watches": watches.INDEXES,
    "webhooks": webhooks.INDEXES,
    "deliveries": deliveries.INDEXES,
    "drains": drains.INDEXES,
}


def make(database: Database[dict[str, Any]]) -> None:
    """Make all that are not there. A new one of a large collection takes its time."""
    with pymongo.timeout(UNHURRIED_S):
        for name, each in INDEXES.items():
            database[name].create_indexes([IndexModel(**index) for index in each])


def list_missing(database: Database[dict[str, Any]]) -> list[str]:
    """Name the indexes that are not there, each after its collection."""
    return [
        f"{name}.{wanted}"
        for name, each in INDEXES.items()
        for wanted in sorted(
            {IndexModel(**index).document["name"] for index in each}
            - database[name].index_information().keys()
        )
    ]
