"""What the changes of documents are as events."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pymongo.database import Database

from service.model.events import GAP, KINDS, name_update
from service.store.cause import parse_cause

Json = dict[str, Any]


def make_events(
    database: Database[Json], changes: list[Mapping[str, Any]]
) -> tuple[list[Json], list[Any]]:
    """Make events without ids, and list the removals that they are made of."""
    documents = _find_documents(database, changes)
    events: list[Json] = []
    removals = []
    for change in changes:
        collection = change["ns"]["coll"]
        if collection == "removals":
            removal = change["fullDocument"]
            removals.append(removal["_id"])
            events.append(_make_deleted(removal, change["wallTime"]))
            continue
        kind, document_id = KINDS[collection], change["documentKey"]["_id"]
        document = documents[collection].get(document_id, {"_id": document_id})
        if change["operationType"] == "insert":
            inserted = change["fullDocument"]
            # What was there before is at a later revision than its first.
            is_restored = kind == "instance" and inserted.get("revision", 1) > 1
            names = [f"{kind}.restored" if is_restored else f"{kind}.created"]
            text = inserted.get("changed_by")
        else:
            update = change["updateDescription"]
            values = update["updatedFields"]
            names = name_update(kind, values, update["removedFields"])
            text = values.get("changed_by")
        for name in names:
            events.append(_make(name, change["wallTime"], kind, document, parse_cause(text)))
    return events, removals


def _find_documents(
    database: Database[Json], changes: list[Mapping[str, Any]]
) -> dict[str, dict[str, Json]]:
    """Read the documents as they are now, or were last, by collection and id."""
    ids: dict[str, set[str]] = {name: set() for name in KINDS}
    for change in changes:
        if change["ns"]["coll"] in KINDS:
            ids[change["ns"]["coll"]].add(change["documentKey"]["_id"])
    found: dict[str, dict[str, Json]] = {}
    for name, wanted in ids.items():
        there = database[name].find({"_id": {"$in": list(wanted)}}) if wanted else ()
        found[name] = {document["_id"]: document for document in there}
        if gone := wanted - found[name].keys():
            removed = database["removals"].find(
                {"collection": name, "document._id": {"$in": list(gone)}}
            )
            found[name].update((each["document"]["_id"], each["document"]) for each in removed)
    return found


def _make(
    name: str,
    at: datetime,
    kind: str,
    document: Json,
    cause: Mapping[str, Any] | None,
    last: Json | None = None,
) -> Json:
    event = {
        "type": name,
        "at": at,
        "kind": kind,
        "resource_id": document["_id"],
        "instance_id": document["_id"] if kind == "instance" else _find_instance(document),
        "user_id": document["_id"] if kind == "user" else document.get("user_id"),
        "node_id": document["_id"] if kind == "node" else document.get("node_id") or None,
        "cause": cause,
    }
    return event if last is None else {**event, "last": last}


def _find_instance(document: Json) -> str | None:
    """Return which instance it is about. A bulk operation has its own id for it."""
    instance_id: str | None = document.get("instance_id")
    return instance_id if instance_id != document["_id"] else None


def make_gap(at: datetime) -> Json:
    """Make the event that others may be missing before it."""
    return _make(GAP, at, "log", {"_id": None}, None)


def make_forgotten(database: Database[Json]) -> tuple[list[Json], list[Any]]:
    """Make the events of all removals that are none yet, and list those."""
    removals = list(database["removals"].find())
    events = [_make_deleted(removal, removal["_id"].generation_time) for removal in removals]
    return events, [removal["_id"] for removal in removals]


def _make_deleted(removal: Mapping[str, Any], at: datetime) -> Json:
    kind, document = KINDS[removal["collection"]], removal["document"]
    return _make(f"{kind}.deleted", at, kind, document, removal["cause"], last=document)
