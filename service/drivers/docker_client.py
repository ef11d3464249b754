"""How a Docker Engine is called: a client with bounds, and what its errors mean."""

import http.client
import math
import re
import socket
import time
from typing import Any

import docker
import requests
import urllib3
from docker.errors import APIError, DockerException, InvalidVersion
from docker.transport import UnixHTTPAdapter

from service.drivers.guarded import Guard, GuardedAdapter
from service.errors import NodeFailure, NodeRefused, NodeUnreachable


def translate(node_id: str, exc: Exception) -> NodeFailure | None:
    """Turn what the `docker` package and those below it raise into an error of ours.

    None for what is no word about the node, such as a checkpoint's.
    """
    if isinstance(exc, APIError):
        kind = NodeRefused if exc.is_client_error() else NodeFailure
        return kind(node_id, explain(exc))
    if isinstance(exc, requests.TooManyRedirects):
        return NodeFailure(node_id, "What answers there redirects elsewhere. It is not followed.")
    if isinstance(exc, InvalidVersion):
        return NodeFailure(node_id, f"The Docker Engine is too old: {exc}")
    if isinstance(exc, (ValueError, LookupError, TypeError, AttributeError)):
        return NodeFailure(node_id, "What answers there is no Docker Engine.")
    if isinstance(
        exc,
        (
            requests.RequestException,
            urllib3.exceptions.HTTPError,
            http.client.HTTPException,
            DockerException,
            OSError,
        ),
    ):
        return NodeUnreachable(node_id, f"The Docker Engine does not answer: {exc}")
    return None


class Client(docker.APIClient):
    """docker-py's client with what it has no arguments for: timeouts, a guard, no proxy.

    The API's version is what the engine speaks, which has to be asked after the proxy is off.
    """

    def __init__(
        self,
        base_url: str,
        guard: Guard,
        connect_timeout_s: float,
        read_timeout_s: float,
        patience_s: float | None = None,
    ) -> None:
        """Connect. With `patience_s`, all calls together get that long, whatever each one may."""
        self._connect_timeout_s = connect_timeout_s
        self._deadline = None if patience_s is None else time.monotonic() + patience_s
        super().__init__(
            base_url,
            version="1.41",
            timeout=math.ceil(read_timeout_s),
            tls=guard.tls is not None,
        )
        if not base_url.startswith("unix://"):
            self.mount("http://", GuardedAdapter(guard))
            self.mount("https://", GuardedAdapter(guard))
        self.trust_env = False  # a node is never behind the proxy of our own surroundings
        try:
            self._require_socket()
            self._version = str(self.version(api_version=False)["ApiVersion"])
        except BaseException:
            self.close()
            raise

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Raise for a redirect: it would have us call what is no node."""
        if resp.is_redirect:
            resp.close()
            raise requests.TooManyRedirects(response=resp)

    def _require_socket(self) -> None:
        # docker-py leaves its socket open when it cannot connect to the engine's.
        adapter = self.get_adapter(self.base_url)
        if isinstance(adapter, UnixHTTPAdapter):
            with socket.socket(socket.AF_UNIX) as probe:
                probe.settimeout(self._connect_timeout_s)
                probe.connect(adapter.socket_path)

    def _set_request_timeout(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        timeout = urllib3.Timeout(
            connect=self._connect_timeout_s,
            read=kwargs.get("timeout", self.timeout),
            total=self._deadline and max(self._deadline - time.monotonic(), 0.001),
        )
        return {**kwargs, "timeout": timeout}


def explain(exc: APIError) -> str:
    """Say in the engine's own words what is wrong."""
    return str(exc.explanation or exc)


def find_taken_port(reason: str) -> int | None:
    """Find the host port that Docker says is in use; None when it says something else.

    Docker says so in words only: its status is the 500 of everything that goes wrong. When the
    words change, the start fails with Docker's own, which are as true but longer.
    """
    if "port is already allocated" not in reason and "address already in use" not in reason:
        return None
    # The first address is the host's; one of the container's may follow.
    address = re.search(r"[\d\]]:(\d{1,5})\b", reason)
    return int(address[1]) if address else None
