"""How a Docker Engine is called: a client with bounds, and what its errors mean."""

import math
import re
import socket
import struct
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

import docker
import requests
import urllib3
from docker.errors import APIError, DockerException, InvalidVersion, NotFound
from docker.utils.decorators import check_resource

from service.drivers import MAX_LOG_BYTES, Authorize, always, reasons
from service.drivers.answers import read_json, read_text
from service.drivers.bounds import BoundedSocket, Bounds
from service.drivers.dialing import Dialer, DialingAdapter, SocketAdapter
from service.drivers.docker import podman
from service.drivers.volume_archive import BadArchive
from service.errors import NodeFailure, NodeRefused, NodeUnreachable
from service.model.addresses import is_socket

READING = ("GET", "HEAD")
"""The methods that change nothing on an engine."""

_WHO, _WHAT = "The Docker Engine", "Docker Engine"

MAX_LOG_ANSWER_BYTES = 64 * 2**20
"""How much of a container's output is read to find its end. The engine keeps 30 MB of ours."""

_CHUNK_BYTES = 16 * 1024
_FRAME = struct.Struct(">BxxxL")
_VERSION = re.compile(r"\d{1,3}\.\d{1,3}", re.ASCII)


def translate(node_id: str, exc: Exception) -> NodeFailure:
    """Turn what the `docker` package and those below it raise into an error of ours."""
    if isinstance(exc, APIError):
        kind = NodeRefused if exc.is_client_error() else NodeFailure
        return kind(node_id, explain(exc))
    if isinstance(exc, BadArchive):
        return NodeRefused(node_id, str(exc))
    if isinstance(exc, InvalidVersion):
        return NodeFailure(node_id, "The Docker Engine is too old.")
    if isinstance(exc, DockerException):
        return NodeUnreachable(node_id, f"{_WHO} does not answer: {reasons.explain_silence(exc)}.")
    return reasons.translate(node_id, exc, who=_WHO, what=_WHAT)


