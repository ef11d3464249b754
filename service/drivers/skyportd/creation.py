"""How the daemon is told to create a container, and what becomes of that.

Docker's word counts; what the daemon says of an instance is a hint.
"""

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait
from typing import Any

import requests

from service.drivers import ContainerSpec, ContainerStatus
from service.drivers.skyportd import timing
from service.drivers.skyportd.client import GONE, Client, explain, is_ok
from service.drivers.skyportd.inspection import read_status, to_status
from service.errors import NodeFailure, NodeRefused
from service.model.container import tell_ports


def make_body(node_id: str, spec: ContainerSpec) -> dict[str, Any]:
    """Make the body of a creation. What the daemon would never answer is refused here."""
    mappings = [spec.primary, *(m for m in spec.ports if m != spec.primary)]
    bindings = {
        f"{mapping.container}/{protocol}": [{"HostPort": str(mapping.host)}]
        for mapping in mappings  # the first one's host port becomes PRIMARY_PORT
        for protocol in ("tcp", "udp")
    }
    env = {**spec.env, **tell_ports(spec, "host")}
    del env["PRIMARY_PORT"]  # which the daemon adds
    body: dict[str, Any] = {
        "Name": spec.instance_id,
        "Id": spec.instance_id,
        "Image": spec.image,
        "Env": [f"{k}={v}" for k, v in env.items() if k not in spec.variables],
        "variables": dict(spec.variables),
        "Memory": spec.memory_mib,
        "Cpu": -(-spec.cpu_milli // 1000),  # whole ones; Linux ignores it
        "Ports": {port: {} for port in bindings},
        "ExposedPorts": {port: {} for port in bindings},
        "PortBindings": bindings,
    }
    if spec.cmd:
        body["Cmd"] = ["sh", "-c", spec.cmd] if isinstance(spec.cmd, str) else list(spec.cmd)
    if spec.install:
        for uri, path in spec.install:
            if not uri.startswith("https://") or "/" in path or path in ("", ".", ".."):
                raise NodeRefused(node_id, f"The install script {path!r} is not allowed.")
        body["Scripts"] = {"Install": [{"Uri": uri, "Path": p} for uri, p in spec.install]}
    return body


def find_earlier(
    client: Client, instance_id: str, checkpoint: Callable[[], None]
) -> dict[str, Any] | None:
    """Find the container of an earlier creation, which perhaps still pulls the image."""
    deadline = time.monotonic() + timing.APPEAR_TIMEOUT_S
    while True:
        state = client.read_state(instance_id)  # before Docker, which may know more by then
        container = client.inspect(instance_id)
        if container is not None or state != "INSTALLING" or time.monotonic() > deadline:
            return container
        checkpoint()
        time.sleep(timing.POLL_S)


def send(
    client: Client, body: Mapping[str, Any], checkpoint: Callable[[], None]
) -> tuple[str, ...] | None:
    """Send a creation, and wait for its answer, which comes when the image was pulled.

    Answers the environment that the daemon made. None when no answer came: what became of it has to
    be found out.
    """
    sent: Future[requests.Response] = Future()

    def post() -> None:
        try:
            sent.set_result(
                client.call(
                    "POST", "/instances/create", body=body, read_timeout_s=timing.INSTALL_TIMEOUT_S
                )
            )
        except BaseException as exc:  # noqa: BLE001 - handed to the one who waits below
            sent.set_exception(exc)

    checkpoint()
    threading.Thread(target=post, daemon=True, name=f"create {body['Id']}").start()
    while not sent.done():
        wait([sent], timeout=timing.CHECKPOINT_EVERY_S)
        checkpoint()
        if not sent.done() and _has_ended(client, str(body["Id"])):
            return None  # some creations are never answered
    answer = sent.result()
    if is_ok(answer):
        env = client.require_object(answer).get("Env")
        return tuple(map(str, env)) if isinstance(env, list) else None
    inner, reason = explain(answer)
    kind = NodeRefused if inner in (400, GONE) else NodeFailure
    if inner == GONE:
        reason = f"Image {body['Image']} not found on the registry."
    raise kind(client.node_id, reason)


def await_outcome(
    client: Client,
    instance_id: str,
    env: tuple[str, ...] | None,
    checkpoint: Callable[[], None],
) -> ContainerStatus:
    """Find out what became of a creation. Raises NodeRefused or NodeFailure where nothing did."""
    began, pause_s, running_since = time.monotonic(), timing.POLL_S, None
    while True:
        now = time.monotonic()
        container = client.inspect(instance_id)
        docker = read_status(container) if container else None
        if container is not None and docker in ("running", "paused"):
            running_since = running_since or now
            if now - running_since >= timing.STEADY_S:
                return to_status(container, env)
        else:
            running_since = None
            state = client.read_state(instance_id)
            # It ran, so it was made, even when the daemon's word of that was lost.
            settled = state != "INSTALLING" or now - began >= timing.APPEAR_TIMEOUT_S
            if container is not None and docker in ("exited", "dead") and settled:
                return to_status(container, env)
            _check_progress(client, instance_id, state, container, now - began)
        checkpoint()
        time.sleep(pause_s)
        pause_s = min(pause_s * 1.5, timing.STEADY_S if running_since else timing.MAX_POLL_S)


def _has_ended(client: Client, instance_id: str) -> bool:
    """Return whether the daemon has given up, or is done, although it answers nothing."""
    try:
        return client.read_state(instance_id) in ("READY", "FAILED")
    except NodeFailure:
        return False  # it may be busy


def _check_progress(
    client: Client,
    instance_id: str,
    state: str,
    container: Mapping[str, Any] | None,
    waited_s: float,
) -> None:
    """Raise when a container that is not up will not come up any more."""
    if container is not None:
        if state == "INSTALLING" and waited_s < timing.INSTALL_TIMEOUT_S:
            return  # its install scripts run
        after = client.inspect(instance_id)
        if after is None or read_status(after) != read_status(container):
            return  # it was started after it was looked at
        reason = str(container["State"].get("Error") or "The container did not start.")
        client.ask_to_delete(instance_id)
        raise NodeRefused(client.node_id, reason)
    if state == "FAILED":
        if client.inspect(instance_id) is not None:
            return  # it was made after it was looked for, and is looked at next
        raise NodeFailure(
            client.node_id, "The node could not make the container; its own log says why."
        )
    timeout_s = timing.INSTALL_TIMEOUT_S if state == "INSTALLING" else timing.APPEAR_TIMEOUT_S
    if waited_s >= timeout_s:
        raise NodeFailure(client.node_id, "The node made no container.")
