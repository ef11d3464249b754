"""The shape of documents, kept by the database: each `$jsonSchema` is made from model/documents.

Fields that a schema does not know are let through, so that a newer process may run beside an older
one. Whoever changes a shape adds a migration, so that of two versions only the newer one sets it.
"""

import logging
import types
from datetime import datetime
from enum import Enum
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints, is_typeddict

from pymongo.database import Database
from pymongo.errors import OperationFailure

from service.model.documents import (
    AuditEntry,
    DeletedInstance,
    Delivery,
    Drain,
    Event,
    IdempotencyRecord,
    Image,
    Instance,
    Key,
    Leftover,
    Node,
    Operation,
    Removal,
    Sampling,
    Setting,
    User,
    Webhook,
)

log = logging.getLogger(__name__)

Schema = dict[str, Any]

DOCUMENTS: dict[str, type] = {
    "users": User,
    "images": Image,
    "keys": Key,
    "nodes": Node,
    "instances": Instance,
    "deleted_instances": DeletedInstance,
    "operations": Operation,
    "leftovers": Leftover,
    "audit": AuditEntry,
    "settings": Setting,
    "idempotency": IdempotencyRecord,
    "events": Event,
    "removals": Removal,
    "sampling": Sampling,
    "webhooks": Webhook,
    "deliveries": Delivery,
    "drains": Drain,
}
"""What each collection holds. Counts of `failures` and `tickets` are worth no check."""

_UNAUTHORIZED = 13
_NAMESPACE_EXISTS = 48

# A whole number that a client sent may be stored in any of the widths.
_INTEGERS = ["int", "long"]
_PLAIN: dict[object, Schema] = {
    Any: {},
    str: {"bsonType": "string"},
    bool: {"bsonType": "bool"},
    int: {"bsonType": _INTEGERS},
    float: {"bsonType": ["double", *_INTEGERS]},
    datetime: {"bsonType": "date"},
    types.NoneType: {"bsonType": "null"},
}


@cache
def make_validator(collection: str) -> Schema:
    """Make the validator of a collection. It is one for all, so nobody changes it."""
    return {"$jsonSchema": make_schema(DOCUMENTS[collection])}


def make_schema(kind: Any) -> Schema:
    """Describe a type as MongoDB's JSON schema does. Raises TypeError for one that is not known."""
    if kind in _PLAIN:
        return _PLAIN[kind]
    if is_typeddict(kind):
        return _describe_document(kind)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return {"enum": [member.value for member in kind]}
    return _describe_parts(kind, get_args(kind))


def _describe_parts(kind: Any, parts: tuple[Any, ...]) -> Schema:
    origin = get_origin(kind)
    if origin is Literal:
        return {"enum": list(parts)}
    if origin in (Union, types.UnionType):
        return {"anyOf": [make_schema(part) for part in parts]}
    if origin is list:
        return {"bsonType": "array", "items": make_schema(parts[0])}
    if origin is dict:
        return {"bsonType": "object", "additionalProperties": make_schema(parts[1])}
    raise TypeError(f"No validator is known for {kind!r}.")


def _describe_document(kind: Any) -> Schema:
    fields = get_type_hints(kind)
    required = sorted(kind.__required_keys__)
    return {
        "bsonType": "object",
        **({"required": required} if required else {}),  # MongoDB takes no empty list
        "properties": {name: make_schema(hint) for name, hint in fields.items()},
    }


def list_missing(database: Database[dict[str, Any]]) -> list[str]:
    """List the collections that have no validator."""
    there = _read_options(database)
    return [name for name in DOCUMENTS if not there.get(name, {}).get("validator")]


def list_stale(database: Database[dict[str, Any]]) -> list[str]:
    """List the collections whose validator is not the one that model/documents asks for.

    Such a one may refuse what this version writes. None at all refuses nothing.
    """
    there = _read_options(database)
    return [
        name
        for name in DOCUMENTS
        if there.get(name, {}).get("validator")
        and not _make_options(name).items() <= there[name].items()
    ]


def apply(database: Database[dict[str, Any]]) -> None:
    """Have the database refuse new documents out of shape, and changes that would bend one.

    A document that is out of shape already may still be changed. Who may not set validators, which
    takes the role dbAdmin, goes on without: they are a second net.
    """
    for name in [*list_missing(database), *list_stale(database)]:
        options = _make_options(name)
        try:
            try:
                database.create_collection(name, check_exists=False, **options)
            except OperationFailure as exc:
                if exc.code != _NAMESPACE_EXISTS:
                    raise
                database.command("collMod", name, **options)
        except OperationFailure as exc:
            if exc.code != _UNAUTHORIZED:
                raise
            log.warning("the validator of %s cannot be set: that takes the role dbAdmin", name)


def _read_options(database: Database[dict[str, Any]]) -> dict[str, Schema]:
    return {each["name"]: each.get("options", {}) for each in database.list_collections()}


def _make_options(collection: str) -> Schema:
    return {
        "validator": make_validator(collection),
        "validationLevel": "moderate",
        "validationAction": "error",
    }
