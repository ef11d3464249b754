"""All documents as one file, as they were at one moment, and back.

The file is gzip; in it are BSON documents, one after the other::

    {format, version, schema, made_at, counts}    the header; `schema` as in migrations.py
    {in: <collection>, document: {...}}           each document, as it is stored
    {sha256}                                      of everything before: so far the file is whole

Secrets stay encrypted. Left out is what soon ends: the counts of failed attempts, the records
of `Idempotency-Key`s, events, samples, and what webhooks are sent. Neither way holds more than a
few documents in memory.
"""

import gzip
import hashlib
import os
import secrets
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import IO, Any

import bson
import pymongo
from bson.codec_options import CodecOptions
from bson.errors import BSONError
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import OperationFailure

from service.model.lifecycle import OperationStatus
from service.store import samples
from service.store.admin import migrations
from service.store.admin.validators import DOCUMENTS
from service.store.collection import UNHURRIED_S
from service.store.fan_out import begin_webhooks

FORMAT = "skyquay backup"
VERSION = 1

_LEFT_OUT = ("idempotency", "events", "removals", "sampling", "deliveries")
KEPT = [name for name in DOCUMENTS if name not in _LEFT_OUT]
"""The collections that are backed up."""

_RAW = CodecOptions(document_class=RawBSONDocument)
_TIMES = CodecOptions[dict[str, Any]](tz_aware=True)
_BATCH = 50
_MAX_RECORD_BYTES = 32 * 1024 * 1024
"""MongoDB's documents have 16 MiB at the most, so a longer one is no document."""

_ANSWERED = (
    *("users", "images", "keys", "nodes"),
    *("instances", "deleted_instances", "operations", "webhooks"),
)
"""Of whose documents clients keep answers, by revision."""

_SNAPSHOT_TOO_OLD = 239
_SNAPSHOT_UNAVAILABLE = 246
_ATTEMPTS = 5


class BackupError(ValueError):
    """A backup cannot be written, read or restored. The message says why."""


@dataclass(frozen=True, slots=True)
class Contents:
    """What a backup has."""

    schema: int
    made_at: datetime
    counts: dict[str, int]


