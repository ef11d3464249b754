"""The daemon's calls, and what its answers mean.

A 404 of a container counts only when the daemon can list containers, because it answers the same
when Docker is down.
"""

import re
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import requests
import structlog

from service.drivers import Authorize, reasons
from service.drivers.answers import read_json, read_text
from service.drivers.bounds import MAX_LIST_BYTES, Bounds
from service.drivers.dialing import Dialer, DialingAdapter
from service.drivers.log_lines import FindRun, LogStream
from service.drivers.skyportd import console, timing
from service.drivers.skyportd.files import ERASE_TIMEOUT_S, Said
from service.errors import NodeFailure, NodeRefused, NodeUnreachable
from service.model.printed_lines import LogLine

USER = "Skyport"
GONE = 404
_CONFLICT = 409
_NOT_MODIFIED = 304
_OK = range(200, 300)
_READING = re.compile(r"/|/instances(/[^/]+)?|/state/[^/]+|/stats|/fs/[^/]+/files")
"""The paths whose GET changes nothing. Others delete."""

_INNER = re.compile(r"\(HTTP code (\d{3})\) [^-]*- (.*)", re.DOTALL)
_BROKEN = (
    "The daemon's state file is broken. Stop the daemon, write {} into storage/states.json, and "
    "start it again."
)


def translate(node_id: str, exc: Exception) -> NodeFailure:
    """Turn what calls of the daemon raise into an error of ours."""
    return reasons.translate(node_id, exc, who="The daemon", what="skyportd")


