"""Which documents a list has, and in which version each is, without reading the documents.

A version is `_id`, `created_at`, `revision` and, of an instance, `node_id`. It is another after
each write, and read from an index that has all of it. Ids may be given again, as those of users,
but not at the same time.
"""

from collections.abc import Iterator, Mapping
from contextlib import closing
from itertools import islice
from typing import Any

import bson
from bson.codec_options import CodecOptions

from service.store.revised import RevisedCollection

Version = bytes
"""The version of a document, as BSON. Two that are equal are of one document in one state."""

LISTED = [("created_at", 1), ("_id", 1), ("revision", 1)]
"""The end of each index that a list is read from."""

BATCH = 2000
"""How many versions are read at a time: some hundred kilobytes."""

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


def decode(version: Version) -> dict[str, Any]:
    """Read the fields of a version."""
    return bson.decode(version, codec_options=_TIMES)


def is_of(document: Mapping[str, Any], fields: Mapping[str, Any]) -> bool:
    """Return whether the document is in the version with these fields."""
    # An index has null for what a document lacks.
    return all(document.get(name) == value for name, value in fields.items())
