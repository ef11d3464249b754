"""What of a request is read before its view is called: all that is wrong is one 400."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import wraps
from itertools import islice
from typing import Any, NamedTuple, Protocol

import marshmallow as ma
from flask import Request
from flask.globals import request_ctx
from werkzeug.datastructures import MultiDict

from service.errors import InvalidInput, ServiceError
from service.model.suggestions import suggest
from service.model.wrong_fields import WellFormed, combine

Check = Callable[..., object]
"""Checks what is beyond the form of a request, WellFormed or loaded, with the ids of its path.

It raises InvalidInput for all that is wrong.
"""


class Loader(NamedTuple):
    """What loads a part of a request."""

    schema: ma.Schema
    location: str
    """`json`, the body, or `query`."""
    check: Check | None
    """What else is checked of it, where the request is malformed and so its view is not called."""


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
    view: Callable[..., Any],
    loaders: Sequence[Loader],
    *,
    parser: Parser,
    path: str,
    ignored: Iterable[str] = (),
) -> Callable[..., Any]:
    """Have a view called with what the loaders load, in their order, and with what the path says.

    It raises one InvalidInput for all that they refuse, and for the parameters that none knows and
    that are not `ignored`.
    """
    known = [
        field.data_key or name
        for schema, location, _ in loaders
        if location == "query"
        for name, field in schema.load_fields.items()
    ]
    others = IGNORED.union(IGNORED_AT.get(path, ()), ignored)

    @wraps(view)
    def read_and_call(**ids: object) -> Any:
        request = request_ctx.request
        errors = []
        if request.query_string and (unknown := _find_unknown(request.args, known, others)):
            errors.append(InvalidInput("The request has unknown parameters.", **unknown))
        loaded: list[Any] = []
        for schema, location, _ in loaders:
            try:
                loaded.append(parser.read(schema, request, location=location))
            except InvalidInput as error:
                errors.append(error)
                loaded.append(_find_well_formed(error, schema))
        if errors:
            raise combine([*errors, *_check_rest(loaders, loaded, ids)])
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


def _find_well_formed(error: InvalidInput, schema: ma.Schema) -> WellFormed | None:
    """Take the well-formed fields of what a schema refused; None where that has no fields."""
    refused = error.__cause__
    if not isinstance(refused, ma.ValidationError) or not isinstance(refused.valid_data, dict):
        return None
    malformed = {
        name
        for name, field in schema.load_fields.items()
        if (field.data_key or name) in error.details
    }
    valid = {name: value for name, value in refused.valid_data.items() if name not in malformed}
    complete = getattr(schema, "complete", dict)
    return WellFormed(complete(valid), malformed=malformed)


def _check_rest(
    loaders: Sequence[Loader], loaded: Sequence[Any], ids: Mapping[str, object]
) -> Iterator[InvalidInput]:
    """Check what is well formed of a request that is malformed, as far as that can be done now."""
    for (_, _, check), part in zip(loaders, loaded, strict=True):
        if check is None or part is None:
            continue
        with suppress(ServiceError):  # what is malformed is answered whatever else there is
            try:
                check(part, **ids)
            except InvalidInput as error:
                yield error
