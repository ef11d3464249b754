"""What later versions changed about documents, as numbered steps, each done once to a database.

The number of the last that was done is in the collection `meta`. Of many processes that start at
once one has the lock, whose lease runs out by the database's clock should it die; the others wait.
Each migration may be done again, wholly or in part: what a crash cut off is simply repeated.
"""

import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import pymongo
from pymongo import UpdateOne
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import DuplicateKeyError, PyMongoError

from service.errors import StoreFailure, StoreUnavailable
from service.store.collection import UNHURRIED_S
from service.store.event_log import STATE as EVENTS
from service.store.event_log import read_operation_time
from service.store.fan_out import begin_webhooks
from service.store.lease import LeaseField
from service.store.quotas import sum_up
from service.store.settings import INSTALLATION, make_installation_id

LEASE_S = 30.0
WAIT_S = 60.0
"""How long a process waits for another one that migrates."""

SCHEMA = {"_id": "schema"}
"""The document of `meta` with {version, migrated_at, lock: {token, until} | None}."""

RESTORING = {"_id": "restoring"}
"""The document of `meta` that is there while a backup is being restored."""

LOCK = LeaseField("lock")
"""Held by the process that migrates."""

_POLL_S = 0.1
_BATCH = 1000


class Migration(NamedTuple):
    """One step. `work` counts the documents of each collection that need it, and may do it."""

    number: int
    sentence: str
    work: Callable[..., dict[str, int]]


@dataclass(frozen=True, slots=True)
class Change:
    """A migration that was done or would be, with the documents that needed it."""

    number: int
    sentence: str
    counts: dict[str, int]


def _complete_nodes(
    database: Database[dict[str, Any]], added: dict[str, object], *, write: bool
) -> dict[str, int]:
    nodes = database["nodes"]
    count = nodes.count_documents({"$or": [{field: {"$exists": False}} for field in added]})
    if write:
        for field, value in added.items():
            nodes.update_many({field: {"$exists": False}}, {"$set": {field: value}})
    return {"nodes": count}


def _change_shapes(
    database: Database[dict[str, Any]],  # noqa: ARG001
    *,
    write: bool,  # noqa: ARG001
) -> dict[str, int]:
    """Do nothing: what is new may be missing. But only this version sets the validators now."""
    return {}


def _count_disk(database: Database[dict[str, Any]], *, write: bool) -> dict[str, int]:
    """Count the disk of the instances of each node, which does not limit it unless it says so."""
    mib = {"$round": {"$multiply": [{"$ifNull": ["$disk_gb", 0]}, 1024]}}
    sums = {
        each["_id"]: int(each["mib"])
        for each in database["instances"].aggregate(
            [{"$group": {"_id": "$node_id", "mib": {"$sum": mib}}}]
        )
    }
    lacking = {"allocated.disk_mib": {"$exists": False}}
    nodes = list(database["nodes"].find(lacking, ["_id"]))
    if write:
        for node in nodes:
            counted = {
                "allocated.disk_mib": sums.get(node["_id"], 0),
                "capacity.disk_mib": None,
                "disk_overallocate": None,
            }
            database["nodes"].update_one({"_id": node["_id"], **lacking}, {"$set": counted})
    return {"nodes": len(nodes)}


def _name_installation(database: Database[dict[str, Any]], *, write: bool) -> dict[str, int]:
    lacking = database["settings"].find_one({"_id": INSTALLATION}) is None
    if write:
        make_installation_id(database)
    return {"settings": int(lacking)}


def _revoke_orphans(database: Database[dict[str, Any]], *, write: bool) -> dict[str, int]:
    orphans: list[dict[str, Any]] = [
        {"$match": {"user_id": {"$type": "string"}}},
        {
            "$lookup": {
                "from": "users",
                "localField": "user_id",
                "foreignField": "_id",
                "as": "user",
            }
        },
        {"$match": {"user": []}},
        {"$project": {"_id": 1}},
    ]
    ids = [key["_id"] for key in database["keys"].aggregate(orphans)]
    if write:
        for start in range(0, len(ids), _BATCH):
            database["keys"].delete_many({"_id": {"$in": ids[start : start + _BATCH]}})
    return {"keys": len(ids)}


