"""The console of an instance on skyportd: what its program printed last, and a line for it to read.

It is a WebSocket. Only frames that are made here are ever sent: one that is no JSON, or `null`,
ends the whole daemon.
"""

import json
import math
import time
from collections.abc import Generator, Iterator
from contextlib import closing, suppress
from typing import cast
from urllib.parse import urlsplit

import websocket

from service.drivers import ENGINE_LINE_BYTES
from service.drivers.bounds import BoundedSocket
from service.drivers.dialing import Dialer
from service.drivers.log_lines import (
    IDLE_S,
    FindRun,
    LogEnd,
    LogStream,
    Splitter,
)
from service.drivers.reasons import explain_silence
from service.model.printed_lines import LogLine

QUIET_S = 0.5
"""How long nothing must come for the last lines to be complete, and the console to be ready."""

MAX_READ_S = 3.0

LOOK_EVERY_S = 2.5
"""How often it is looked at whether a program still runs that prints nothing."""

MAX_CONSOLE_BYTES = 4 * 2**20
"""How much the daemon may send in all; its 25 lines may be long ones."""

_SHOWN_LINES = 25
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


def begin_with_whole_line(printed: str) -> bytes:
    """Leave out the first of the lines that the daemon shows, if it may be the rest of one.

    It shows 25 of its engine's lines, which cuts longer ones.
    """
    lines = printed.encode(errors="replace").splitlines(keepends=True)
    if sum(len(line) // ENGINE_LINE_BYTES + 1 for line in lines) >= _SHOWN_LINES:
        lines = lines[1:] or lines
    return b"".join(lines)


def follow(
    dialer: Dialer,
    url: str,
    key: str,
    find_run: FindRun,
    stream: LogStream,
    *,
    tail: int,
    timeout_s: float,
) -> Generator[LogLine | None, None, None]:
    """Read the last lines, and those that are printed from then on. Raises ConsoleError."""
    shown: list[str] = []
    while True:
        splitter = Splitter()
        run = find_run()
        with closing(_open(dialer, url, key, timeout_s)) as console:
            connection = cast("BoundedSocket", console.sock)
            stream.use(connection)
            printed = "".join(_read_until_quiet(console))
            if find_run() is None:
                stream.end = LogEnd.GONE  # it may be the next container's
                return
            last = list(splitter.feed(begin_with_whole_line(printed)))
            new = _leave_out(shown, last) if shown else last[-tail:] if tail else []
            shown = [line.text for line in last]
            yield from new
            for piece in _read_on(console, connection, run, find_run):
                lines = () if piece is None else splitter.feed(piece)
                for line in lines:
                    shown = [*shown[1 - _SHOWN_LINES :], line.text]
                    yield line
                if piece is None:
                    yield None
        yield from splitter.flush()
        if not (yield from stream.goes_on(find_run)):
            return


def _leave_out(shown: list[str], lines: list[LogLine]) -> list[LogLine]:
    """Leave out the first lines where the last ones that were shown are like them."""
    for count in range(min(len(shown), len(lines)), 0, -1):
        if shown[-count:] == [line.text for line in lines[:count]]:
            return lines[count:]
    return lines


def _read_on(
    console: websocket.WebSocket, connection: BoundedSocket, run: str | None, find_run: FindRun
) -> Iterator[bytes | None]:
    """Yield what is printed, until the run ends; None after IDLE_S without anything."""
    console.settimeout(IDLE_S)
    look_at = 0.0
    while True:
        connection.limit(math.inf, MAX_CONSOLE_BYTES)
        try:
            kind, printed = console.recv_data()
        except websocket.WebSocketTimeoutException:
            yield None
            if not run:
                return
            if time.monotonic() >= look_at:
                look_at = time.monotonic() + LOOK_EVERY_S
                if find_run() != run:
                    return
        except (websocket.WebSocketException, OSError) as exc:
            raise ConsoleError(explain_silence(exc)) from exc
        else:
            if kind == websocket.ABNF.OPCODE_CLOSE:
                raise ConsoleError("it closed the connection")
            yield printed


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
