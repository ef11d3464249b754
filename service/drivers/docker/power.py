"""How a container is started and stopped, so that it stays as it is wanted."""

import math
import time
from collections.abc import Mapping
from typing import Any

from docker.errors import APIError

from service.drivers import INTERRUPT, split_grace
from service.drivers.docker import podman
from service.drivers.docker.client import Client, explain, find_taken_port
from service.drivers.docker.console import write_line
from service.errors import PortInUse

RESTART_UNLESS_STOPPED = "unless-stopped"
NO_RESTART = "no"

_POLL_S = 0.1


def start(engine: Client, reference: str, container: Mapping[str, Any], *, again: bool) -> None:
    """Start a container, which the engine starts `again` when it ends by itself.

    The engine has just said what it is.

    Raises PortInUse for a host port that another program holds.
    """
    try:
        policy = RESTART_UNLESS_STOPPED if again else NO_RESTART
        _set_restart_policy(engine, reference, container, policy)
        engine.start(reference)
    except APIError as exc:
        port = find_taken_port(explain(exc))
        if port is None:
            raise
        raise PortInUse(engine.node_id, port) from exc


def stop(
    engine: Client,
    reference: str,
    container: Mapping[str, Any],
    stop_command: str | None,
    grace_s: float,
) -> None:
    """Stop a container, by its own command where it has one, within `grace_s`.

    The engine has just said what it is.

    A program that ends at a command ends by itself, as far as Docker can see, and would be
    started again: so it has no restart policy from here until it is started.
    """
    command_s, signal_s = split_grace(grace_s, stop_command)
    if stop_command:
        _set_restart_policy(engine, reference, container, NO_RESTART)
        state = engine.inspect_container(reference)["State"]
        if state["Running"]:
            _command(engine, reference, stop_command)
        deadline = time.monotonic() + command_s
        while _runs_on(engine, reference, state) and time.monotonic() < deadline:
            time.sleep(_POLL_S)
        if engine.is_podman:
            podman.await_restart(engine, reference)
    engine.stop(reference, timeout=math.ceil(signal_s))


def _command(engine: Client, reference: str, command: str) -> None:
    if command.upper() == INTERRUPT:
        engine.kill(reference, signal="SIGINT")
        return
    write_line(engine, reference, command)


def _runs_on(engine: Client, reference: str, before: Mapping[str, Any]) -> bool:
    """Return whether the program has not ended since the engine said what it was like `before`."""
    state = engine.inspect_container(reference)["State"]
    if engine.is_podman and state["StartedAt"] != before["StartedAt"]:
        return False  # whatever runs now, Podman has started since
    return bool(state["Running"])


def _set_restart_policy(
    engine: Client, reference: str, container: Mapping[str, Any], name: str
) -> None:
    if container["HostConfig"]["RestartPolicy"]["Name"] != name:
        policy: Any = {"Name": name}
        with podman.may_lack_updates(engine):
            engine.update_container(reference, restart_policy=policy)