def _begin_events(database: Database[dict[str, Any]], *, write: bool) -> dict[str, int]:
    """Note since when there are events, so that the first writer skips no change."""
    if write:
        begin_events(database)
    return {}


def begin_events(database: Database[dict[str, Any]]) -> None:
    """Have events begin with what is written from now on."""
    begin = {"begun_at": read_operation_time(database), "token": None, "lease": None}
    with suppress(DuplicateKeyError):  # Another process made it a moment ago.
        database["meta"].update_one(EVENTS, {"$set": begin}, upsert=True)


def _begin_webhooks(database: Database[dict[str, Any]], *, write: bool) -> dict[str, int]:
    """Note after which event there are webhooks."""
    if write:
        begin_webhooks(database)
    return {}


def _count_promised(database: Database[dict[str, Any]], *, write: bool) -> dict[str, int]:
    """Count what users' instances are promised. Whoever has none needs no count."""
    counts = sum_up(database)
    if write and counts:
        writes = [
            UpdateOne({"_id": user_id}, {"$set": {"used": used}})
            for user_id, used in counts.items()
        ]
        database["users"].bulk_write(writes, ordered=False)
    return {"users": len(counts)}


MIGRATIONS = [
    Migration(2, "Begin with the documents of the first version.", _change_shapes),
    Migration(3, "Know the files that removed instances leave on their nodes.", _change_shapes),
    Migration(
        4,
        "Record which nodes share an engine, and where their memory is known from.",
        partial(
            _complete_nodes,
            # Nodes of before go on as they are: unlimited, and several of one engine.
            added={"allow_same_engine": True, "same_engine_as": None, "memory_from_engine": False},
        ),
    ),
    Migration(5, "Give the installation an id, to mark its containers with.", _name_installation),
    Migration(
        6,
        "Let one worker at a time probe a node.",
        partial(_complete_nodes, added={"probing": None}),
    ),
    Migration(7, "Revoke the keys of users who are gone.", _revoke_orphans),
    Migration(8, "Show the progress of steps, and which nodes hang.", _change_shapes),
    # Documents are not rewritten, which of a million would take minutes: no revision counts as 0.
    Migration(9, "Give every document a revision, which each write raises.", _change_shapes),
    Migration(10, "Keep ids and labels of dashboards at documents.", _change_shapes),
    Migration(
        11,
        "Know what players connect to, and what the variables of images may be.",
        partial(_complete_nodes, added={"public_address": None}),
    ),
    Migration(12, "Know the requests that bear an Idempotency-Key.", _change_shapes),
    Migration(13, "Change instances, and reinstall them.", _change_shapes),
    Migration(14, "Know for whom keys act.", _change_shapes),
    Migration(
        15,
        "Let nodes bound how containers are run.",
        partial(
            _complete_nodes,
            added={"max_swap_mib": None, "pinnable_cores": None, "max_stop_grace_s": None},
        ),
    ),
    Migration(16, "Tell writes that only record observations from changes.", _change_shapes),
    Migration(17, "Begin to keep events.", _begin_events),
    Migration(18, "Do the same to many at once.", _change_shapes),
    Migration(19, "Keep samples of what instances use.", _change_shapes),
    Migration(20, "Know how the runs of containers began and ended.", _change_shapes),
    Migration(21, "Say when programs are ready.", _change_shapes),
    Migration(22, "Know webhooks, and what is delivered to them.", _begin_webhooks),
    Migration(
        23,
        "Let nodes get no more instances, and find free host ports on them.",
        partial(
            _complete_nodes,
            added={"schedulable": True, "max_instances": None, "port_range": None},
        ),
    ),
    Migration(24, "Count what users' instances are promised, for quotas.", _count_promised),
    Migration(
        25, "Know which host ports were found, and which are held by others.", _change_shapes
    ),
    Migration(26, "Let images declare ports.", _change_shapes),
    Migration(27, "Count the disk that nodes promise.", _count_disk),
    Migration(28, "Transfer instances to other nodes.", _change_shapes),
    Migration(29, "Know the drains of nodes.", _change_shapes),
    Migration(30, "Keep instances that are deleted.", _change_shapes),
]
"""Numbered without gaps, from 2. What was released is never changed, only followed by another."""


