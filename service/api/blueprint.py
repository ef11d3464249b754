"""flask-smorest's Blueprint, with this API's way to read requests and to document answers."""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any, ParamSpec, TypeVar
from urllib.parse import quote

import flask_smorest
import marshmallow as ma
from werkzeug import Response

from service.api import etags
from service.api.accepted import Accepted
from service.api.body_parser import Parser
from service.api.call import current_call
from service.api.encoding import json_answer
from service.api.error_docs import PossibleError, describe_errors
from service.api.live_request import TICKET
from service.api.policy import EndpointPolicy
from service.api.reading import Check, Loader, read_first
from service.contract.answers import Answer, compile_shape
from service.contract.base import ErrorAnswer
from service.contract.fields import make_example
from service.errors import InvalidInput

View = TypeVar("View", bound=Callable[..., Any])
Parameters = ParamSpec("Parameters")
Source = TypeVar("Source")

NO_CONTENT = 204
OPEN = (429, 500, 503)
_ETAG: dict[str, Any] = {
    "ETag": {
        "description": "To send as `If-None-Match`; of one resource also as `If-Match`. Lists of "
        "more than 10,000 have none.",
        "schema": {"type": "string"},
    }
}
ALWAYS = (401, 403, *OPEN)
WITH_BODY = (400, 413, 415)

_LOCATED = {"Location": {"description": "Its path.", "schema": {"type": "string"}}}


