"""What a database says of itself and of what waits in it, without changing anything."""

from dataclasses import dataclass
from typing import Any

from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import OperationFailure

from service.model.lifecycle import OperationStatus
from service.store import samples
from service.store.admin import indexes, migrations, validators

MIN_VERSION = (6, 0)
"""The oldest MongoDB that has what is needed."""


@dataclass(frozen=True, slots=True)
class Inspection:
    """A database. None is what it does not report: its user lacks the role clusterMonitor."""

    version: str
    members: int | None  # that vote or hold data; None: a sharded cluster
    members_up: int | None
    transaction_lifetime_s: int | None
    disk_free: float | None  # the part of the database's disk, 0 to 1
    schema: int
    latest_schema: int
    restoring: bool
    missing_indexes: list[str]
    missing_validators: list[str]
    stale_validators: list[str]  # there, but others than this version's
    time_series: bool | None  # whether samples are one; None: they have no collection yet


@dataclass(frozen=True, slots=True)
class Queue:
    """The operations that have not ended."""

    waiting: int
    running: int
    late_s: float  # for how long a worker should have taken the oldest that is due; 0 for none


@dataclass(frozen=True, slots=True)
class Promised:
    """What of all nodes together is promised to instances, and what they may give away."""

    memory_mib: int
    memory_capacity_mib: int  # of the nodes that are limited
    cpu_milli: int


def inspect(database: Database[dict[str, Any]]) -> Inspection:
    """Look at the database as a whole."""
    admin = database.client.admin
    hello = admin.command("hello")
    status = _ask(admin, "replSetGetStatus")
    limit = _ask(admin, "getParameter", 1, transactionLifetimeLimitSeconds=1)
    stats = _ask(database, "dbStats")
    size = stats.get("fsTotalSize")
    sharded = hello.get("msg") == "isdbgrid"
    members = status.get("members")
    known = [*hello.get("hosts", []), *hello.get("passives", []), *hello.get("arbiters", [])]
    return Inspection(
        version=database.client.server_info()["version"],
        members=None if sharded else len(members or known),
        members_up=sum(member["health"] == 1 for member in members) if members else None,
        transaction_lifetime_s=limit.get("transactionLifetimeLimitSeconds"),
        disk_free=1 - stats["fsUsedSize"] / size if size else None,
        schema=migrations.read_version(database),
        latest_schema=migrations.MIGRATIONS[-1].number,
        restoring=database["meta"].find_one(migrations.RESTORING) is not None,
        missing_indexes=indexes.list_missing(database),
        missing_validators=validators.list_missing(database),
        stale_validators=validators.list_stale(database),
        time_series=samples.is_time_series(database),
    )


def queue_stats(database: Database[dict[str, Any]], *, without_nodes: list[str]) -> Queue:
    """Count the open operations, and find the oldest that is due; those of some nodes never are."""
    operations = database["operations"]
    running = list(operations.find({"status": OperationStatus.RUNNING}, {"instance_id": 1}))
    waiting = {"status": OperationStatus.PENDING}
    free = {
        **waiting,
        "node_id": {"$nin": without_nodes},
        "instance_id": {"$nin": [operation["instance_id"] for operation in running]},
    }
    due_at = {
        "$cond": [
            {"$eq": ["$status", OperationStatus.RUNNING]},
            "$lease.until",  # which is over when its worker is gone
            {"$ifNull": ["$next_attempt_at", "$created_at"]},
        ]
    }
    oldest = operations.aggregate(
        [
            {"$match": {"$or": [free, {"status": OperationStatus.RUNNING}]}},
            {"$set": {"due_at": due_at}},
            {"$match": {"$expr": {"$lt": ["$due_at", "$$NOW"]}}},
            {"$group": {"_id": None, "late": {"$max": {"$subtract": ["$$NOW", "$due_at"]}}}},
        ]
    )
    return Queue(
        waiting=operations.count_documents(waiting),
        running=len(running),
        late_s=next((found["late"] / 1000 for found in oldest), 0.0),
    )


def sum_promised(database: Database[dict[str, Any]]) -> Promised:
    """Add up what nodes have promised."""
    sums = {
        "memory_mib": {"$sum": "$allocated.memory_mib"},
        "memory_capacity_mib": {"$sum": "$capacity.memory_mib"},
        "cpu_milli": {"$sum": "$allocated.cpu_milli"},
    }
    found = database["nodes"].aggregate([{"$group": {"_id": None, **sums}}, {"$unset": "_id"}])
    return next((Promised(**each) for each in found), Promised(0, 0, 0))


def _ask(database: Database[dict[str, Any]], *command: Any, **options: Any) -> dict[str, Any]:
    """Ask what not everybody may, and not every server knows."""
    try:
        return database.command(*command, **options)
    except OperationFailure:
        return {}


def check_server(client: MongoClient[dict[str, Any]]) -> str | None:
    """Return in a sentence why this database cannot be used; None when it can."""
    hello = client.admin.command("hello")
    version = client.server_info()["version"]
    if tuple(int(part) for part in version.split(".")[:2]) < MIN_VERSION:
        return f"MongoDB is {version}; Skyquay needs 6.0 or later."
    if "setName" not in hello and hello.get("msg") != "isdbgrid":
        return (
            "MongoDB runs alone; Skyquay needs a replica set (one member is enough: start "
            "mongod with --replSet rs0 and run rs.initiate()) or a sharded cluster."
        )
    return None