def read_version(database: Database[dict[str, Any]]) -> int:
    """Return the number of the last migration that was done; 0 for none."""
    schema = database["meta"].find_one(SCHEMA)
    return schema["version"] if schema else 0


def plan(database: Database[dict[str, Any]]) -> list[Change]:
    """Return what `migrate` would do now, and write nothing. Raises StoreFailure like it."""
    with pymongo.timeout(UNHURRIED_S):
        return [
            Change(number, sentence, work(database, write=False))
            for number, sentence, work in _list_pending(database)
        ]


def migrate(
    database: Database[dict[str, Any]], *, lease_s: float = LEASE_S, wait_s: float = WAIT_S
) -> list[Change]:
    """Do what is pending, and return what that was; nothing is pending then.

    Raises StoreFailure for a database of a newer version, StoreUnavailable when another process is
    still at it after `wait_s`.
    """
    deadline = time.monotonic() + wait_s
    while _list_pending(database):
        with _lock(database["meta"], lease_s) as ours:
            if ours:
                return [_apply(database, migration) for migration in _list_pending(database)]
        if time.monotonic() > deadline:
            raise StoreUnavailable(
                "Another process is still migrating the database. Please try again."
            )
        time.sleep(_POLL_S)
    return []


def _list_pending(database: Database[dict[str, Any]]) -> list[Migration]:
    if database["meta"].find_one(RESTORING):
        raise StoreFailure(
            "A backup was not restored to its end: run `skyquay restore --replace` again."
        )
    version, latest = read_version(database), MIGRATIONS[-1].number
    if version > latest:
        raise StoreFailure(
            f"A newer version of Skyquay migrated this database (its schema is {version}, this "
            f"version knows {latest}): run that version, or restore a backup from before."
        )
    return [migration for migration in MIGRATIONS if migration.number > version]


def _apply(database: Database[dict[str, Any]], migration: Migration) -> Change:
    with pymongo.timeout(UNHURRIED_S):
        counts = migration.work(database, write=True)
    # Whoever lost its lease in the middle comes late: the number never goes back.
    done = {"version": {"$max": ["$version", migration.number]}, "migrated_at": "$$NOW"}
    database["meta"].update_one(SCHEMA, [{"$set": done}])
    return Change(migration.number, migration.sentence, counts)


@contextmanager
def _lock(meta: Collection[dict[str, Any]], lease_s: float) -> Iterator[bool]:
    """Try to be the only one; return whether we are. The lease is renewed until the end."""
    token = secrets.token_hex(8)
    fresh = {"version": 0, "migrated_at": None, "lock": None}
    with suppress(DuplicateKeyError):  # Another process made it a moment ago.
        meta.update_one(SCHEMA, {"$setOnInsert": fresh}, upsert=True)
    if not LOCK.take(meta, SCHEMA, token, lease_s):
        yield False
        return
    done = threading.Event()

    def renew() -> None:
        while not done.wait(lease_s / 3):
            with suppress(PyMongoError):
                LOCK.renew(meta, SCHEMA, token, lease_s)

    renewer = threading.Thread(target=renew, name="migration-lease", daemon=True)
    renewer.start()
    try:
        yield True
    finally:
        done.set()
        renewer.join()
        LOCK.release(meta, SCHEMA, token)
