"""What the OpenAPI document says of the header `Idempotency-Key`, at each path that takes it."""

from typing import Any

from werkzeug.routing import Map

from service.api.endpoints import POLICIES
from service.api.idempotency import HEADER, REPLAYED, VALUE

Json = dict[str, Any]

_PARAMETER = {
    "in": "header",
    "name": HEADER,
    "description": "Any text of your own for this request: its repeats are then answered like it, "
    "and nothing is done twice. Kept 24 hours.",
    "schema": {"type": "string", "pattern": f"^{VALUE}$"},
}
_REPLAYED = {
    "description": "There, and true, when an earlier request did this.",
    "schema": {"type": "boolean"},
}
_ERRORS = {
    "400": ("The `Idempotency-Key` is not valid.", "invalid_input"),
    "409": ("The same request is being carried out, or did what cannot be answered twice.",
            "idempotency_in_progress"),
    "422": ("The `Idempotency-Key` was sent with another path or body.", "idempotency_key_reused"),
}  # fmt: skip


def describe(document: Json, rules: Map) -> None:
    """Add the header, and what may be answered because of it, to the document."""
    parameters = document["components"].setdefault("parameters", {})
    parameters["IdempotencyKey"] = _PARAMETER
    for rule in rules.iter_rules():
        policy = POLICIES[rule.endpoint]
        if "POST" in (rule.methods or ()) and policy.changes is not None and policy.needs_key:
            path = rule.rule.replace("<", "{").replace(">", "}")
            _describe_operation(document["paths"][path]["post"])


def _describe_operation(operation: Json) -> None:
    parameters = operation.setdefault("parameters", [])
    parameters.append({"$ref": "#/components/parameters/IdempotencyKey"})
    responses = operation["responses"]
    for status, (text, code) in _ERRORS.items():
        content = {
            "schema": {"$ref": "#/components/schemas/ErrorAnswer"},
            "example": {"error": text, "code": code, "details": {}},
        }
        responses.setdefault(
            status, {"description": text, "content": {"application/json": content}}
        )
    for status, answer in responses.items():
        if status.startswith("2"):
            answer.setdefault("headers", {})[REPLAYED] = _REPLAYED
    operation["responses"] = dict(sorted(responses.items()))
