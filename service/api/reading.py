"""What of a request is read before its view is called: all that is wrong is one 400."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from itertools import islice
from typing import Any, Protocol

import marshmallow as ma
from flask import Request
from flask.globals import request_ctx
from werkzeug.datastructures import MultiDict

from service.errors import InvalidInput
from service.model.suggestions import suggest

Loader = tuple[ma.Schema, str]
"""A schema, and where what it loads is: `json`, the body, or `query`."""

IGNORED = frozenset({"_"})
"""Parameters that every endpoint takes and ignores: what programs add to pass caches by."""

IGNORED_AT = {
    "/api/instances": frozenset({"key"}),
    "/nodes/configure": frozenset({"authKey"}),
}
"""What else recorded clients send, by path: Sedar its key, which opens nothing, and skyportd's
`configure` the key of an older panel."""

MOST_NAMED = 20
"""How many unknown parameters an answer names: for each one that is like it is looked for."""


class Parser(Protocol):
    """Reads one part of a request."""

    def read(self, schema: ma.Schema, req: Request, *, location: str) -> Any:
        """Load what was sent. Raises InvalidInput."""


def read_first(
    view: Callable[..., Any], loaders: Sequence[Loader], *, parser: Parser, path: str
) -> Callable[..., Any]:
    """Have a view called with what the loaders load, in their order, and with what the path says.

    It raises one InvalidInput for all that they refuse, and for the parameters that none knows.
    """
    known = [
        field.data_key or name
        for schema, location in loaders
        if location == "query"
        for name, field in schema.load_fields.items()
    ]
    ignored = IGNORED | IGNORED_AT.get(path, frozenset())

    @wraps(view)
    def read_and_call(**ids: object) -> Any:
        request = request_ctx.request
        errors = []
        if request.query_string and (unknown := _find_unknown(request.args, known, ignored)):
            errors.append(InvalidInput("The request has unknown parameters.", **unknown))
        loaded = []
        for schema, location in loaders:
            try:
                loaded.append(parser.read(schema, request, location=location))
            except InvalidInput as error:
                errors.append(error)
        if errors:
            raise _gather(errors)
        return view(*loaded, **ids)

    return read_and_call


def _find_unknown(
    sent: MultiDict[str, str], known: Sequence[str], ignored: Iterable[str]
) -> Mapping[str, list[str]]:
    names = (name for name in sent if name not in known and name not in ignored)
    takes = f"This takes {', '.join(known)}." if known else "This takes none."
    return {
        name: [f"Unknown parameter.{suggest(name, known)} {takes}"]
        for name in islice(names, MOST_NAMED)
    }


def _gather(errors: Sequence[InvalidInput]) -> InvalidInput:
    if len(errors) == 1:
        return errors[0]
    details = {name: reason for error in errors for name, reason in error.details.items()}
    return InvalidInput(f"The request is not valid: {', '.join(sorted(details))}.", **details)
