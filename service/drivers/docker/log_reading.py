"""The log of a container on a Docker Engine: its last lines, and those that are to come.

It is read over a connection of its own, in HTTP/1.0: so the body is neither in chunks nor has it
a length, silence in it can be waited for, and another thread can hang up.
"""

import http.client
import math
import socket
import sys
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing
from functools import partial
from typing import Any
from urllib.parse import urlencode

from service.drivers import ENGINE_LINE_BYTES, MAX_LOG_BYTES, log_lines
from service.drivers.bounds import LOG_TIMEOUT_S, BoundedSocket, TooSlow
from service.drivers.docker import podman
from service.drivers.docker.client import MAX_LOG_ANSWER_BYTES, Client
from service.drivers.docker.log_frames import Pieces
from service.drivers.docker.log_watching import Watch
from service.drivers.log_lines import (
    IDLE_S,
    MARGIN_NS,
    LogEnd,
    LogStream,
    go_on_after,
    keep_last,
)
from service.errors import NodeFailure
from service.model.printed_lines import LogLine, Mark, Position

READ_LOG_S = 30.0
"""How long it may take for a log that ends."""

_CHUNK_BYTES = 64 * 1024

Find = Callable[[Client], tuple[str, Mapping[str, Any]] | None]
"""Finds the instance's container, and what the engine says of it now."""


def read_last(
    engine: Client,
    container: Mapping[str, Any],
    *,
    tail: int,
    since_ns: int | None = None,
    until_ns: int | None = None,
    with_rest: bool = True,
) -> list[LogLine]:
    """Read the last lines of a time, MAX_LOG_BYTES at the most. See `Pieces` for `with_rest`."""
    # The first of the engine's pieces may be the rest of a line. See `logs`.
    asked = tail + MAX_LOG_BYTES // ENGINE_LINE_BYTES + 1
    path = _make_path(
        engine,
        container,
        # The engine takes the last pieces of all, and then those of the time.
        tail="all" if until_ns is not None else asked,
        since=_print_time(since_ns),
        until=_print_time(until_ns),
    )
    pieces = _make_pieces(engine, container)
    with closing(engine.dial(READ_LOG_S, MAX_LOG_ANSWER_BYTES)) as connection:
        received = _receive_bounded(connection)
        answer = _exchange(engine.node_id, connection, path, received, received)
        lines = pieces.read_lines(answer, with_rest=with_rest)
        if engine.is_podman:
            lines = podman.take_time(lines, since_ns, until_ns)
        kept = keep_last((line for line in lines if line), tail + 1, MAX_LOG_BYTES)
    is_all = until_ns is not None or engine.is_podman
    may_be_a_rest = not is_all and pieces.count >= asked and len(kept) <= tail
    return (kept[1:] if may_be_a_rest else kept)[-tail:] if tail else []


def follow(
    connect: Callable[[], Client], find: Find, stream: LogStream, **bounds: Any
) -> Generator[LogLine | None, None, None]:
    """Read the last lines, or those after one, and those that are printed from then on.

    See NodeDriver.follow_logs for the bounds. Each look at the container is bounded by what
    `connect` makes.
    """
    with closing(connect()) as engine:
        found = find(engine)
        if found is None or found[1]["Id"] != stream.container_id:
            stream.end = LogEnd.GONE
        else:
            yield from _follow(engine, found[1], partial(find, engine), stream, **bounds)


def _follow(
    engine: Client,
    container: Mapping[str, Any],
    find: Callable[[], tuple[str, Mapping[str, Any]] | None],
    stream: LogStream,
    *,
    tail: int,
    since_ns: int | None,
    after: Mark | None,
) -> Generator[LogLine | None, None, None]:
    def find_run() -> str | None:
        now = find()
        if now is None or now[1]["Id"] != container["Id"]:
            return None
        state = now[1]["State"]
        return str(state["StartedAt"]) if state["Running"] or state["Restarting"] else ""

    position = after and after.find_in(container["Id"])
    if position is None:
        last = read_last(engine, container, tail=max(tail, 1), since_ns=since_ns, with_rest=False)
        yield from last[-tail:] if tail else ()
        position = last[-1].position if last else None
    is_again = False
    while True:
        before = position
        watch = Watch(partial(read_last, engine, container, tail=1), position)
        with closing(_read_on(engine, container, stream, since_ns, position)) as lines:
            for line in lines:
                # Podman goes on with the next log by itself, and what it left out is gone.
                if not engine.is_podman and watch.finds_break(line):
                    break
                if line is not None:
                    position = line.position or position
                yield line
            else:
                # An engine may end before it has sent a last line without an end.
                has_all = is_again and position == before
                is_again = not has_all
                if is_again and not stream.pause(log_lines.LOOK_EVERY_S):
                    continue
                if not (yield from stream.goes_on(find_run)):
                    return


