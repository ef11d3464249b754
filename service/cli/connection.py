"""What commands speak the API through: over HTTP, or with an app in this process."""

import json
import secrets
import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol
from urllib.parse import quote

import click

from service.cli.endpoints import ENDPOINTS
from service.cli.failures import Rejected, Unreachable

BUSY_S = 10.0
"""For how long a request is repeated whose first copy is still carried out."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request to the API."""

    method: str
    path: str
    query: Mapping[str, str | list[str]] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None

    @property
    def may_repeat(self) -> bool:
        """Return whether it does no more when it is carried out twice."""
        return self.method == "GET" or "Idempotency-Key" in self.headers


@dataclass(frozen=True, slots=True)
class Answer:
    """What the API answered."""

    status: int
    text: str
    headers: Mapping[str, str]

    @property
    def json(self) -> Any:
        """Read the body. None if there is none."""
        return json.loads(self.text) if self.text else None

    @property
    def operation_id(self) -> str | None:
        """Return the id of the operation that the API has begun, and not ended."""
        location = self.headers.get("Location", "")
        is_operation = self.status == 202 and "/api/operations/" in location
        return location.rpartition("/")[2] if is_operation else None


class Transport(Protocol):
    """What carries requests to the API."""

    is_local: bool

    def send(self, request: Request, *, wait_s: float = 0) -> Answer:
        """Send a request. `wait_s` is how long the API was asked to wait with its answer.

        Raises Unreachable when there is no answer of the API's.
        """
        ...

    def stream(self, request: Request) -> Generator[bytes, None, Answer]:
        """Yield what is sent of an answer that goes on, until that breaks or is closed.

        Returns any other answer. Raises Unreachable.
        """
        ...


class Connection:
    """The API, as commands call it: by the ids of its operations in the OpenAPI document."""

    def __init__(
        self, transport: Transport, *, as_user: str | None = None, is_verbose: bool = False
    ) -> None:
        self._transport = transport
        self._headers = {} if as_user is None else {"Act-As": as_user}
        self._is_verbose = is_verbose
        self._preconditions: dict[str, dict[str, str]] = {}

    @property
    def is_local(self) -> bool:
        """Return whether it is the database of this machine that is spoken with."""
        return self._transport.is_local

    def require(self, operation: str, etag: str) -> None:
        """Have the operation of that id do something only if its target has this ETag."""
        self._preconditions[operation] = {"If-Match": etag}

    def call(
        self,
        operation: str,
        /,
        *,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        wait_s: float | None = None,
        **names: str,
    ) -> Answer:
        """Call the operation of that id in the OpenAPI document; `names` are those in its path.

        Raises Rejected for an error, and Unreachable.
        """
        asked = dict(query or {})
        if wait_s is not None:
            asked["wait"] = f"{wait_s:g}"
        sent = {**self._preconditions.get(operation, {})}
        if ENDPOINTS[operation][0] == "POST" and not self.is_local:
            sent["Idempotency-Key"] = secrets.token_hex(16)
        request = self._make_request(operation, asked, sent, names, body)
        return self._check(self._send(request, wait_s or 0))

    def stream(
        self,
        operation: str,
        /,
        *,
        query: Mapping[str, Any],
        last_id: str = "",
        **names: str,
    ) -> Generator[bytes, None, None]:
        """Call an operation whose answer goes on, after the event of that id if there is one.

        Raises Rejected for an error, and Unreachable.
        """
        headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last_id} if last_id else {})
        request = self._make_request(operation, query, headers, names)
        self._check((yield from self._transport.stream(request)))

    def _make_request(
        self,
        operation: str,
        query: Mapping[str, Any],
        headers: Mapping[str, str],
        names: Mapping[str, str],
        body: Any = None,
    ) -> Request:
        method, path = ENDPOINTS[operation]
        asked = {name: _print(value) for name, value in query.items()}
        named = {name: quote(text, safe="") for name, text in names.items()}
        return Request(method, path.format(**named), asked, {**self._headers, **headers}, body)

    def _send(self, request: Request, wait_s: float) -> Answer:
        """Send a request until its answer is its own, and not that its first copy still runs."""
        until = time.monotonic() + BUSY_S
        answer = self._transport.send(request, wait_s=wait_s)
        while _find_code(answer) == "idempotency_in_progress" and time.monotonic() < until:
            time.sleep(1)
            answer = self._transport.send(request, wait_s=wait_s)
        if _find_code(answer) == "no_secret_key" and "Idempotency-Key" in request.headers:
            # The server cannot keep what makes repeats safe, and has done nothing.
            headers = {**request.headers}
            del headers["Idempotency-Key"]
            return self._transport.send(replace(request, headers=headers), wait_s=wait_s)
        return answer

    def _check(self, answer: Answer) -> Answer:
        if answer.status < 400:
            return answer
        problem = answer.json
        if not isinstance(problem, dict) or "error" not in problem:
            raise Unreachable(f"What answers is not Skyquay: status {answer.status}.")
        raise Rejected(
            answer.status,
            problem,
            request_id=answer.headers.get("X-Request-Id") if self._is_verbose else None,
            is_local=self.is_local,
        )


def _print(value: Any) -> str | list[str]:
    if isinstance(value, list):
        return [str(each) for each in value]
    return str(value).lower() if isinstance(value, bool) else str(value)


def _find_code(answer: Answer) -> str | None:
    if answer.status < 400:
        return None
    problem = answer.json
    return problem.get("code") if isinstance(problem, dict) else None


class Reference(click.ParamType[str]):
    """An id or a name in a path. It cannot be one that means another path."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Refuse what would name another thing than it says."""
        if value in ("", ".", ".."):
            self.fail(f"{value!r} is no id.", param, ctx)
        return str(value)


REFERENCE = Reference()
