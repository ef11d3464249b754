"""A node that is skyportd, the node daemon of the older panel, over HTTP or HTTPS.

The daemon keeps its states in a file that it rewrites without a lock, so two creations at once can
end it: `exclusive` says so, and the worker lets in one at a time. What it says of an instance is a
hint; what Docker says through it is the truth. A 404 of a container counts only when the daemon can
list containers, because it answers the same when Docker is down.
"""

import builtins
import re
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote

import requests
import structlog

from service.drivers import (
    ENGINE_LINE_BYTES,
    INTERRUPT,
    MAX_ENGINE_ID,
    STOP_GRACE_S,
    Authorize,
    ContainerSpec,
    ContainerStatus,
    Leftovers,
    NodeReport,
    always,
    read_last_lines,
    reasons,
    split_grace,
)
from service.drivers.answers import read_json, read_text
from service.drivers.boundary import raises_only_ours
from service.drivers.bounds import MAX_LIST_BYTES, Bounds
from service.drivers.dialing import Dialer, DialingAdapter
from service.drivers.skyportd.console import ConsoleError, read_last, write_line
from service.drivers.skyportd.files import ERASE_TIMEOUT_S, Said, erase
from service.drivers.skyportd.uptime import find_start, parse_time
from service.errors import NodeFailure, NodeRefused, NodeUnreachable
from service.model.addresses import Refuse, trust
from service.model.driver_traits import SKYPORTD
from service.model.lifecycle import Power, PowerAction
from service.model.ports import PortMapping

USER = "Skyport"
DATA_FOLDER = "/app/data"
LIST_TIMEOUT_S = 10.0
INSTALL_TIMEOUT_S = 900.0
"""How long a creation may take, with the image's pull and the install scripts."""

APPEAR_TIMEOUT_S = 15.0
"""How long the daemon may know nothing of what it was told to create."""

STEADY_S = 1.0
"""How long a program must run to count as started."""

GLITCH_S = 2.0
"""How long the daemon's state file may be unreadable while it is being written."""

SETTLE_TIMEOUT_S = 5.0
"""How long a removal waits for a creation under way to notice that its container is gone."""

CHECKPOINT_EVERY_S = 1.0
_POLL_S = 0.25
_MAX_POLL_S = 2.0
_UNFINISHED = ("INSTALLING", "UNKNOWN")  # a state file that was repaired knows nothing
_SHOWN_LINES = 25
_MIN_STOP_S = 1.0
_GONE = 404
_CONFLICT = 409
_NOT_MODIFIED = 304
_OK = range(200, 300)
_READING = re.compile(r"/|/instances(/[^/]+)?|/state/[^/]+|/stats|/fs/[^/]+/files")
"""The paths whose GET changes nothing. Others delete."""

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")  # as Docker has it
_INNER = re.compile(r"\(HTTP code (\d{3})\) [^-]*- (.*)", re.DOTALL)


def translate(node_id: str, exc: Exception) -> NodeFailure:
    """Turn what calls of the daemon raise into an error of ours."""
    return reasons.translate(node_id, exc, who="The daemon", what="skyportd")