def _read_on(
    engine: Client,
    container: Mapping[str, Any],
    stream: LogStream,
    since_ns: int | None,
    after: Position | None,
) -> Generator[LogLine | None, None, None]:
    """Read what is printed after a line, until the program ends."""
    if after is not None:
        since_ns = max(after.time_ns - MARGIN_NS, 0)
    path = _make_path(engine, container, follow=1, since=_print_time(since_ns))
    with closing(engine.dial(LOG_TIMEOUT_S, MAX_LOG_ANSWER_BYTES)) as connection:
        stream.use(connection)
        received = _receive(connection)
        # Podman begins to answer with the first line.
        head = received if engine.is_podman else _receive_bounded(connection)
        answer = _exchange(engine.node_id, connection, path, head, received)
        lines = _make_pieces(engine, container).read_lines(answer)
        if after is not None:
            lines = go_on_after(lines, after)
        elif engine.is_podman:
            lines = podman.take_time(lines, since_ns)
        yield from lines


def _make_pieces(engine: Client, container: Mapping[str, Any]) -> Pieces:
    return Pieces(is_terminal=bool(container["Config"]["Tty"]), ends_runs=not engine.is_podman)


def _receive_bounded(connection: BoundedSocket) -> Iterator[bytes]:
    return iter(lambda: connection.recv(_CHUNK_BYTES), b"")


def _receive(connection: BoundedSocket) -> Iterator[bytes | None]:
    connection.limit(math.inf, sys.maxsize)
    connection.settimeout(IDLE_S)
    while True:
        try:
            received = connection.recv(_CHUNK_BYTES)
        except TooSlow:
            yield None
        else:
            if not received:
                return
            yield received


def _make_path(engine: Client, container: Mapping[str, Any], **asked: object) -> str:
    if engine.is_podman:
        asked = podman.ask_for_all(asked)
    query = {name: value for name, value in asked.items() if value is not None}
    query |= {"stdout": 1, "stderr": 1, "timestamps": 1}
    return f"/containers/{container['Id']}/logs?{urlencode(query)}"


def _print_time(time_ns: int | None) -> str | None:
    return None if time_ns is None else f"{time_ns // 10**9}.{time_ns % 10**9:09d}"


def _exchange(
    node_id: str,
    connection: socket.socket,
    path: str,
    beginning: Iterator[bytes | None],
    rest: Iterator[bytes | None],
) -> Iterator[bytes | None]:
    """Ask for a log, and yield what comes of it. Raises NodeFailure for an error.

    The head of the answer is taken from its `beginning`, and all that follows it from the `rest`.
    There is none of a container that is gone.
    """
    connection.sendall(f"GET {path} HTTP/1.0\r\nHost: docker\r\n\r\n".encode())
    head = b""
    while b"\r\n\r\n" not in head:
        part = next(beginning, b"")
        if part is None:
            yield None
        elif not part or len(head) > _CHUNK_BYTES:
            raise http.client.IncompleteRead(head)
        else:
            head += part
    head, _, began = head.partition(b"\r\n\r\n")
    protocol, _, status = head.partition(b"\r\n")[0].partition(b" ")
    if not protocol.startswith(b"HTTP/1.") or b"chunked" in head.lower():
        raise ValueError("What answers is no Docker Engine.")
    if status.startswith(b"404"):
        connection.shutdown(socket.SHUT_RDWR)
        return
    if not status.startswith(b"200"):
        code = status[:3].decode("ascii", "replace")
        raise NodeFailure(node_id, f"The Docker Engine answered {code} when asked for a log.")
    yield began
    yield from rest
