"""Where Podman's Docker-compatible service is not as a Docker Engine is.

Found with 4.3, of Debian 12. Podman says who it is in `GET /version`, which a client asks first.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from docker.errors import NotFound

from service.drivers import Delivery
from service.errors import NodeRefused
from service.model.printed_lines import LogLine

if TYPE_CHECKING:
    from service.drivers.docker.client import Client

ALL_LINES = "all"
"""How many lines are asked for: with a number, Podman leaves out parts of long lines."""

BETWEEN_MEASUREMENTS_S = 1.0
"""Podman measures once at a time."""

EVENTS = {"type": ["container"], "event": ["start", "died", "remove"]}
"""What is asked of the events. Podman knows no label without a value there."""

# A write of up to 4096 bytes, of a line, is all or nothing, and waits while the pipe is full.
_WRITE = """exec 2> /dev/null
printf '%s\\n' "$1" > /proc/1/fd/0 & writer=$!
{ sleep 2; kill -9 $writer; } > /dev/null & wait $writer; echo $?"""
_KILLED = b"137"

_SECOND_NS = 10**9
_RESTART_TIMEOUT_S = 5.0
_POLL_S = 0.1


def is_podman(version: Mapping[str, Any]) -> bool:
    """Return whether this answer to `GET /version` is Podman's."""
    components = version.get("Components")
    return isinstance(components, list) and any(
        isinstance(each, dict) and each.get("Name") == "Podman Engine" for each in components
    )


def read_version(headers: Mapping[str, str]) -> str | None:
    """Read the version of the API from an answer of Podman's; None from one of another engine.

    Of `GET /version` and `GET /info` each has Podman ask Debian's package manager for the versions
    of its parts, a quarter of a second of a processor.
    """
    return headers.get("Api-Version") if "Libpod-Api-Version" in headers else None


def require_limits(node_id: str, info: Mapping[str, Any]) -> None:
    """Raise NodeRefused for a Podman that cannot limit containers, by its `GET /info`."""
    if info.get("Rootless") and str(info.get("CgroupVersion")) != "2":
        raise NodeRefused(
            node_id,
            "Rootless Podman can limit memory and CPU with cgroup v2 only, and the node has cgroup"
            f" v{info.get('CgroupVersion')}. Run Podman's service as root.",
        )


@contextmanager
def may_lack_updates(engine: Client) -> Iterator[None]:
    """Let a restart policy be as it was made, where Podman cannot change it: 4.3 cannot.

    What ends at its own command while it is stopped may then be started again for a moment.
    """
    try:
        yield
    except NotFound:
        if not engine.is_podman:
            raise


def await_restart(engine: Client, reference: str) -> None:
    """Wait until what has just ended by itself runs again, if Podman is to start it again.

    In between it cannot be stopped: Podman calls that a success, and then starts it.
    """
    deadline = time.monotonic() + _RESTART_TIMEOUT_S
    while time.monotonic() < deadline:
        container = engine.inspect_container(reference)
        restarts = container["HostConfig"]["RestartPolicy"]["Name"] not in ("", "no")
        if container["State"]["Running"] or not restarts:
            return
        time.sleep(_POLL_S)


def ask_for_all(asked: Mapping[str, object]) -> dict[str, object]:
    """Ask for a log from its beginning, of what is `asked` of it.

    A part of it may begin in the middle of a line. And many lines are of one time, a second, so
    that they are known by their numbers from the beginning only.
    """
    return {name: value for name, value in asked.items() if name == "follow"}


def take_time(
    lines: Iterable[LogLine | None], since_ns: int | None, until_ns: int | None = None
) -> Iterator[LogLine | None]:
    """Take the lines of a time: of all seconds that it has a part of, as Podman's times are."""
    since_s = (since_ns or 0) // _SECOND_NS
    for line in lines:
        if line is not None and line.position is not None:
            second = line.position.time_ns // _SECOND_NS
            if second < since_s or (until_ns is not None and second > until_ns // _SECOND_NS):
                continue
        yield line


def write_line(engine: Client, reference: str, line: str) -> Delivery:
    """Have a container's program read a line; it is written by a shell beside the program.

    Whoever attaches to a container closes its input on leaving.
    """
    client: Any = engine  # whose arguments are not all in its types
    process = client.exec_create(reference, ["sh", "-c", _WRITE, "sh", line])
    match client.exec_start(process).strip():
        case b"0":
            return Delivery.SENT
        case code if code == _KILLED:
            return Delivery.UNREAD
    # There is no shell; or the program has ended, at this line or just before, and the shell too.
    state = client.inspect_container(reference)["State"]
    return Delivery.NO_INPUT if state["Running"] else Delivery.SENT
