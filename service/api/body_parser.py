"""What requests send, read: JSON bodies strictly, and queries."""

from typing import Any, NoReturn

import marshmallow as ma
import orjson
from flask import Request
from webargs import core
from webargs.flaskparser import FlaskParser
from werkzeug.exceptions import UnsupportedMediaType

from service.errors import InvalidInput

MAX_DEPTH = 20
"""How deep a body's objects and lists may be nested."""

MAX_VALUES = 5000
"""How many values all of a body's objects and lists may have."""


class Parser(FlaskParser):
    """Reads JSON bodies strictly, whatever the content type is, as long as it is none or JSON."""

    DEFAULT_VALIDATION_STATUS = 400

    def read(self, schema: ma.Schema, req: Request, *, location: str) -> Any:
        """Load what was sent, in the body or in the query. Raises InvalidInput.

        A body goes to the schema at once: webargs takes as long as all of marshmallow.
        """
        if location != "json":
            return self.parse(schema, req, location=location)
        body: Any = self._raw_load_json(req)
        try:
            return schema.load({} if body is core.missing else body)
        except ma.ValidationError as exc:
            self._on_validation_error(
                exc, req, schema, location, error_status_code=None, error_headers=None
            )

    def _raw_load_json(self, req: Request) -> object:
        body = req.get_data(cache=True)
        if not body.strip():
            return core.missing
        if req.mimetype and not req.is_json:
            raise UnsupportedMediaType("The body must be JSON (Content-Type: application/json).")
        try:
            loaded = orjson.loads(body)
        except orjson.JSONDecodeError as exc:
            raise InvalidInput("The body is not valid JSON.", body=[str(exc)]) from exc
        if not isinstance(loaded, dict):
            raise InvalidInput("The body is not valid.", body=["Must be a JSON object."])
        depth, size = _measure(loaded)
        if depth > MAX_DEPTH:
            raise InvalidInput("The body is not valid.", body=["Is nested too deeply."])
        if size > MAX_VALUES:
            raise InvalidInput("The body is not valid.", body=["Has too many values."])
        return loaded

    def handle_error(
        self, error: ma.ValidationError, req: Request, schema: ma.Schema, **kwargs: Any
    ) -> NoReturn:
        """Raise InvalidInput, which names the fields."""
        messages: dict[str, Any] = {}
        for by_field in error.messages_dict.values():  # by location: json or query
            messages.update(by_field if isinstance(by_field, dict) else {"body": by_field})
        fields = ", ".join(sorted(str(name) for name in messages))
        raise InvalidInput(f"The request is not valid: {fields}.", **messages) from error


def _measure(value: dict[str, Any]) -> tuple[int, int]:
    """Count how deep objects and lists are nested, and how many values there are in them."""
    depth = size = 0
    layer: list[Any] = [value]
    while layer:
        depth += 1
        size += sum(map(len, layer))
        layer = [
            inner
            for outer in layer
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, (dict, list))
        ]
    return depth, size