class Blueprint(flask_smorest.Blueprint):
    """A resource. Its views take what their schemas load, and return what these shape."""

    ARGUMENTS_PARSER = Parser()

    def __init__(self, name: str, import_name: str, **options: Any) -> None:
        super().__init__(name, import_name, **options)
        self.policies: dict[str, EndpointPolicy] = {}
        """By the endpoint's whole name; every view has one."""

    def add_url_rule(
        self, rule: str, endpoint: str | None = None, view_func: Any = None, **options: Any
    ) -> None:
        """Add an endpoint, and its policy. Raises AttributeError for a view without one.

        The name that code generators give its function is the view's: `deployInstance`.
        """
        name = endpoint or view_func.__name__
        whole_name = f"{self.name}.{name}"
        first, *others = name.split("_")
        self.doc(operationId=first + "".join(map(str.capitalize, others)))(view_func)
        self._document_errors(rule, view_func)
        reads = read_first(
            view_func,
            vars(view_func).get("loaders", ()),
            parser=self.ARGUMENTS_PARSER,
            path=f"{self.url_prefix or ''}{rule}",
            ignored={TICKET} if view_func.policy.is_live else (),
        )
        super().add_url_rule(rule, endpoint, reads, **options)
        self.policies[whole_name] = view_func.policy

    def _document_errors(self, rule: str, view: Any) -> None:
        loaders: list[Loader] = vars(view).get("loaders", [])
        for status, described in describe_errors(
            vars(view).get("errors", ()),
            rule=rule,
            scope=view.policy.scope,
            schemas={location: type(schema) for schema, location, _ in loaders},
        ):
            self.alt_response(status, schema=ErrorAnswer, **described)(view)

    def needs(
        self,
        scope: str | None,
        *,
        changes: str | None = None,
        named_by: str | None = None,
        is_live: bool = False,
        can_be_dry: bool = False,
    ) -> Callable[[View], View]:
        """Open an endpoint to keys with this scope only; None: to every key.

        The names are those of `EndpointPolicy`, which says what they mean.
        """
        return self._set_policy(
            EndpointPolicy(
                scope, changes=changes, named_by=named_by, is_live=is_live, can_be_dry=can_be_dry
            )
        )

    def opens(
        self,
        *,
        needs_database: bool = False,
        changes: str | None = None,
        for_monitoring: bool = False,
    ) -> Callable[[View], View]:
        """Open an endpoint to everybody."""
        return self._set_policy(
            EndpointPolicy(
                needs_key=False,
                needs_database=needs_database,
                changes=changes,
                for_monitoring=for_monitoring,
            )
        )

    def _set_policy(self, policy: EndpointPolicy) -> Callable[[View], View]:
        def decorate(view: View) -> View:
            vars(view)["policy"] = policy  # until the route is added, which names the endpoint
            scopes = [policy.scope] if policy.scope else []
            doc: dict[str, Any] = {"security": [{"apiKey": scopes}] if policy.needs_key else []}
            if view.__doc__:
                # Descriptions are Markdown; summaries are not, and would show their backticks.
                doc["summary"] = view.__doc__.partition("\n")[0].replace("`", "")
            return self.doc(**doc)(view)

        return decorate

    def doc(self, **documented: Any) -> Callable[[View], View]:
        """Document a view."""
        return _unwrapped(super().doc(**documented))

    def alt_response(self, *args: Any, **documented: Any) -> Callable[[View], View]:
        """Document an answer of a view."""
        return _unwrapped(super().alt_response(*args, **documented))

    def arguments(
        self,
        schema: type[ma.Schema],
        *,
        location: str = "json",
        check: Check | None = None,
        **options: Any,
    ) -> Callable[[View], View]:
        """Give a view what the schema loads, and document it, a body with its example.

        Of a malformed request `check` finds what else is wrong in it: one error names it all.
        """
        if location == "json":
            options["example"] = make_example(schema)
        document = _unwrapped(super().arguments(schema, location=location, **options))
        loader = Loader(schema(), location, check)

        def decorate(view: View) -> View:
            vars(view)["loaders"] = [loader, *vars(view).get("loaders", ())]
            return document(view)

        return decorate

    def answers(
        self,
        status: int,
        schema: type[Answer[Source]],
        *errors: PossibleError,
        many: bool = False,
        etag: bool = False,
        location: str | None = None,
        accepted: type[Answer[Any]] | None = None,
        example: dict[str, object] | list[dict[str, object]] | None = None,
        description: str,
    ) -> Callable[
        [Callable[Parameters, Source | Sequence[Source] | Accepted | Response]],
        Callable[Parameters, Any],
    ]:
        """Shape what a view returns, and document it and the errors it can give.

        An error is a status, or better its class, which says more.

        `example` is what differs in the example of this answer from the samples of its fields; of
        a list with several items, what differs in each. With an `etag`, of a GET, a client that has
        the answer already gets a 304; what the view returns, unless many, is a stored document.
        With the error 412 the view takes `If-Match`: see `etags.read_precondition`. `location` is
        the path of what was made, with keys of its document in braces. `accepted` shapes what is
        answered with 202, while an operation runs. A view of status 204 answers nothing.

        An error about what the path names, like a NotFound, has its status of the web where that is
        among `errors`; else it is the reference's.
        """
        shape = compile_shape(schema)
        secrets = [n for n, one in schema._declared_fields.items() if one.metadata["secret"]]
        others = example if isinstance(example, list) else [example or {}]
        shown = [make_example(schema, **other) for other in others]

        def decorate(
            view: Callable[Parameters, Source | Sequence[Source] | Accepted | Response],
        ) -> Callable[Parameters, Any]:
            @wraps(view)
            def answer(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Response:
                try:
                    found: Any = view(*args, **kwargs)
                except InvalidInput as error:
                    if error.web_status in errors and f"{error.what}_id" in kwargs:
                        error.status = error.web_status
                    raise
                if isinstance(found, Response):
                    return found
                if isinstance(found, Accepted) and accepted is not None:
                    return found.answer(accepted)
                if status == NO_CONTENT:
                    return _empty_answer()
                shaped: Any = [shape(item) for item in found] if many else shape(found)
                if any(shaped.get(name) is not None for name in secrets):  # which no list has
                    current_call().shows_secret = True
                answered = json_answer(shaped, status)
                if location is not None:
                    answered.headers["Location"] = _locate(location, found)
                return etags.tag(answered, None if many else found) if etag else answered

            described = self.alt_response(
                status,
                schema=None if status == NO_CONTENT else schema(many=many),
                example=None if status == NO_CONTENT else shown if many else shown[0],
                headers=_LOCATED if location else _ETAG if etag else None,
                description=description,
                success=True,
            )(answer)
            if accepted is not None:
                described = self.alt_response(
                    202,
                    schema=accepted,
                    example=make_example(accepted),
                    headers=_LOCATED,
                    description="Its operation, whose path is in `Location`, has not ended.",
                    success=True,
                )(described)
            if etag:
                described = self.alt_response(
                    304, description="As in the answer with this ETag.", headers=_ETAG
                )(described)
            # Until the route is added, with its examples. No endpoint takes any parameter.
            vars(described)["errors"] = tuple(dict.fromkeys((400, *errors)))
            return described

        return decorate


def _empty_answer() -> Response:
    answer = Response(status=NO_CONTENT)
    del answer.headers["Content-Type"]  # of nothing
    return answer


def _locate(pattern: str, document: Mapping[str, object]) -> str:
    """Make the path of a document. Its ids may be any text."""
    names = re.findall(r"{(\w+)}", pattern)
    return pattern.format_map({name: quote(str(document[name]), safe="") for name in names})


def _unwrapped(decorate: Callable[[Any], Any]) -> Callable[[View], View]:
    """Take what flask-smorest's decorator documents of a view, without what it calls it through.

    A view with its answers' errors would be called through ten functions that do nothing else.
    """

    def document(view: View) -> View:
        # Given the view itself, it would copy all that is documented already, for each answer.
        added = vars(decorate(lambda: None))["_apidoc"]
        vars(view)["_apidoc"] = _join(vars(view).get("_apidoc", {}), added)
        return view

    return document


def _join(first: Any, second: Any) -> Any:
    """Join what is documented: objects by their names, and lists one after the other."""
    if isinstance(first, dict) and isinstance(second, dict):
        joined = {name: _join(first[name], second[name]) for name in first.keys() & second.keys()}
        return {**first, **second, **joined}
    return first + second if isinstance(first, list) and isinstance(second, list) else second
