"""The console of an instance on skyportd: what its program printed last, and a line for it to read.

It is a WebSocket. Only frames that are made here are ever sent: one that is no JSON, or `null`,
ends the whole daemon.
"""

import json
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from urllib.parse import urlsplit

import websocket

from service.drivers.dialing import Dialer
from service.drivers.reasons import explain_silence

QUIET_S = 0.5
"""How long nothing must come for the last lines to be complete, and the console to be ready."""

MAX_READ_S = 3.0

MAX_CONSOLE_BYTES = 4 * 2**20
"""How much the daemon may send in all; its 25 lines may be long ones."""

_GREETING = "connected!"


class ConsoleError(Exception):
    """There is no console to be had."""


def read_last(dialer: Dialer, url: str, key: str, *, timeout_s: float) -> str:
    """Read what the program printed last: the daemon shows 25 lines. Raises ConsoleError."""
    with closing(_open(dialer, url, key, timeout_s)) as console:
        return "".join(_read_until_quiet(console)).replace("\r\n", "\n")


def write_line(dialer: Dialer, url: str, key: str, line: str, *, timeout_s: float) -> None:
    """Have the program read a line. Raises ConsoleError.

    The daemon listens for lines only once it has sent what was printed before.
    """
    with closing(_open(dialer, url, key, timeout_s)) as console:
        for _ in _read_until_quiet(console):
            pass
        console.send(json.dumps({"event": "cmd", "command": line}))
        for _ in _read_until_quiet(console):
            pass  # it is on its way as long as the connection stands


def read_sample(dialer: Dialer, url: str, key: str, *, timeout_s: float) -> str:
    """Read the first sample of what a container uses, as JSON text. Raises ConsoleError."""
    with closing(_open(dialer, url, key, timeout_s)) as console:
        try:
            return str(console.recv())
        except (websocket.WebSocketException, OSError) as exc:
            raise ConsoleError(explain_silence(exc)) from exc


def _open(dialer: Dialer, url: str, key: str, timeout_s: float) -> websocket.WebSocket:
    where = urlsplit(url)
    host, port = where.hostname or "", where.port or 0
    try:
        connection = dialer.secure(dialer.connect(host, port, timeout_s), host)
        connection.limit(timeout_s + 2 * MAX_READ_S, MAX_CONSOLE_BYTES)
        connection.settimeout(timeout_s)
        console = websocket.create_connection(
            url, timeout=timeout_s, socket=connection, redirect_limit=0
        )
        console.send(json.dumps({"event": "auth", "args": [key]}))
        greeting = console.recv()
    except (websocket.WebSocketException, OSError, ValueError) as exc:
        raise ConsoleError(explain_silence(exc)) from exc
    if _GREETING not in str(greeting):
        console.close()
        raise ConsoleError("The daemon rejects our key.")
    return console


def _read_until_quiet(console: websocket.WebSocket) -> Iterator[str]:
    console.settimeout(QUIET_S)
    deadline = time.monotonic() + MAX_READ_S
    with suppress(websocket.WebSocketException, OSError):  # quiet, or closed
        while time.monotonic() < deadline:
            frame = console.recv()
            if frame in ("", b""):
                return
            yield frame if isinstance(frame, str) else frame.decode(errors="replace")
