"""The pull of an image by a Docker Engine, on a connection of its own that can be hung up.

A registry may say nothing for as long as it likes, and the engine then says nothing either. It
gives a pull up when its client hangs up, which cannot be done to a request of docker-py's.
"""

import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait
from contextlib import closing, suppress

MAX_LINE_BYTES = 256 * 1024
MAX_LAYERS = 1000
MAX_REASON = 2000
_DONE = frozenset({"Pull complete", "Already exists"})
_LAYER = frozenset(
    {
        "Pulling fs layer", "Waiting", "Downloading", "Retrying", "Verifying Checksum",
        "Download complete", "Extracting", *_DONE,
    }
)  # fmt: skip


class PullFailed(Exception):
    """The engine says that it cannot pull; `status` is HTTP's, None in the middle of a pull."""

    def __init__(self, reason: str, *, status: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status


class Progress:
    """How far a pull is, made up of what the engine says of each layer."""

    def __init__(self) -> None:
        self._layers: dict[str, str] = {}
        self._bytes: dict[str, tuple[int, int]] = {}

    def add(self, event: Mapping[str, object]) -> None:
        """Take in one line of the engine's. Anything odd in it is passed over."""
        layer, status = event.get("id"), event.get("status")
        if not isinstance(layer, str) or not isinstance(status, str) or status not in _LAYER:
            return
        if layer not in self._layers and len(self._layers) >= MAX_LAYERS:
            return
        self._layers[layer] = status
        detail = event.get("progressDetail")
        if status == "Downloading" and isinstance(detail, dict):
            now, total = detail.get("current"), detail.get("total")
            if type(now) is int and type(total) is int and 0 <= now <= total < 2**63:
                self._bytes[layer] = (now, total)
        elif status != "Retrying" and layer in self._bytes:
            total = self._bytes[layer][1]
            self._bytes[layer] = (total, total)

    def __str__(self) -> str:
        """Say how far it is, such as "2 of 5 layers, 34.1 of 120.0 MB"; empty while unknown."""
        if not self._layers:
            return ""
        done = sum(status in _DONE for status in self._layers.values())
        text = f"{done} of {len(self._layers)} layers"
        if not self._bytes:
            return text
        now, total = (sum(each) / 1e6 for each in zip(*self._bytes.values(), strict=True))
        return f"{text}, {now:.1f} of {total:.1f} MB"


class Pull:
    """One pull, in a thread of its own until it ends or is hung up."""

    def __init__(
        self, connect: Callable[[], socket.socket], path: str, headers: Mapping[str, str]
    ) -> None:
        """Begin to POST to this path of the engine that `connect` connects to."""
        self._connect = connect
        self._path = path
        self._headers = headers
        self._socket: socket.socket | None = None
        self._lock = threading.Lock()
        self._unwanted = False
        self._end: Future[None] = Future()
        self.progress = "Waiting for the registry."
        """How far it is, in plain words."""
        self._heard_at = time.monotonic()
        threading.Thread(target=self._follow, daemon=True, name="pull").start()

    @property
    def silent_s(self) -> float:
        """For how long the engine has said nothing."""
        return time.monotonic() - self._heard_at

    def has_ended(self, *, timeout_s: float) -> bool:
        """Wait for the end, `timeout_s` at the most; return whether it came."""
        return bool(wait([self._end], timeout=timeout_s).done)

    def require_success(self) -> None:
        """Raise what ended it: PullFailed, ValueError for rubbish, OSError, HTTPException."""
        self._end.result()

    def hang_up(self) -> None:
        """Let the engine give the pull up, if it has not ended."""
        with self._lock:
            self._unwanted = True
            if self._socket is not None:
                with suppress(OSError):  # it is closed already
                    self._socket.shutdown(socket.SHUT_RDWR)

    def _follow(self) -> None:
        try:
            with closing(self._connect()) as connection:
                connection.settimeout(None)  # whoever waits for the end hangs up in time
                with self._lock:
                    if self._unwanted:
                        raise ConnectionAbortedError("The pull was hung up.")
                    self._socket = connection
                self._read(connection)
        except BaseException as exc:  # noqa: BLE001 - handed to the one who waits
            self._end.set_exception(exc)
        else:
            self._end.set_result(None)

    def _read(self, connection: socket.socket) -> None:
        client = http.client.HTTPConnection("docker")
        client.sock = connection
        client.request("POST", self._path, headers=dict(self._headers))
        with client.getresponse() as answer:
            if answer.status != http.client.OK:
                raise PullFailed(_explain(answer), status=answer.status)
            progress = Progress()
            while line := answer.readline(MAX_LINE_BYTES):
                self._heard_at = time.monotonic()
                event = _read_object(line)
                if "error" in event:
                    raise PullFailed(str(event["error"])[:MAX_REASON])
                progress.add(event)
                self.progress = str(progress) or self.progress
            self.progress = str(progress) or "The image is there already."


def _explain(answer: http.client.HTTPResponse) -> str:
    try:
        return str(_read_object(answer.read(MAX_LINE_BYTES))["message"])[:MAX_REASON]
    except (ValueError, LookupError):
        return f"The Docker Engine answered {answer.status}."


def _read_object(text: bytes) -> dict[str, object]:
    """Read a JSON object. Raises ValueError for anything else."""
    try:
        value = json.loads(text)
    except RecursionError as exc:
        raise ValueError("The JSON is too deep.") from exc
    if not isinstance(value, dict):
        raise ValueError("The JSON is no object.")
    return value