def write(database: Database[dict[str, Any]], path: Path) -> Contents:
    """Write a backup, readable by its owner only. What was at `path` before is replaced by it.

    Raises BackupError; then whatever was at `path` is still there.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with open(os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            contents = _dump_when_possible(database, file)
            file.flush()
            os.fsync(file.fileno())
        draft.rename(path)
        _sync_folder(path.parent)
    except OSError as exc:
        raise BackupError(f"The backup {path} cannot be written: {exc.strerror}.") from exc
    finally:
        draft.unlink(missing_ok=True)
    return contents


def check(path: Path) -> Contents:
    """Read a backup to its end. Raises BackupError for one that is not whole, or not ours."""
    with _opened(path) as file:
        return _check(file, path)


def restore(database: Database[dict[str, Any]], path: Path, *, replace: bool) -> Contents:
    """Put a backup's documents into the database, which must be without; `replace` empties it.

    The file is read to its end before anything is written. Raises BackupError. Indexes, validators
    and migrations are left to `Store.prepare`, which refuses the database as long as this has not
    ended; what workers were doing when the backup was made is theirs to take over at once.
    """
    with _opened(path) as file, pymongo.timeout(UNHURRIED_S):
        contents = _check(file, path)
        _check_room(database, contents, replace=replace)
        database["meta"].replace_one(migrations.RESTORING, migrations.RESTORING, upsert=True)
        for name in (*DOCUMENTS, "failures", "tickets", samples.COLLECTION):
            # A backup from before there were installations leaves this one what it is.
            if name != "settings" or contents.counts.get(name):
                database[name].drop()
        file.seek(0)
        _load(database, file)
        database["operations"].update_many(
            {"status": OperationStatus.RUNNING},
            [{"$set": {"lease": {"token": secrets.token_hex(8), "until": "$$NOW"}}}],
        )
        database["nodes"].update_many(
            {}, {"$set": {"deploying": None, "probing": None, "probed_at": None}}
        )
        for name in _ANSWERED:
            # More than any that a document had before, at which a client may have kept an answer:
            # nobody writes a thousand times a second for long.
            database[name].update_many({}, [{"$set": {"revision": {"$toLong": "$$NOW"}}}])
        schema = {"version": contents.schema, "migrated_at": None, "lock": None}
        database["meta"].replace_one(migrations.SCHEMA, schema, upsert=True)
        migrations.begin_events(database)
        begin_webhooks(database)
        database["meta"].delete_one(migrations.RESTORING)
    return contents


def _dump_when_possible(database: Database[dict[str, Any]], file: IO[bytes]) -> Contents:
    for attempt in range(_ATTEMPTS):
        file.seek(0)
        file.truncate()
        try:
            return _dump(database, file)
        except OperationFailure as exc:
            if exc.code == _SNAPSHOT_TOO_OLD:
                raise BackupError(
                    "The backup took longer than the database keeps the moment it is of "
                    "(minSnapshotHistoryWindowInSeconds, 300 by default): use mongodump --oplog."
                ) from exc
            # Somebody made an index or a validator a moment ago: later moments can be read.
            if exc.code != _SNAPSHOT_UNAVAILABLE or attempt == _ATTEMPTS - 1:
                raise
    raise AssertionError("unreachable")


def _dump(database: Database[dict[str, Any]], file: IO[bytes]) -> Contents:
    """Write all documents as they are at the moment of the first read."""
    client: MongoClient[dict[str, Any]] = database.client
    with (
        pymongo.timeout(UNHURRIED_S),
        client.start_session(snapshot=True) as session,
        gzip.GzipFile(fileobj=file, mode="wb", filename="") as packed,
    ):
        schema = database["meta"].find_one(migrations.SCHEMA, session=session)
        contents = Contents(
            schema=schema["version"] if schema else 0,
            made_at=datetime.now(UTC),
            counts={name: database[name].count_documents({}, session=session) for name in KEPT},
        )
        digest = hashlib.sha256()

        def put(record: dict[str, Any]) -> None:
            encoded = bson.encode(record)
            digest.update(encoded)
            packed.write(encoded)

        put(
            {
                "format": FORMAT,
                "version": VERSION,
                "schema": contents.schema,
                "made_at": contents.made_at,
                "counts": contents.counts,
            }
        )
        for name in KEPT:
            raw = database.get_collection(name, codec_options=_RAW)
            with closing(raw.find(session=session)) as found:
                for document in found:
                    put({"in": name, "document": document})
        packed.write(bson.encode({"sha256": digest.hexdigest()}))
    return contents


def _opened(path: Path) -> IO[bytes]:
    try:
        return path.open("rb")
    except OSError as exc:
        raise BackupError(f"The backup {path} cannot be read: {exc.strerror}.") from exc


def _check(file: IO[bytes], path: Path) -> Contents:
    damaged = f"{path} is damaged, or not whole: nothing was restored from it."
    try:
        records = _read(file)
        header = _decode(next(records))
        if header.get("format") != FORMAT:
            raise BackupError(f"{path} is no backup of Skyquay.")
        if header["version"] > VERSION or header["schema"] > migrations.MIGRATIONS[-1].number:
            raise BackupError(f"A newer version of Skyquay made {path}: restore it with that one.")
        counts = Counter(str(record["in"]) for record in records)
        contents = Contents(header["schema"], header["made_at"], dict(header["counts"]))
    except (OSError, EOFError, zlib.error, BSONError, LookupError, StopIteration, TypeError) as exc:
        raise BackupError(damaged) from exc
    if counts != Counter(contents.counts) or not counts.keys() <= set(KEPT):
        raise BackupError(damaged)
    return contents


def _check_room(database: Database[dict[str, Any]], contents: Contents, *, replace: bool) -> None:
    """Raise BackupError when there is something in the database that nobody said to replace."""
    # Every database that was made ready has an installation's id, which says nothing yet.
    names = [name for name in contents.counts if name != "settings"]
    there = {name: database[name].find_one({}, {"_id": 1}) for name in names}
    found = [name for name, document in there.items() if document is not None]
    if found and not replace:
        raise BackupError(
            f"The database {database.name} has documents already ({', '.join(found)}). Nothing "
            "was changed; --replace deletes them first."
        )


def _load(database: Database[dict[str, Any]], file: IO[bytes]) -> None:
    """Write all documents, a few at a time, each collection's in turn."""
    records = _read(file)
    next(records)  # the header
    while batch := list(islice(records, _BATCH)):
        for name in dict.fromkeys(str(record["in"]) for record in batch):
            documents = [record["document"] for record in batch if record["in"] == name]
            database.get_collection(name, codec_options=_RAW).insert_many(documents)


def _read(file: IO[bytes]) -> Iterator[RawBSONDocument]:
    """Read the records, but for the last, which is the checksum; the file ends with it.

    Raises EOFError for a file that ends before, OSError, zlib.error or BSONError for a damaged one.
    """
    digest = hashlib.sha256()
    with gzip.GzipFile(fileobj=file, mode="rb") as packed:
        while True:
            head = packed.read(4)
            length = int.from_bytes(head, "little")
            if not 4 < length <= _MAX_RECORD_BYTES:
                raise EOFError
            encoded = head + packed.read(length - 4)
            record = RawBSONDocument(encoded)
            if "sha256" in record:
                break
            digest.update(encoded)
            yield record
        if record["sha256"] != digest.hexdigest() or packed.read(1):
            raise EOFError


def _decode(record: RawBSONDocument) -> dict[str, Any]:
    return bson.decode(record.raw, codec_options=_TIMES)


def _sync_folder(folder: Path) -> None:
    """Have the file's new name on the disk. Some file systems cannot, and need not."""
    with suppress(OSError):
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)
