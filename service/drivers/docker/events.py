"""What a Docker Engine says as it happens: its stream of events, as far as they are of ours."""

import json
import socket
from collections.abc import Mapping, Sequence
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlencode

import requests

from service.drivers.answers import read_json
from service.drivers.bounds import TooLarge, TooSlow
from service.drivers.docker import podman
from service.drivers.docker.client import Client, translate
from service.drivers.docker.labels import LABEL
from service.drivers.power_feed import Hint
from service.errors import NodeRefused, ServiceError

ACTIONS = ("start", "die", "oom", "destroy")

BEGIN_TIMEOUT_S = 10.0
"""How long an engine may take to begin to answer."""

MAX_EVENT_BYTES = 1024 * 1024
"""How long one event may be: it has all labels of its container."""

_CHUNK_BYTES = 64 * 1024
_MOMENT_S = 0.001
_KEEPALIVE = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
)
"""An engine that is gone without a word is noticed within half a minute."""


class EngineEvents:
    """The events of the containers with our label. See PowerFeed."""

    def __init__(self, engine: Client, since: str | None) -> None:
        """Ask for the events from `since` on, by the engine's clock; None: from a moment ago.

        The engine keeps the last 256 of all its events, and sends those again; Podman keeps more.
        """
        self._node_id = engine.node_id
        self.cursor = since or _read_clock(engine)
        asked = {"type": ["container"], "event": list(ACTIONS), "label": [LABEL]}
        filters = podman.EVENTS if engine.is_podman else asked
        query = {"since": self.cursor, "filters": json.dumps(filters)}
        self._connection = engine.dial(BEGIN_TIMEOUT_S, MAX_EVENT_BYTES)
        try:
            if self._connection.family != socket.AF_UNIX:
                for option in _KEEPALIVE:
                    self._connection.setsockopt(*option)
            self._rest = self._begin(f"/v{engine.api_version}/events?{urlencode(query)}")
        except BaseException:
            self._connection.close()
            raise

    def read(self, wait_s: float) -> Sequence[Hint]:
        """Return what happened. See PowerFeed."""
        try:
            hints = [self._parse(line) for line in self._read_lines(wait_s)]
            return [hint for hint in hints if hint is not None]
        except ServiceError:
            raise
        except Exception as exc:
            raise translate(self._node_id, exc) from exc

    def close(self) -> None:
        """Hang up. See PowerFeed."""
        self._connection.close()

    def _begin(self, path: str) -> bytes:
        """Send the request; return what follows the answer's head. Raises OSError, ValueError."""
        # In HTTP/1.0, an answer without a length is its own bytes and nothing else, until its end.
        self._connection.sendall(f"GET {path} HTTP/1.0\r\nHost: docker\r\n\r\n".encode())
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += self._receive()
        head, _, rest = answer.partition(b"\r\n\r\n")
        status = int(head.split(b" ", 2)[1])
        if status != requests.codes.ok:
            reason = f"The Docker Engine answered {status} when asked for its events."
            raise NodeRefused(self._node_id, reason)
        return rest

    def _read_lines(self, wait_s: float) -> Sequence[bytes]:
        *lines, self._rest = self._rest.split(b"\n")
        if lines:  # they came together with the head
            return lines
        self._connection.limit(max(wait_s, _MOMENT_S), MAX_EVENT_BYTES)
        try:
            self._rest += self._receive()
        except TooSlow:
            return ()
        *lines, self._rest = self._rest.split(b"\n")
        if len(self._rest) > MAX_EVENT_BYTES:
            raise TooLarge(MAX_EVENT_BYTES)
        return lines

    def _receive(self) -> bytes:
        received = self._connection.recv(_CHUNK_BYTES)
        if not received:
            raise ConnectionResetError("its stream of events ended")
        return received

    def _parse(self, line: bytes) -> Hint | None:
        """Read what happened; None where it happened to a container of somebody else's."""
        event: Any = read_json(line)
        actor = event["Actor"]
        attributes: Mapping[str, str] = actor["Attributes"]
        seconds, nanoseconds = divmod(int(event["timeNano"]), 10**9)
        self.cursor = f"{seconds}.{nanoseconds:09d}"
        if LABEL not in attributes:
            return None
        return Hint(
            attributes[LABEL],
            str(actor["ID"]),
            int(attributes["exitCode"]) if event["Action"] == "die" else None,
            out_of_memory=event["Action"] == "oom",
        )


def _read_clock(engine: Client) -> str | None:
    """Read what time it was a moment ago, by the engine's clock. None: it does not say."""
    # Docker begins to answer before it listens for events itself.
    date = engine.read_ping().get("Date")
    return None if date is None else str(int(parsedate_to_datetime(date).timestamp()) - 1)