class Client(docker.APIClient):
    """docker-py's client with what it has no arguments for: bounds, a dialer, no proxy.

    The API's version is what the engine speaks, which has to be asked after the proxy is off.
    """

    def __init__(
        self,
        base_url: str,
        dialer: Dialer,
        connect_timeout_s: float,
        read_timeout_s: float,
        bounds: Bounds = Bounds(),  # noqa: B008 - frozen
        authorize: Authorize = always,
        *,
        was_podman: bool = False,
    ) -> None:
        """Connect. What `read_timeout_s` is for each call, `bounds` may be for all together.

        One that `was_podman` when it was asked before is asked in a way that costs Podman less.
        """
        self.node_id = dialer.node_id
        self.authorize = authorize
        self._dialer = dialer
        self._engine_url = base_url
        self._socket_path = base_url.removeprefix("unix://") if is_socket(base_url) else None
        self._connect_timeout_s = connect_timeout_s
        super().__init__(
            base_url,
            version="1.41",
            timeout=math.ceil(read_timeout_s),
            tls=dialer.tls is not None,
        )
        self._bounded = (
            SocketAdapter(dialer, self._socket_path, bounds)
            if self._socket_path
            else DialingAdapter(dialer, bounds)
        )
        for scheme in ("http+docker://",) if self._socket_path else ("http://", "https://"):
            self.mount(scheme, self._bounded)
        self.trust_env = False  # a node is never behind the proxy of our own surroundings
        try:
            version = podman.read_version(self.read_ping()) if was_podman else None
            self.is_podman = version is not None
            if version is None:
                answer = self.version(api_version=False)
                version = answer["ApiVersion"]
                self.is_podman = podman.is_podman(answer)
            self._version = _read_version(version)
        except BaseException:
            self.close()
            raise

    @check_resource("container")
    def logs(  # type: ignore[override]
        self, container: str, *, tail: int, since: datetime | None = None
    ) -> bytes:
        """Read the last `tail` lines of a container's output, MAX_LOG_BYTES at the most.

        Of these, only what was printed `since` then.
        """
        printed = b""
        client: Any = self  # whose own methods are not in its types
        url = client._url("/containers/{0}/logs", container)
        lines = podman.ALL_LINES if self.is_podman else tail
        params: dict[str, object] = {"stdout": 1, "stderr": 1, "tail": lines}
        if since is not None:
            params["since"] = f"{since.timestamp():.6f}"
        is_terminal = client._check_is_tty(container)
        with (
            self._bounded.within(max_bytes=MAX_LOG_ANSWER_BYTES),
            closing(client._get(url, params=params, stream=True)) as answer,
        ):
            self._raise_for_status(answer)
            received = answer.iter_content(_CHUNK_BYTES)
            for part in received if is_terminal else _unframe(received):
                printed = (printed + part)[-MAX_LOG_BYTES:]
        return printed

    def read_ping(self) -> Mapping[str, str]:
        """Have the engine answer; return the headers of that."""
        client: Any = self  # whose own methods are not in its types
        answer: requests.Response = client._get(client._url("/_ping", versioned_api=False))
        self._raise_for_status(answer)
        return answer.headers

    def dial(self, timeout_s: float, max_bytes: int) -> BoundedSocket:
        """Connect to the engine, for a single exchange of these bounds. Raises OSError."""
        if self._socket_path:
            connection = BoundedSocket(socket.AF_UNIX)
            connection.limit(self._connect_timeout_s)
            connection.connect(self._socket_path)
        else:
            address = urlsplit(self._engine_url)
            host = address.hostname or ""
            plain = self._dialer.connect(host, address.port or 0, self._connect_timeout_s)
            connection = self._dialer.secure(plain, host)
        connection.limit(timeout_s, max_bytes)
        return connection

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        """Send a request; one that may change something only if that is authorized."""
        if request.method not in READING:
            self.authorize()
        return super().send(request, **kwargs)

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Raise for a redirect: it would have us call what is no node."""
        if resp.is_redirect:
            resp.close()
            raise requests.TooManyRedirects(response=resp)

    def _set_request_timeout(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        read_s = kwargs.get("timeout", self.timeout)
        timeout = urllib3.Timeout(connect=self._connect_timeout_s, read=read_s)
        return {**kwargs, "timeout": timeout}

    def _raise_for_status(self, response: requests.Response) -> None:
        status = response.status_code
        if status >= requests.codes.bad_request:
            kind = NotFound if status == requests.codes.not_found else APIError
            raise kind(f"status {status}", response=response, explanation=_read_error(response))

    def _result(self, response: requests.Response, json: bool = False, binary: bool = False) -> Any:
        self._raise_for_status(response)
        if json:
            return read_json(response.content)
        return response.content if binary else response.content.decode(errors="replace")


def explain(exc: APIError) -> str:
    """Say in the engine's own words what is wrong."""
    return exc.explanation or f"The Docker Engine answered {exc.status_code}."


def _read_error(response: requests.Response) -> str | None:
    """Read the engine's own words; None when it has none."""
    try:
        body = read_json(response.content)
        return read_text(body["message"]).strip() if isinstance(body, dict) else None
    except (ValueError, KeyError):
        return None


def _read_version(version: object) -> str:
    if not isinstance(version, str) or not _VERSION.fullmatch(version):
        raise ValueError("The engine's API has no version.")
    return version


def _unframe(received: Iterable[bytes]) -> Iterator[bytes]:
    """Take what was printed out of the frames in which the engine sends it."""
    pending, left = b"", 0
    for part in received:
        pending += part
        while pending:
            if left:
                yield pending[:left]
                pending, left = pending[left:], max(0, left - len(pending))
            elif len(pending) >= _FRAME.size:
                _, left = _FRAME.unpack(pending[: _FRAME.size])
                pending = pending[_FRAME.size :]
            else:
                break


def find_taken_port(reason: str) -> int | None:
    """Find the host port that Docker says is in use; None when it says something else.

    Docker says so in words only: its status is the 500 of everything that goes wrong. When the
    words change, the start fails with Docker's own, which are as true but longer.
    """
    if "port is already allocated" not in reason and "address already in use" not in reason:
        return None
    # The first address is the host's, of which Podman has the port only; one of the container's may
    # follow.
    address = re.search(r"[\d\] ]:(\d{1,5})\b", reason)
    return int(address[1]) if address else None
