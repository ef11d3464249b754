"""Whether the daemon is still at a creation that somebody else began."""

import time
from collections.abc import Mapping
from typing import Any

from service.drivers.skyportd import timing
from service.drivers.skyportd.client import Client, is_ok, read_body
from service.drivers.skyportd.inspection import is_unstarted
from service.drivers.skyportd.uptime import find_start, parse_time
from service.errors import NodeFailure, NodeUnreachable

_UNFINISHED = ("INSTALLING", "UNKNOWN")  # a state file that was repaired knows nothing


def is_abandoned(client: Client, instance_id: str, container: Mapping[str, Any]) -> bool:
    """Return whether the daemon ended between making this container and starting it.

    Raises NodeUnreachable while that cannot be told, which is for a minute after its start.
    """
    state = client.read_state(instance_id)
    if state not in _UNFINISHED or not is_unstarted(container):
        return False
    outlived = _has_outlived(client, container)
    if outlived is None:
        raise NodeUnreachable(
            client.node_id, "Whether the daemon still installs it will be known in a minute."
        )
    return not outlived


def may_install(client: Client, instance_id: str, container: Mapping[str, Any] | None) -> bool:
    """Return whether the daemon may be writing install scripts into the volume."""
    try:
        state = client.read_state(instance_id)
    except NodeUnreachable:
        raise
    except NodeFailure:
        return True  # its state file is broken, or is just being written
    if state != "INSTALLING" or (container is not None and not is_unstarted(container)):
        return False
    return container is None or _has_outlived(client, container) is not False


def await_end(client: Client, instance_id: str) -> None:
    """Let the daemon notice that a container which it was to start is gone."""
    deadline = time.monotonic() + timing.SETTLE_TIMEOUT_S
    while time.monotonic() < deadline:
        try:
            if client.read_state(instance_id) != "INSTALLING":
                return
        except NodeUnreachable:
            raise
        except NodeFailure:
            pass  # it may be writing it
        time.sleep(timing.POLL_S)


def _has_outlived(client: Client, container: Mapping[str, Any]) -> bool | None:
    """Return whether the daemon has been running since it made this container.

    None while its uptime leaves both open. All three times are of the node's own clock.
    """
    answer = client.call("GET", "/stats")
    body, made_at = read_body(answer), parse_time(container.get("Created"))
    start = None
    if is_ok(answer) and isinstance(body, dict):
        start = find_start(body, answer.headers.get("Date", ""))
    if start is None or made_at is None:
        return True  # nothing says that it has not
    if made_at < start[0]:
        return False
    return True if made_at >= start[1] else None
