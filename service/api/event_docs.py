"""The catalogue of events in the OpenAPI document: its section of webhooks."""

from service.api.event_resources import ANSWERS
from service.contract.answers import Json
from service.model.events import TYPES

_REFERENCE = "#/components/schemas/"


def list_webhooks() -> Json:
    """Describe what is sent of each type of event, by its name."""
    return {name: {"post": _describe(name, meaning)} for name, meaning in TYPES.items()}


def _describe(name: str, meaning: str) -> Json:
    return {
        "tags": ["events"],
        "summary": meaning.replace("`", ""),
        "description": meaning,
        "operationId": _name_operation(name),
        "security": [],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": _make_schema(name)}},
        },
        "responses": {"2XX": {"description": "It was received."}},
    }


def _name_operation(name: str) -> str:
    kind, _, happened = name.partition(".")
    return f"on{kind.capitalize()}{happened.capitalize()}"


def _make_schema(name: str) -> Json:
    """Make the schema of an event: one as `listEvents` answers it, of this very type."""
    answer = ANSWERS.get(name.partition(".")[0])
    resource = (
        {"type": "null"}
        if answer is None
        else {"anyOf": [{"$ref": f"{_REFERENCE}{answer.__name__}"}, {"type": "null"}]}
    )
    own = {"type": "object", "properties": {"type": {"const": name}, "resource": resource}}
    return {"allOf": [{"$ref": f"{_REFERENCE}EventAnswer"}, own]}