@raises_only_ours(translate)
class Skyportd:
    """One daemon. See NodeDriver."""

    exclusive = SKYPORTD.exclusive
    pulls = SKYPORTD.pulls

    def __init__(
        self,
        node_id: str,
        *,
        base_url: str,
        key: str,
        connect_timeout_s: float,
        read_timeout_s: float,
        refuse: Refuse = trust,
        tls: ssl.SSLContext | None = None,
        authorize: Authorize = always,
    ) -> None:
        """Remember where the daemon is, such as http://host:3002, and its key.

        `refuse` is asked about every address that is connected to.
        """
        self._node_id = node_id
        self._base_url = base_url.rstrip("/")
        self._connect_timeout_s = connect_timeout_s
        self._read_timeout_s = read_timeout_s
        self._key = key
        self._authorize = authorize
        self._session = requests.Session()  # which does not retry: some of its GETs delete
        self._session.trust_env = False  # a node is never behind the proxy of our surroundings
        self._session.auth = (USER, key)
        request_id = structlog.contextvars.get_contextvars().get("request_id")
        if request_id:  # who asked for the operation that this is a part of
            self._session.headers["X-Request-Id"] = request_id
        self._dialer = Dialer(node_id, refuse, tls)
        self._bounded = DialingAdapter(self._dialer, Bounds(max_bytes=MAX_LIST_BYTES))
        self._session.mount("http://", self._bounded)
        self._session.mount("https://", self._bounded)

    def probe(self) -> NodeReport:
        """Ask the daemon how it is. See NodeDriver."""
        with self._bounded.within(self._connect_timeout_s + 0.5):
            return self._probe()

    def _probe(self) -> NodeReport:
        answer = self._call("GET", "/")
        body = self._require_object(answer)
        docker = body.get("docker")
        if not isinstance(docker, dict) or docker.get("status") != "running":
            raise NodeFailure(self._node_id, "Docker is not running on the node.")
        self._require_state_file()
        system = docker.get("systemInfo")
        system = system if isinstance(system, dict) else {}
        return NodeReport(
            version=str(body.get("versionRelease", "")).removeprefix("skyportd "),
            engine=f"docker {system.get('ServerVersion', '')}".strip(),
            memory_mib=_scale(system.get("MemTotal"), 1 / 2**20),
            cpu_milli=_scale(system.get("NCPU"), 1000),
            engine_id=str(system.get("ID") or "")[:MAX_ENGINE_ID] or None,
        )

    def recover(self) -> None:
        """Do nothing. The node's engine restarts containers itself. See NodeDriver."""

    def pull(
        self, image: str, *, checkpoint: Callable[[], None], report: Callable[[str], None]
    ) -> None:
        """Leave it to the creation, of which the daemon makes it a part. See NodeDriver."""

    def create(self, spec: ContainerSpec, *, checkpoint: Callable[[], None]) -> ContainerStatus:
        """Have the container made and started, and wait for the end. See NodeDriver."""
        body = self._describe_creation(spec)
        self._require_state_file(spec.instance_id)  # a creation would end the daemon otherwise
        container = self._find_earlier(spec.instance_id, checkpoint)
        if container is not None and self._is_abandoned(spec.instance_id, container):
            self._delete_container(spec.instance_id)
            container = None
        env = None
        if container is None:
            env = self._send_creation(body, checkpoint)
        return self._reconcile(spec.instance_id, env, checkpoint)

    def status(self, instance_id: str) -> ContainerStatus | None:
        """Return how the container is. See NodeDriver."""
        container = self._inspect(instance_id)
        return None if container is None else self._to_status(container)

    def list(self) -> Mapping[str, ContainerStatus]:
        """Return how all containers are that have a volume of the daemon's. See NodeDriver."""
        found: dict[str, ContainerStatus] = {}
        with self._bounded.within(self._connect_timeout_s + LIST_TIMEOUT_S):
            containers = self._list_containers()
        for container in containers:
            name = _find_volume(container.get("Mounts"))
            if name is not None and f"/{name}" in (container.get("Names") or ()):
                running = container.get("State") in ("running", "paused")
                found[name] = ContainerStatus(
                    str(container.get("Id")), Power.RUNNING if running else Power.STOPPED
                )
        return found

    def describe(self, instance_id: str) -> ContainerSpec | None:
        """Return what the container was made from, as far as Docker shows it. See NodeDriver."""
        container = self._inspect(instance_id)
        if container is None:
            return None
        config, host = container.get("Config") or {}, container.get("HostConfig") or {}
        env = dict(line.partition("=")[::2] for line in config.get("Env") or ())
        ports = _find_ports(host.get("PortBindings") or {})
        primary = next((m for m in ports if str(m.host) == env.get("PRIMARY_PORT")), None)
        if primary is None:
            return None
        return ContainerSpec(
            instance_id=instance_id,
            image=str(config.get("Image")),
            cmd=tuple(config.get("Cmd") or ()) or None,
            env={name: value for name, value in env.items() if name != "PRIMARY_PORT"},
            memory_mib=int(host.get("Memory") or 0) // 2**20,
            cpu_milli=int(host.get("CpuCount") or 0) * 1000,
            ports=ports,
            primary=primary,
        )

    def logs(self, instance_id: str, *, tail: int) -> str:
        """Read the last lines, of which the daemon shows 24 whole ones at the most. See NodeDriver.

        It shows 25 of its engine's lines, and the first of those may be the rest of a longer one.
        """
        if self._inspect(instance_id) is None:
            return ""
        try:
            printed = read_last(
                self._dialer,
                self._console_url(instance_id),
                self._key,
                timeout_s=self._connect_timeout_s,
            )
        except ConsoleError as exc:
            raise NodeUnreachable(self._node_id, f"The console does not answer: {exc}") from exc
        lines = printed.encode().splitlines(keepends=True)
        if sum(len(line) // ENGINE_LINE_BYTES + 1 for line in lines) >= _SHOWN_LINES:
            lines = lines[1:] or lines
        return read_last_lines(b"".join(lines), tail)

    def power(
        self,
        instance_id: str,
        action: PowerAction,
        *,
        stop_command: str | None = None,
        stop_timeout_s: int = STOP_GRACE_S,
    ) -> ContainerStatus:
        """Start, stop or kill the container. See NodeDriver."""
        container = self._inspect(instance_id)
        if container is None:
            raise NodeRefused(self._node_id, f"There is no container {instance_id} on the node.")
        if action == PowerAction.START and container["State"].get("Paused"):
            self._change_power(instance_id, "unpause")
        if action == PowerAction.STOP:
            self._stop(instance_id, stop_command, stop_timeout_s)
        else:
            self._change_power(instance_id, action.value)
        after = self._inspect(instance_id)
        if after is None:
            raise NodeRefused(self._node_id, f"There is no container {instance_id} on the node.")
        status = self._to_status(after)
        if action == PowerAction.START and after["State"].get("Status") == "created":
            raise NodeRefused(self._node_id, status.reason or "The container does not start.")
        return status

    def remove(self, instance_id: str) -> Leftovers | None:
        """Remove the container, and then its volume. See NodeDriver.

        The daemon says that it removes the volume, and does not.
        """
        if not _NAME.fullmatch(instance_id):
            return None  # no container and no volume can be named so, and a path could
        container = self._inspect(instance_id)
        installs = self._may_install(instance_id, container)
        self._delete_container(instance_id)
        if installs and container is not None:
            self._await_end(instance_id)
        return erase(self._ask_files, instance_id, path=_find_source(container), whole=not installs)

    def close(self) -> None:
        """Close the connections. See NodeDriver."""
        self._session.close()

    def _stop(self, instance_id: str, stop_command: str | None, grace_s: float) -> None:
        command_s, signal_s = split_grace(grace_s, stop_command)
        if stop_command:
            self._ask_to_stop(instance_id, stop_command, command_s)
        try:
            self._change_power(instance_id, "stop", timeout_s=max(signal_s, _MIN_STOP_S))
        except NodeUnreachable:
            # Docker lets the program have ten seconds, which the daemon cannot be told.
            self._change_power(instance_id, "kill")

    def _ask_to_stop(self, instance_id: str, command: str, timeout_s: float) -> None:
        """Return the program to end in its own words, and wait for that, `timeout_s` in all."""
        deadline = time.monotonic() + timeout_s
        # The container has a terminal, which makes an interrupt of this character.
        line = "\x03" if command.upper() == INTERRUPT else command
        self._authorize()
        try:
            write_line(
                self._dialer,
                self._console_url(instance_id),
                self._key,
                line,
                timeout_s=self._connect_timeout_s,
            )
        except ConsoleError:
            return  # it is stopped in the usual way
        while time.monotonic() < deadline:
            container = self._inspect(instance_id)
            if container is None or not container["State"].get("Running"):
                return
            time.sleep(_POLL_S)

    def _console_url(self, instance_id: str) -> str:
        return f"ws{self._base_url.removeprefix('http')}/exec/{_quote(instance_id)}"

    # Creating

    def _describe_creation(self, spec: ContainerSpec) -> dict[str, Any]:
        """Make the body of a creation. What the daemon would never answer is refused here."""
        mappings = [spec.primary, *(m for m in spec.ports if m != spec.primary)]
        bindings = {
            f"{mapping.container}/{protocol}": [{"HostPort": str(mapping.host)}]
            for mapping in mappings  # the first one's host port becomes PRIMARY_PORT
            for protocol in ("tcp", "udp")
        }
        body: dict[str, Any] = {
            "Name": spec.instance_id,
            "Id": spec.instance_id,
            "Image": spec.image,
            "Env": [f"{k}={v}" for k, v in spec.env.items() if k not in spec.variables],
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
                    raise NodeRefused(self._node_id, f"The install script {path!r} is not allowed.")
            body["Scripts"] = {"Install": [{"Uri": uri, "Path": p} for uri, p in spec.install]}
        return body

    def _send_creation(
        self, body: Mapping[str, Any], checkpoint: Callable[[], None]
    ) -> tuple[str, ...] | None:
        """Send it, and wait for its answer, which comes when the image was pulled.

        None when no answer came: what became of it has to be found out.
        """
        sent: Future[requests.Response] = Future()

        def send() -> None:
            try:
                sent.set_result(
                    self._call(
                        "POST", "/instances/create", body=body, read_timeout_s=INSTALL_TIMEOUT_S
                    )
                )
            except BaseException as exc:  # noqa: BLE001 - handed to the one who waits below
                sent.set_exception(exc)

        checkpoint()
        threading.Thread(target=send, daemon=True, name=f"create {body['Id']}").start()
        while not sent.done():
            wait([sent], timeout=CHECKPOINT_EVERY_S)
            checkpoint()
            if not sent.done() and self._has_ended(str(body["Id"])):
                return None  # some creations are never answered
        answer = sent.result()
        if answer.status_code in _OK:
            env = self._require_object(answer).get("Env")
            return tuple(map(str, env)) if isinstance(env, list) else None
        inner, reason = _explain(answer)
        kind = NodeRefused if inner in (400, _GONE) else NodeFailure
        if inner == _GONE:
            reason = f"Image {body['Image']} not found on the registry."
        raise kind(self._node_id, reason)

    def _has_ended(self, instance_id: str) -> bool:
        """Return whether the daemon has given up, or is done, although it answers nothing."""
        try:
            return self._read_state(instance_id) in ("READY", "FAILED")
        except NodeFailure:
            return False  # it may be busy

    def _find_earlier(
        self, instance_id: str, checkpoint: Callable[[], None]
    ) -> dict[str, Any] | None:
        """Find the container of an earlier creation, which perhaps still pulls the image."""
        deadline = time.monotonic() + APPEAR_TIMEOUT_S
        while True:
            state = self._read_state(instance_id)  # before Docker, which may know more by then
            container = self._inspect(instance_id)
            if container is not None or state != "INSTALLING" or time.monotonic() > deadline:
                return container
            checkpoint()
            time.sleep(_POLL_S)

    def _reconcile(
        self,
        instance_id: str,
        env: tuple[str, ...] | None,
        checkpoint: Callable[[], None],
    ) -> ContainerStatus:
        """Find out what became of a creation: Docker's word counts, the daemon's is a hint."""
        began, pause_s, running_since = time.monotonic(), _POLL_S, None
        while True:
            now = time.monotonic()
            container = self._inspect(instance_id)
            docker = _read_status(container) if container else None
            if container is not None and docker in ("running", "paused"):
                running_since = running_since or now
                if now - running_since >= STEADY_S:
                    return self._to_status(container, env)
            else:
                running_since = None
                state = self._read_state(instance_id)
                # It ran, so it was made, even when the daemon's word of that was lost.
                settled = state != "INSTALLING" or now - began >= APPEAR_TIMEOUT_S
                if container is not None and docker in ("exited", "dead") and settled:
                    return self._to_status(container, env)
                self._check_progress(instance_id, state, container, now - began)
            checkpoint()
            time.sleep(pause_s)
            pause_s = min(pause_s * 1.5, STEADY_S if running_since else _MAX_POLL_S)

    def _check_progress(
        self,
        instance_id: str,
        state: str,
        container: Mapping[str, Any] | None,
        waited_s: float,
    ) -> None:
        """Raise when a container that is not up will not come up any more."""
        if container is not None:
            if state == "INSTALLING" and waited_s < INSTALL_TIMEOUT_S:
                return  # its install scripts run
            after = self._inspect(instance_id)
            if after is None or _read_status(after) != _read_status(container):
                return  # it was started after it was looked at
            reason = str(container["State"].get("Error") or "The container did not start.")
            self._call("GET", f"/instances/{_quote(instance_id)}/delete")
            raise NodeRefused(self._node_id, reason)
        if state == "FAILED":
            raise NodeFailure(
                self._node_id, "The node could not make the container; its own log says why."
            )
        timeout_s = INSTALL_TIMEOUT_S if state == "INSTALLING" else APPEAR_TIMEOUT_S
        if waited_s >= timeout_s:
            raise NodeFailure(self._node_id, "The node made no container.")

    def _is_abandoned(self, instance_id: str, container: Mapping[str, Any]) -> bool:
        """Return whether the daemon ended between making this container and starting it.

        Raises NodeUnreachable while that cannot be told, which is for a minute after its start.
        """
        state = self._read_state(instance_id)
        if state not in _UNFINISHED or not _is_unstarted(container):
            return False
        outlived = self._has_outlived(container)
        if outlived is None:
            raise NodeUnreachable(
                self._node_id, "Whether the daemon still installs it will be known in a minute."
            )
        return not outlived

    def _has_outlived(self, container: Mapping[str, Any]) -> bool | None:
        """Return whether the daemon has been running since it made this container.

        None while its uptime leaves both open. All three times are of the node's own clock.
        """
        answer = self._call("GET", "/stats")
        body, made_at = _read_json(answer), parse_time(container.get("Created"))
        start = None
        if answer.status_code in _OK and isinstance(body, dict):
            start = find_start(body, answer.headers.get("Date", ""))
        if start is None or made_at is None:
            return True  # nothing says that it has not
        if made_at < start[0]:
            return False
        return True if made_at >= start[1] else None

    def _may_install(self, instance_id: str, container: Mapping[str, Any] | None) -> bool:
        """Return whether the daemon may be writing install scripts into the volume."""
        try:
            state = self._read_state(instance_id)
        except NodeUnreachable:
            raise
        except NodeFailure:
            return True  # its state file is broken, or is just being written
        if state != "INSTALLING" or (container is not None and not _is_unstarted(container)):
            return False
        return container is None or self._has_outlived(container) is not False

    def _await_end(self, instance_id: str) -> None:
        """Let the daemon notice that a container which it was to start is gone."""
        deadline = time.monotonic() + SETTLE_TIMEOUT_S
        while time.monotonic() < deadline:
            try:
                if self._read_state(instance_id) != "INSTALLING":
                    return
            except NodeUnreachable:
                raise
            except NodeFailure:
                pass  # it may be writing it
            time.sleep(_POLL_S)

    # Asking

    def _inspect(self, instance_id: str) -> dict[str, Any] | None:
        """Ask Docker about a container. None only when the daemon can list those that there are."""
        answer = self._call("GET", f"/instances/{_quote(instance_id)}")
        if answer.status_code in _OK:
            container = self._require_object(answer)
            if not isinstance(container.get("State"), dict):
                raise NodeFailure(self._node_id, "What answers there is no skyportd.")
            return container
        if answer.status_code != _GONE:
            raise NodeFailure(self._node_id, _explain(answer)[1])
        self._list_containers()
        return None

    def _list_containers(self) -> builtins.list[dict[str, Any]]:
        answer = self._call("GET", "/instances")
        found = _read_json(answer)
        if answer.status_code not in _OK or not isinstance(found, list):
            raise NodeFailure(self._node_id, f"Docker is not there: {_explain(answer)[1]}")
        return [container for container in found if isinstance(container, dict)]

    def _read_state(self, instance_id: str) -> str:
        answer = self._call("GET", f"/state/{_quote(instance_id)}")
        body = _read_json(answer)
        state = body.get("state") if isinstance(body, dict) else None
        if answer.status_code not in _OK or not isinstance(state, str):
            raise NodeFailure(self._node_id, _BROKEN)
        return state

    def _require_state_file(self, instance_id: str = "skyquay") -> None:
        """Raise NodeFailure when the state file is broken, not when it is just being written."""
        deadline = time.monotonic() + GLITCH_S
        while True:
            try:
                self._read_state(instance_id)
            except NodeUnreachable:
                raise
            except NodeFailure:
                if time.monotonic() >= deadline:
                    raise
                time.sleep(_POLL_S)
            else:
                return

    def _change_power(self, instance_id: str, verb: str, *, timeout_s: float | None = None) -> None:
        path = f"/instances/{_quote(instance_id)}/{verb}"
        answer = self._call("POST", path, read_timeout_s=timeout_s)
        if answer.status_code in _OK or answer.status_code == _NOT_MODIFIED:
            return
        inner, reason = _explain(answer)
        if inner == _NOT_MODIFIED or (inner == _CONFLICT and "is not running" in reason):
            return  # it is as it should be
        if inner == _GONE:
            raise NodeRefused(self._node_id, f"There is no container {instance_id} on the node.")
        kind = NodeRefused if inner == 400 else NodeFailure
        raise kind(self._node_id, reason)

    def _delete_container(self, instance_id: str) -> None:
        """Kill and remove the container, whatever its state, until it is gone."""
        deadline = time.monotonic() + self._read_timeout_s
        while self._inspect(instance_id) is not None:
            answer = self._call("GET", f"/instances/{_quote(instance_id)}/delete")
            inner, reason = _GONE, "The node says that it removed the container, and did not."
            if answer.status_code not in _OK:
                inner, reason = _explain(answer)
            if inner not in (_GONE, _CONFLICT) or time.monotonic() > deadline:
                raise NodeFailure(self._node_id, reason)
            if answer.status_code not in _OK:
                time.sleep(_POLL_S)  # gone by now, or on its way out

    def _ask_files(self, method: str, path: str) -> Said:
        """Send a call about files. One without an answer raises only when the daemon is away."""
        try:
            answer = self._call(method, path, read_timeout_s=ERASE_TIMEOUT_S)
        except NodeUnreachable as exc:
            self._list_containers()
            return Said(False, None, exc.reason)
        body = _read_json(answer)
        message = body.get("message") if isinstance(body, dict) else None
        reason = message if isinstance(message, str) else _explain(answer)[1]
        return Said(answer.status_code in _OK, body, reason)

    def _to_status(
        self, container: Mapping[str, Any], env: tuple[str, ...] | None = None
    ) -> ContainerStatus:
        state = container["State"]
        container_id = str(container.get("Id"))
        if state.get("Running"):
            return ContainerStatus(container_id, Power.RUNNING, env=env)
        code = state.get("ExitCode") if state.get("Status") != "created" else None
        return ContainerStatus(
            container_id,
            Power.STOPPED,
            exit_code=code,
            reason=_find_reason(state, code),
            env=env,
        )

    def _require_object(self, answer: requests.Response) -> dict[str, Any]:
        body = _read_json(answer)
        if answer.status_code not in _OK or not isinstance(body, dict):
            raise NodeFailure(self._node_id, _explain(answer)[1])
        return body

    def _call(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        read_timeout_s: float | None = None,
    ) -> requests.Response:
        """Send one request, once; one that may change something only if that is authorized.

        Raises NodeUnreachable without an answer, NodeRefused for 401.
        """
        if method != "GET" or not _READING.fullmatch(path):
            self._authorize()
        try:
            answer = self._session.request(
                method,
                f"{self._base_url}{path}",
                json=body,
                timeout=(self._connect_timeout_s, read_timeout_s or self._read_timeout_s),
                allow_redirects=False,
            )
        except Exception as exc:
            raise translate(self._node_id, exc) from exc
        if answer.status_code == requests.codes.unauthorized:
            raise NodeRefused(self._node_id, "The daemon does not accept the node's key.")
        return answer


_BROKEN = (
    "The daemon's state file is broken. Stop the daemon, write {} into storage/states.json, and "
    "start it again."
)


def _quote(part: str) -> str:
    return quote(part, safe="")


def _read_json(answer: requests.Response) -> object:
    try:
        return read_json(answer.content)
    except ValueError:
        return None


def _explain(answer: requests.Response) -> tuple[int, str]:
    """Read an error, whatever it is: Docker's own status where there is one, and the reason."""
    body = _read_json(answer)
    text = None
    if isinstance(body, dict):
        text = body.get("message") or body.get("error")
    if not isinstance(text, str):
        return answer.status_code, f"The daemon answered {answer.status_code}."
    match = _INNER.match(text)
    status, reason = (int(match[1]), match[2]) if match else (answer.status_code, text)
    return status, read_text(reason.strip())


def _find_reason(state: Mapping[str, Any], code: int | None) -> str | None:
    if state.get("Error"):
        return read_text(state["Error"])
    if state.get("OOMKilled"):
        return "It was killed because it used more memory than it may."
    if code not in (None, 0, 130, 137, 143):
        return f"It ended with exit code {code}."
    return None


def _find_volume(mounts: object) -> str | None:
    """Find the volume of the daemon's that a container has: `.../volumes/<Id>` on /app/data."""
    for mount in mounts if isinstance(mounts, list) else ():
        source = PurePosixPath(str(mount.get("Source")))
        if mount.get("Destination") == DATA_FOLDER and source.parent.name == "volumes":
            return source.name
    return None


def _find_source(container: Mapping[str, Any] | None) -> str | None:
    """Find where a container's volume is on the node's disk."""
    mounts = container.get("Mounts") if container else None
    for mount in mounts if isinstance(mounts, list) else ():
        if isinstance(mount, dict) and mount.get("Destination") == DATA_FOLDER:
            return str(mount.get("Source"))
    return None


def _read_status(container: Mapping[str, Any]) -> object:
    return container["State"].get("Status")


def _is_unstarted(container: Mapping[str, Any]) -> bool:
    """Return whether Docker made the container and was never told to start it."""
    return _read_status(container) == "created" and not container["State"].get("Error")


def _find_ports(bindings: Mapping[str, Any]) -> tuple[PortMapping, ...]:
    found = {}
    for port, hosts in bindings.items():
        number, _, _ = port.partition("/")
        host = str((hosts or [{}])[0].get("HostPort", ""))
        if number.isdigit() and host.isdigit():
            found[int(host)] = PortMapping(container=int(number), host=int(host))
    return tuple(found.values())


def _scale(amount: object, factor: float) -> int | None:
    return int(amount * factor) if isinstance(amount, (int, float)) else None