class Client:
    """One daemon, over HTTP or HTTPS, and WebSockets for its console."""

    def __init__(
        self,
        dialer: Dialer,
        *,
        base_url: str,
        key: str,
        connect_timeout_s: float,
        read_timeout_s: float,
        authorize: Authorize,
    ) -> None:
        """Remember where the daemon is, such as http://host:3002, and its key."""
        self.node_id = dialer.node_id
        self._dialer = dialer
        self._base_url = base_url.rstrip("/")
        self._key = key
        self._connect_timeout_s = connect_timeout_s
        self._read_timeout_s = read_timeout_s
        self._authorize = authorize
        self._session = requests.Session()  # which does not retry: some of its GETs delete
        self._session.trust_env = False  # a node is never behind the proxy of our surroundings
        self._session.auth = (USER, key)
        request_id = structlog.contextvars.get_contextvars().get("request_id")
        if request_id:  # who asked for the operation that this is a part of
            self._session.headers["X-Request-Id"] = request_id
        self._bounded = DialingAdapter(dialer, Bounds(max_bytes=MAX_LIST_BYTES))
        self._session.mount("http://", self._bounded)
        self._session.mount("https://", self._bounded)

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    @contextmanager
    def within(self, beyond_connecting_s: float) -> Iterator[None]:
        """Bound what all calls together may take, not each."""
        with self._bounded.within(self._connect_timeout_s + beyond_connecting_s):
            yield

    def call(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        read_timeout_s: float | None = None,
    ) -> requests.Response:
        """Send one request, once; one that may change something only if that is authorized.

        Raises NodeUnreachable without an answer, NodeRefused for 401.
        """
        if method != "GET" or not _READING.fullmatch(path):
            self._authorize()
        try:
            answer = self._session.request(
                method,
                f"{self._base_url}{path}",
                json=body,
                timeout=(self._connect_timeout_s, read_timeout_s or self._read_timeout_s),
                allow_redirects=False,
            )
        except Exception as exc:
            raise translate(self.node_id, exc) from exc
        if answer.status_code == requests.codes.unauthorized:
            raise NodeRefused(self.node_id, "The daemon does not accept the node's key.")
        return answer

    def require_object(self, answer: requests.Response) -> dict[str, Any]:
        """Read an answer that is a JSON object. Raises NodeFailure for any other."""
        body = read_body(answer)
        if not is_ok(answer) or not isinstance(body, dict):
            raise NodeFailure(self.node_id, explain(answer)[1])
        return body

    def inspect(self, instance_id: str) -> dict[str, Any] | None:
        """Ask Docker about a container. None only when the daemon can list those that there are."""
        answer = self.call("GET", f"/instances/{_quote(instance_id)}")
        if is_ok(answer):
            container = self.require_object(answer)
            if not isinstance(container.get("State"), dict):
                raise NodeFailure(self.node_id, "What answers there is no skyportd.")
            return container
        if answer.status_code != GONE:
            raise NodeFailure(self.node_id, explain(answer)[1])
        self.list_containers()
        return None

    def list_containers(self) -> list[dict[str, Any]]:
        """Have Docker list all containers of the node, whoever made them."""
        answer = self.call("GET", "/instances")
        found = read_body(answer)
        if not is_ok(answer) or not isinstance(found, list):
            raise NodeFailure(self.node_id, f"Docker is not there: {explain(answer)[1]}")
        return [container for container in found if isinstance(container, dict)]

    def read_state(self, instance_id: str) -> str:
        """Return what the daemon's state file says of an instance. Raises NodeFailure: broken."""
        answer = self.call("GET", f"/state/{_quote(instance_id)}")
        body = read_body(answer)
        state = body.get("state") if isinstance(body, dict) else None
        if not is_ok(answer) or not isinstance(state, str):
            raise NodeFailure(self.node_id, _BROKEN)
        return state

    def require_state_file(self, instance_id: str = "skyquay") -> None:
        """Raise NodeFailure when the state file is broken, not when it is just being written."""
        deadline = time.monotonic() + timing.GLITCH_S
        while True:
            try:
                self.read_state(instance_id)
            except NodeUnreachable:
                raise
            except NodeFailure:
                if time.monotonic() >= deadline:
                    raise
                time.sleep(timing.POLL_S)
            else:
                return

    def change_power(self, instance_id: str, verb: str, *, timeout_s: float | None = None) -> None:
        """Have a container started, stopped, killed or unpaused. One that is so already is fine."""
        path = f"/instances/{_quote(instance_id)}/{verb}"
        answer = self.call("POST", path, read_timeout_s=timeout_s)
        if is_ok(answer) or answer.status_code == _NOT_MODIFIED:
            return
        inner, reason = explain(answer)
        if inner == _NOT_MODIFIED or (inner == _CONFLICT and "is not running" in reason):
            return  # it is as it should be
        if inner == GONE:
            raise NodeRefused(self.node_id, f"There is no container {instance_id} on the node.")
        kind = NodeRefused if inner == 400 else NodeFailure
        raise kind(self.node_id, reason)

    def ask_to_delete(self, instance_id: str) -> requests.Response:
        """Have the daemon kill and remove a container, which may take a moment more."""
        return self.call("GET", f"/instances/{_quote(instance_id)}/delete")

    def delete_container(self, instance_id: str) -> None:
        """Kill and remove the container, whatever its state, until it is gone."""
        deadline = time.monotonic() + self._read_timeout_s
        while self.inspect(instance_id) is not None:
            answer = self.ask_to_delete(instance_id)
            inner, reason = GONE, "The node says that it removed the container, and did not."
            if not is_ok(answer):
                inner, reason = explain(answer)
            if inner not in (GONE, _CONFLICT) or time.monotonic() > deadline:
                raise NodeFailure(self.node_id, reason)
            if not is_ok(answer):
                time.sleep(timing.POLL_S)  # gone by now, or on its way out

    def ask_files(self, method: str, path: str) -> Said:
        """Send a call about files. One without an answer raises only when the daemon is away."""
        try:
            answer = self.call(method, path, read_timeout_s=ERASE_TIMEOUT_S)
        except NodeUnreachable as exc:
            self.list_containers()
            return Said(False, None, exc.reason)
        body = read_body(answer)
        message = body.get("message") if isinstance(body, dict) else None
        reason = message if isinstance(message, str) else explain(answer)[1]
        return Said(is_ok(answer), body, reason)

    def read_console(self, instance_id: str) -> str:
        """Read what the console shows of a container's output. Raises ConsoleError."""
        return console.read_last(
            self._dialer,
            self._console_url(instance_id),
            self._key,
            timeout_s=self._connect_timeout_s,
        )

    def follow_console(
        self, instance_id: str, find_run: FindRun, stream: LogStream, *, tail: int
    ) -> Generator[LogLine | None, None, None]:
        """Follow what the console shows. Raises NodeUnreachable."""
        url = self._console_url(instance_id)
        timeout_s = self._connect_timeout_s
        try:
            yield from console.follow(
                self._dialer, url, self._key, find_run, stream, tail=tail, timeout_s=timeout_s
            )
        except console.ConsoleError as exc:
            raise NodeUnreachable(self.node_id, f"The console does not answer: {exc}") from exc

    def read_sample(self, instance_id: str) -> dict[str, Any]:
        """Read what a container uses. Raises ConsoleError, and ValueError for what is no object."""
        url = f"{self._console_url(instance_id, 'stats')}/{_quote(instance_id)}"
        text = console.read_sample(self._dialer, url, self._key, timeout_s=self._connect_timeout_s)
        sample = read_json(text.encode())
        if not isinstance(sample, dict):
            raise ValueError("A sample is an object.")
        return sample

    def write_console(self, instance_id: str, line: str) -> None:
        """Write a line to a container's program. Raises ConsoleError."""
        self._authorize()
        console.write_line(
            self._dialer,
            self._console_url(instance_id),
            self._key,
            line,
            timeout_s=self._connect_timeout_s,
        )

    def _console_url(self, instance_id: str, kind: str = "exec") -> str:
        return f"ws{self._base_url.removeprefix('http')}/{kind}/{_quote(instance_id)}"


def is_ok(answer: requests.Response) -> bool:
    """Return whether the daemon did what it was asked to."""
    return answer.status_code in _OK


def read_body(answer: requests.Response) -> object:
    """Read an answer's JSON; None for one that has none."""
    try:
        return read_json(answer.content)
    except ValueError:
        return None


def explain(answer: requests.Response) -> tuple[int, str]:
    """Read an error, whatever it is: Docker's own status where there is one, and the reason."""
    body = read_body(answer)
    text = None
    if isinstance(body, dict):
        text = body.get("message") or body.get("error")
    if not isinstance(text, str):
        return answer.status_code, f"The daemon answered {answer.status_code}."
    match = _INNER.match(text)
    status, reason = (int(match[1]), match[2]) if match else (answer.status_code, text)
    return status, read_text(reason.strip())


def _quote(part: str) -> str:
    return quote(part, safe="")
