"""Which documents a list has, and in which version each is, without reading the documents.

A version is `_id`, `created_at`, `revision` and, of an instance, `node_id`. It is another after
each write, and read from an index that has all of it. Ids may be given again, as those of users,
but not at the same time.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import closing
from itertools import islice
from typing import Any, Protocol

import bson
from bson.codec_options import CodecOptions
from pymongo.errors import AutoReconnect

from service.store.revised import RevisedCollection

Version = bytes
"""The version of a document, as BSON. Two that are equal are of one document in one state."""

Versions = bytes
"""Versions that were read at once, as a BSON array: its length, then each with its number."""

_FIRST = 4
"""Where the first of them begins."""

Place = tuple[object, bytes]
"""Some versions in a row as they are in such an array, and the `_id` before them."""


class Ended(Protocol):
    """What is known of some versions in a row."""

    @property
    def last_id(self) -> object: ...


LISTED = [("created_at", 1), ("_id", 1), ("revision", 1)]
"""The end of each index that a list is read from."""

BATCH = 2000
"""How many versions are read at a time: some hundred kilobytes."""

_NODE_ID = re.compile(rb"\x02node_id\0.{4}([^\0]*)\0", re.DOTALL)
"""A string of this name, with its length before it: how BSON writes it."""

_TIMES = CodecOptions[dict[str, Any]](tz_aware=True)


def read(
    collection: RevisedCollection, query: Mapping[str, Any], fields: tuple[str, ...]
) -> Iterator[list[Version]]:
    """Read the versions of what the query finds, oldest first, a batch at a time.

    A document that is changed meanwhile may come twice in a row: in the index it moves on.
    """
    cursor = collection.find_raw(query, dict.fromkeys(fields, 1), sort=LISTED[:2], batch_size=BATCH)
    with closing(cursor):
        while batch := [bytes(document.raw) for document in islice(cursor, BATCH)]:
            yield batch


def read_short(
    collection: RevisedCollection, query: Mapping[str, Any], fields: tuple[str, ...], limit: int
) -> Versions | None:
    """Read the same at once, without an object for each; None when there are more than `limit`."""
    command = {
        "find": collection.name,
        "filter": query,
        "projection": dict.fromkeys(fields, 1),
        "sort": dict(LISTED[:2]),
        "limit": limit + 1,
        "batchSize": limit + 1,
        "singleBatch": True,
    }
    try:
        batch = collection.find_batch(command)
    except AutoReconnect:  # of commands pymongo itself repeats none, of reads all
        batch = collection.find_batch(command)
    # One too many has this number. It is looked for first, as taking all apart takes its time.
    is_maybe_long = b"\x03%d\0" % limit in batch
    return None if is_maybe_long and len(split(batch)) > limit else batch


def split(short: Versions) -> list[Version]:
    """Take versions apart that were read at once."""
    return _split(short, _FIRST, None)[0]


def take_apart(
    short: Versions, size: int, known: Mapping[Place, Ended]
) -> Iterator[tuple[Place, list[Version]]]:
    """Take apart what is not `known` of versions that were read at once, `size` of them at a time.

    What is known comes with no versions. It was taken apart here before, so it is enough to guess
    where it ends: whatever has the same beginning and the same bytes is the same.
    """
    at, number, last_id = _FIRST, 0, None
    while at < len(short) - 1:
        number += size
        end = short.find(b"\0\x03%d\0" % number, at) + 1 or len(short) - 1
        place: Place = last_id, short[at:end]
        if (before := known.get(place)) is not None:
            last_id = before.last_id
            yield place, []
        else:
            found, end = _split(short, at, size)
            place, last_id = (last_id, short[at:end]), decode(found[-1])["_id"]
            yield place, found
        at = end


def _split(short: Versions, at: int, count: int | None) -> tuple[list[Version], int]:
    """Take so many apart, or all; return where the next begins too."""
    found: list[Version] = []
    end = len(short) - 1
    while at < end and len(found) != count:
        begin = short.index(0, at) + 1  # after the kind of the element and its number
        at = begin + int.from_bytes(short[begin : begin + 4], "little")
        found.append(short[begin:at])
    return found, at


def list_node_ids(versions: Versions) -> set[str]:
    """List the `node_id`s of versions of instances that were read at once."""
    return {node_id.decode() for node_id in set(_NODE_ID.findall(versions))}


def decode(version: Version) -> dict[str, Any]:
    """Read the fields of a version."""
    return bson.decode(version, codec_options=_TIMES)


def is_of(document: Mapping[str, Any], fields: Mapping[str, Any]) -> bool:
    """Return whether the document is in the version with these fields."""
    # An index has null for what a document lacks.
    return all(document.get(name) == value for name, value in fields.items())
