"""What the OpenAPI document says beyond what views and schemas say one by one.

Parameters of paths and headers are described here once, for all operations that have them.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any

import marshmallow as ma
import orjson
from apispec import APISpec

from service.api.error_docs import list_codes
from service.contract import fields
from service.contract.answers import Json
from service.contract.webhooks import DELIVERY_ID, WEBHOOK_ID

INFO = {
    "description": """One API for users, instances (containers), images and nodes.

Requests with a lock need an API key in the header `x-api-key`: press **Authorize**. Every error is
`{"error": "<sentence>", "code": "<snake_case>", "details": {...}}`; a 400 names the fields.

The examples work as they are on a new installation (`skyquay up`). At `/docs/` the ids of
instances, operations and keys in them are replaced by those that the page itself made last.
""",
    "contact": {"name": "The Skyquay founders"},
    "license": {"name": "Apache License 2.0", "identifier": "Apache-2.0"},
}
SERVERS = [{"url": "/", "description": "The Skyquay that serves this document."}]

# The name in the path, what it means, and an example.
PATH_PARAMETERS = {
    "instance_id": ("The instance's `Id`, or its container's.", fields.INSTANCE_ID),
    "operation_id": ("The operation's `id`.", fields.OPERATION_ID),
    "image_id": ("The image's `Id` or name.", fields.IMAGE),
    "node_id": ("The node's `id` or name.", fields.NODE),
    "user_id": ("The user's `userId`.", fields.USER),
    "key_id": ("The key's `id`, not its value.", fields.KEY_ID),
    "webhook_id": ("The webhook's `id`.", WEBHOOK_ID),
    "delivery_id": ("The delivery's `id`.", DELIVERY_ID),
}


@dataclass(frozen=True)
class Header:
    """A header of answers, and which have it: a function of the status and the operation."""

    type: str
    description: str
    is_sent: Callable[[str, Json], bool]


def _is_limited(_: str, operation: Json) -> bool:
    return "429" in operation["responses"]


def _is_page(status: str, operation: Json) -> bool:
    names = {parameter["name"] for parameter in operation.get("parameters", [])}
    return status == "200" and {"limit", "cursor"} <= names


def _is_list(status: str, operation: Json) -> bool:
    names = {parameter["name"] for parameter in operation.get("parameters", [])}
    return status == "200" and {"limit", "cursor", "sort"} <= names


HEADERS = {
    "Link": Header("string", 'The path of the next page, with `rel="next"` (RFC 8288).', _is_page),
    "X-Total-Count": Header(
        "integer", "How long the whole list is, where that costs nothing.", _is_list
    ),
    "X-Request-Id": Header(
        "string",
        "The request's id, which the log has too: that of the request's own header "
        "`X-Request-Id`, or a new one.",
        lambda *_: True,
    ),
    "RateLimit-Limit": Header(
        "integer", "How many requests a minute may have, where they are limited.", _is_limited
    ),
    "RateLimit-Remaining": Header(
        "integer", "How many may still come before the limit begins anew.", _is_limited
    ),
    "RateLimit-Reset": Header("integer", "In how many seconds the limit begins anew.", _is_limited),
    "Retry-After": Header(
        "integer",
        "How many seconds to wait before trying again.",
        lambda status, _: status in ("429", "503"),
    ),
    "Location": Header("string", "Where to go on.", lambda status, _: status == "302"),
}


IF_MATCH: Json = {
    "name": "If-Match",
    "in": "header",
    "description": "The `ETag` of the resource: change it only while it is still as it was then. "
    "Weak ones never match; `*` is any state.",
    "schema": {"type": "string"},
}
"""Taken by each operation that may be answered 412."""


def prepare(spec: APISpec, converter: Any) -> None:
    """Have the document name the enumerations, the codes of errors, and the headers."""

    def name_enumeration(_: Any, field: ma.fields.Field[Any], ret: Json) -> Json:
        if not isinstance(field, ma.fields.Enum):
            return {}
        for key in ("type", "enum"):
            ret.pop(key, None)
        reference = {"$ref": _add_enumeration(spec, field.enum)}
        return {"anyOf": [reference, {"type": "null"}]} if field.allow_none else reference

    def name_alternatives(used: Any, field: ma.fields.Field[Any], **_: Any) -> Json:
        kinds = field.metadata.get("alternatives", ())
        return {"anyOf": [used.resolve_nested_schema(kind) for kind in kinds]} if kinds else {}

    converter.add_attribute_function(name_enumeration)
    converter.add_attribute_function(name_alternatives)
    spec.components.schema(
        "ErrorCode",
        {
            "type": "string",
            "description": "What went wrong, for programs. Later versions may have more.",
            "enum": list_codes(),
        },
    )
    for name, header in HEADERS.items():
        schema = {"type": header.type}
        spec.components.header(name, {"description": header.description, "schema": schema})


def complete(document: Json) -> Json:
    """Add what no view says: descriptions of what is in paths, headers, and defaults in words."""
    schemas = document["components"]["schemas"]
    schemas["ErrorAnswer"]["properties"]["code"] = {"$ref": "#/components/schemas/ErrorCode"}
    for schema in schemas.values():
        for field in schema.get("properties", {}).values():
            _describe_default(field)
    for parameter in _list_parameters(document):
        if parameter["in"] == "path":
            meaning, example = PATH_PARAMETERS[parameter["name"]]
            parameter.update(description=meaning, example=example)
        else:
            _leave_out_null(parameter["schema"])
    document["components"].setdefault("parameters", {})["IfMatch"] = IF_MATCH
    for path in document["paths"].values():
        for operation in _list_operations(path):
            for status, answer in operation["responses"].items():
                answer.setdefault("headers", {}).update(
                    (name, {"$ref": f"#/components/headers/{name}"})
                    for name, header in HEADERS.items()
                    if header.is_sent(status, operation)
                )
            if "412" in operation["responses"]:
                reference = {"$ref": "#/components/parameters/IfMatch"}
                operation.setdefault("parameters", []).append(reference)
    return document


def _add_enumeration(spec: APISpec, kind: type[Enum]) -> str:
    name = kind.__name__
    if name not in spec.components.schemas:
        meaning = (kind.__doc__ or "").partition("\n")[0]
        values = [member.value for member in kind]
        spec.components.schema(name, {"type": "string", "description": meaning, "enum": values})
    return f"#/components/schemas/{name}"


def _describe_default(field: Json) -> None:
    """Say a default in words: generators take a field that has one for one that is always there."""
    default = field.pop("default", None)
    if default is not None:
        said = f"Default: `{orjson.dumps(default).decode()}`."
        field["description"] = f"{field.get('description', '')} {said}".strip()


def _leave_out_null(schema: Json) -> None:
    """A query has no null: what is not said is left out."""
    if schema.get("default", "") is None:
        del schema["default"]
    kinds = schema.get("type")
    if isinstance(kinds, list):
        kinds = [kind for kind in kinds if kind != "null"]
        schema["type"] = kinds[0] if len(kinds) == 1 else kinds
    if "enum" in schema:
        schema["enum"] = [value for value in schema["enum"] if value is not None]


def _list_operations(path: Json) -> list[Json]:
    return [operation for method, operation in path.items() if method != "parameters"]


def _list_parameters(document: Json) -> Iterator[Json]:
    for path in document["paths"].values():
        yield from path.get("parameters", [])
        for operation in _list_operations(path):
            yield from operation.get("parameters", [])
