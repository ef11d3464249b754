"""The errors of each operation as the OpenAPI document has them, with examples that are its own."""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import marshmallow as ma

from service.contract import fields
from service.contract.answers import Json
from service.contract.error_catalogue import CATALOGUE, OF_NGINX
from service.errors import NodeFailure, NotFound, ServiceError

PossibleError = int | type[ServiceError]
"""What a view says of an error that it can give: the status, or better the error itself."""

REASONS = {
    400: ("Something in the request is wrong or unknown.", "invalid_input"),
    401: ("The API key is missing or not valid.", "unauthorized"),
    403: ("The API key is valid, but may not do this.", "forbidden"),
    404: ("There is no such thing.", "not_found"),
    409: ("It conflicts with something that exists.", "conflict"),
    410: ("What is asked for is forgotten already.", "cursor_too_old"),
    412: ("It was changed since `If-Match` was true of it.", "precondition_failed"),
    413: ("The body is too large.", "request_entity_too_large"),
    415: ("The body is not JSON.", "unsupported_media_type"),
    422: (
        "The request is another than its `Idempotency-Key` stands for.",
        "idempotency_key_reused",
    ),
    429: ("Too many requests; try again after `Retry-After` seconds.", "too_many_requests"),
    500: ("Something went wrong on a node or in the service.", "internal_error"),
    503: ("The database does not answer, or too many wait; try again.", "database_unavailable"),
}
"""What an error of a status means where the view does not say more, and its code."""


def list_codes() -> list[str]:
    """List every code that an error can have, sorted: those of nginx before Skyquay too."""
    return sorted({entry.code for entry in (*CATALOGUE, *OF_NGINX)})


def describe_errors(
    possible: Sequence[PossibleError],
    *,
    rule: str,
    scope: str | None,
    schemas: dict[str, type[ma.Schema]],
) -> Iterator[tuple[int, Json]]:
    """Describe the errors of a view, a status at a time, with an example each.

    `schemas` has what loads the body ("json") and the query.
    """
    named = defaultdict[int, list[type[ServiceError]]](list)
    for error in possible:
        if isinstance(error, int):
            named.setdefault(error, [])
        else:
            named[error.status].append(error)
    for status, errors in named.items():
        text, code = REASONS[status]
        example: Json = {"error": text, "code": code, "details": {}}
        if status == 400:
            example.update(_make_invalid(rule, schemas, is_unknown=404 not in named))
        elif status == 404:
            example.update(_make_unknown(rule))
        elif status == 403 and scope:
            example["details"] = {"scope": [scope]}
        elif errors:
            example.update(_make_example(errors[0]))
        lines = [f"- `{error.code}`: {_explain(error)}" for error in errors]
        yield status, {"description": "\n".join([text, *lines]), "example": example}


def _make_example(error: type[ServiceError]) -> Json:
    details = {"nodeId": fields.NODE_ID} if issubclass(error, NodeFailure) else {}
    return {"error": _explain(error), "code": error.code, "details": details}


def _make_invalid(rule: str, schemas: dict[str, type[ma.Schema]], *, is_unknown: bool) -> Json:
    """Make what is answered to a request of this very operation with one thing wrong in it.

    `is_unknown`: it is a 400 too where what the path names does not exist, as in the reference.
    """
    body, query = schemas.get("json"), schemas.get("query")
    if body and (problems := body().validate({})):
        return _name_field(problems)
    if is_unknown and (unknown := _make_unknown(rule)):
        return unknown
    for schema, wrong in ((query, "?"), (body, [])):
        if schema is None:
            continue
        for name, field in schema().load_fields.items():
            if problems := schema().validate({field.data_key or name: wrong}):
                return _name_field(problems)
    return _name_field({"pretty": ["Unknown parameter. This takes none."]})


def _make_unknown(rule: str) -> Json:
    """Make what is answered where there is nothing of the id in the path, if there is one in it."""
    match = re.search(r"<(?:\w+:)?(\w+)_id>", rule)
    if match is None:
        return {}
    error = NotFound(match[1], "nothing")
    return {"error": error.message, "code": error.code, "details": error.details}


def _name_field(problems: dict[Any, Any]) -> Json:
    name, reasons = next(iter(problems.items()))
    return {"error": f"The request is not valid: {name}.", "details": {name: reasons}}


def _explain(error: type[ServiceError]) -> str:
    return (error.__doc__ or "").partition("\n")[0].partition(" `details`")[0]


def _walk(error: type[ServiceError]) -> Iterator[type[ServiceError]]:
    yield error
    for child in error.__subclasses__():
        yield from _walk(child)
