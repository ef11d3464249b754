"""A node that is a Docker Engine, on a local socket or over TCP."""

import http.client
import math
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, wait
from contextlib import closing, contextmanager
from typing import Any

import docker
import requests
import urllib3
from docker.errors import APIError, DockerException, InvalidVersion, NotFound
from docker.transport import UnixHTTPAdapter
from docker.types import LogConfig

from service.drivers import ContainerSpec, ContainerStatus, NodeReport
from service.errors import NodeFailure, NodeRefused, NodeUnreachable
from service.lifecycle import Power, PowerAction

LABEL = "io.skyquay.instance"
"""Marks what is ours; its value is the instance's id. Nothing without it is ever touched."""

DATA_FOLDER = "/app/data"
PIDS_LIMIT = 512
CPU_PERIOD_US = 100_000
SETTLE_TIMEOUT_S = 30.0
"""How long to wait for what somebody else is doing to the same container or volume."""

CAPABILITIES = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "KILL", "NET_BIND_SERVICE", "SETGID", "SETUID")
"""What images need that start as root, fix their files' owner and step down; no more."""

CHECKPOINT_EVERY_S = 1.0
_POLL_S = 0.1


class DockerEngine:
    """One Docker Engine. See NodeDriver."""

    def __init__(
        self, node_id: str, *, base_url: str, connect_timeout_s: float, read_timeout_s: float
    ) -> None:
        """Remember where the engine is, such as unix:///var/run/docker.sock or tcp://host:2375."""
        self._node_id = node_id
        self._base_url = base_url
        self._connect_timeout_s = connect_timeout_s
        self._read_timeout_s = read_timeout_s
        self._client: docker.APIClient | None = None

    def probe(self) -> NodeReport:
        """Ask the engine how it is. See NodeDriver."""
        patience_s = self._connect_timeout_s + 0.5  # for all that is asked, not for each
        with (
            self._translated(),
            closing(
                _Client(self._base_url, self._connect_timeout_s, patience_s, patience_s)
            ) as client,
        ):
            info = client.info()
            return NodeReport(
                version=str(info["ServerVersion"]),
                engine=f"docker {info['ServerVersion']}",
                memory_mib=int(info["MemTotal"]) // 2**20,
                cpu_milli=int(info["NCPU"]) * 1000,
            )

    def create(self, spec: ContainerSpec, *, checkpoint: Callable[[], None]) -> ContainerStatus:
        """Fetch the image if need be; make the volume and the container. See NodeDriver."""
        found = self.status(spec.instance_id)
        if found is not None:
            return found
        self._fetch_image(spec.image, checkpoint)
        checkpoint()
        with self._translated():
            volume = self._engine.create_volume(spec.instance_id, labels={LABEL: spec.instance_id})
            self._require_ours("volume", spec.instance_id, volume.get("Labels"))
        return self._until_there(spec, checkpoint)

    def status(self, instance_id: str) -> ContainerStatus | None:
        """Tell how the container is. See NodeDriver."""
        with self._translated():
            try:
                container = self._engine.inspect_container(instance_id)
            except NotFound:
                return None
            self._require_ours("container", instance_id, container["Config"]["Labels"])
            return _tell(container)

    def power(
        self, instance_id: str, action: PowerAction, *, stop_timeout_s: int = 10
    ) -> ContainerStatus:
        """Start, stop, restart or kill the container. See NodeDriver."""
        if self.status(instance_id) is None:
            raise NodeRefused(self._node_id, f"There is no container {instance_id} on the node.")
        with self._translated():
            match action:
                case PowerAction.START:
                    self._start(lambda: self._engine.start(instance_id))
                case PowerAction.STOP:
                    self._engine.stop(instance_id, timeout=stop_timeout_s)
                case PowerAction.RESTART:
                    self._start(lambda: self._engine.restart(instance_id, timeout=stop_timeout_s))
                case PowerAction.KILL:
                    # Unlike a kill, a stop without patience also keeps the restart policy still.
                    self._engine.stop(instance_id, timeout=0)
        after = self.status(instance_id)
        if after is None:
            raise NodeRefused(self._node_id, f"There is no container {instance_id} on the node.")
        return after

    def remove(self, instance_id: str) -> None:
        """Kill and remove the container and its volume. See NodeDriver."""
        with self._translated():
            if self.status(instance_id) is not None:
                # `v` takes the nameless volumes of the image's VOLUMEs, which nobody would find.
                self._until_gone(
                    lambda: self._engine.remove_container(instance_id, v=True, force=True)
                )
            try:
                volume = self._engine.inspect_volume(instance_id)
            except NotFound:
                return
            self._require_ours("volume", instance_id, volume.get("Labels"))
            self._until_gone(lambda: self._engine.remove_volume(instance_id, force=True))

    def close(self) -> None:
        """Close the connections. See NodeDriver."""
        if self._client is not None:
            self._client.close()
            self._client = None

    @property
    def _engine(self) -> docker.APIClient:
        """The client, which settles the API's version with the engine when it is first used."""
        if self._client is None:
            self._client = self._connect()
        return self._client

    def _connect(self) -> "_Client":
        return _Client(self._base_url, self._connect_timeout_s, self._read_timeout_s)

    def _fetch_image(self, image: str, checkpoint: Callable[[], None]) -> None:
        """Pull the image if it is missing; in a thread, as a registry may say nothing for long.

        When `checkpoint` raises, the thread hangs up at the engine's next word or at the read
        timeout, and the engine gives up the pull.
        """
        if self._has_image(image):
            return
        unwanted = threading.Event()
        pull: Future[None] = Future()

        def follow() -> None:
            try:
                with self._translated():
                    self._pull(image, unwanted)
            except BaseException as exc:  # noqa: BLE001 - handed to the one who waits below
                pull.set_exception(exc)
            else:
                pull.set_result(None)

        threading.Thread(target=follow, daemon=True, name=f"pull {image}").start()
        try:
            while not pull.done():
                wait([pull], timeout=CHECKPOINT_EVERY_S)
                checkpoint()
        finally:
            unwanted.set()
        pull.result()
        if not self._has_image(image):
            raise NodeFailure(self._node_id, f"The pull of {image} ended without the image.")

    def _pull(self, image: str, unwanted: threading.Event) -> None:
        with closing(self._connect()) as client:
            try:
                for progress in client.pull(image, stream=True, decode=True):
                    if unwanted.is_set():
                        return
                    if "error" in progress:
                        raise NodeFailure(
                            self._node_id, f"Cannot pull {image}: {progress['error']}"
                        )
            except NotFound as exc:
                raise NodeRefused(
                    self._node_id, f"Image {image} not found on the registry."
                ) from exc

    def _has_image(self, image: str) -> bool:
        with self._translated():
            try:
                self._engine.inspect_image(image)
            except NotFound:
                return False
            return True

    def _describe(self, spec: ContainerSpec) -> dict[str, Any]:
        client = self._engine
        published = [(mapping, proto) for mapping in spec.ports for proto in ("tcp", "udp")]
        env = {**spec.env, "PRIMARY_PORT": str(spec.primary.container)}
        memory_bytes = spec.memory_mib * 2**20
        host_config = client.create_host_config(
            binds=[f"{spec.instance_id}:{DATA_FOLDER}"],
            port_bindings={f"{m.container}/{proto}": m.host for m, proto in published},
            mem_limit=memory_bytes,
            # Both together: no swap on top. Docker ignores it where the kernel counts no swap.
            memswap_limit=memory_bytes,
            cpu_period=CPU_PERIOD_US,  # unlike NanoCpus, more than the host has is no error
            cpu_quota=spec.cpu_milli * CPU_PERIOD_US // 1000,
            pids_limit=PIDS_LIMIT,
            cap_drop=["ALL"],
            cap_add=list(CAPABILITIES),
            security_opt=["no-new-privileges"],
            init=True,
            restart_policy={"Name": "unless-stopped"},
            log_config=LogConfig(type="json-file", config={"max-size": "10m", "max-file": "3"}),
        )
        config: dict[str, Any] = client.create_container_config(
            spec.image,
            ["sh", "-c", spec.cmd] if isinstance(spec.cmd, str) else list(spec.cmd or ()),
            environment=[f"{name}={value}" for name, value in env.items()],
            labels={LABEL: spec.instance_id},
            working_dir=DATA_FOLDER,
            stdin_open=True,
            ports=[(mapping.container, proto) for mapping, proto in published],
            host_config=host_config,
        )
        return config

    def _start(self, start: Callable[[], None]) -> None:
        try:
            start()
        except APIError as exc:
            port = find_taken_port(_explain(exc))
            if port is None:
                raise
            raise NodeRefused(
                self._node_id, f"Host port {port} is in use on the node by another program."
            ) from exc

    def _until_there(self, spec: ContainerSpec, checkpoint: Callable[[], None]) -> ContainerStatus:
        """Make the container, or adopt it. 409: somebody else is making or removing it.

        Docker gives the name away before the container is to be seen, so once is not enough.
        """
        deadline = time.monotonic() + SETTLE_TIMEOUT_S
        while True:
            with self._translated():
                try:
                    self._engine.create_container_from_config(
                        self._describe(spec), name=spec.instance_id
                    )
                except APIError as exc:
                    if exc.status_code != requests.codes.conflict:
                        raise
            made = self.status(spec.instance_id)
            if made is not None:
                return made
            if time.monotonic() > deadline:
                raise NodeFailure(self._node_id, "The container vanished while it was made.")
            checkpoint()
            time.sleep(_POLL_S)

    def _until_gone(self, remove: Callable[[], None]) -> None:
        """Ask for a removal until there is nothing to remove. 409: one is under way already."""
        deadline = time.monotonic() + SETTLE_TIMEOUT_S
        while True:
            try:
                remove()
            except NotFound:
                return
            except APIError as exc:
                if exc.status_code != requests.codes.conflict or time.monotonic() > deadline:
                    raise
                time.sleep(_POLL_S)
            else:
                return

    def _require_ours(self, what: str, instance_id: str, labels: Mapping[str, str] | None) -> None:
        if (labels or {}).get(LABEL) != instance_id:
            raise NodeRefused(
                self._node_id, f"The node has a {what} {instance_id} that is not Skyquay's."
            )

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except NodeFailure:
            raise
        except Exception as exc:
            failure = translate(self._node_id, exc)
            if failure is None:
                raise
            raise failure from exc


def translate(node_id: str, exc: Exception) -> NodeFailure | None:
    """Turn what the `docker` package and those below it raise into an error of ours.

    None for what is no word about the node, such as a checkpoint's.
    """
    if isinstance(exc, APIError):
        kind = NodeRefused if exc.is_client_error() else NodeFailure
        return kind(node_id, _explain(exc))
    if isinstance(exc, InvalidVersion):
        return NodeFailure(node_id, f"The Docker Engine is too old: {exc}")
    if isinstance(exc, (ValueError, LookupError, TypeError, AttributeError)):
        return NodeFailure(node_id, "What answers there is no Docker Engine.")
    if isinstance(
        exc,
        (
            requests.RequestException,
            urllib3.exceptions.HTTPError,
            http.client.HTTPException,
            DockerException,
            OSError,
        ),
    ):
        return NodeUnreachable(node_id, f"The Docker Engine does not answer: {exc}")
    return None


class _Client(docker.APIClient):
    """docker-py's client with the timeouts that it has no arguments for, and no proxy.

    The API's version is what the engine speaks, which has to be asked after the proxy is off.
    """

    def __init__(
        self,
        base_url: str,
        connect_timeout_s: float,
        read_timeout_s: float,
        patience_s: float | None = None,
    ) -> None:
        """Connect. With `patience_s`, all calls together get that long, whatever each one may."""
        self._connect_timeout_s = connect_timeout_s
        self._deadline = None if patience_s is None else time.monotonic() + patience_s
        super().__init__(base_url, version="1.41", timeout=math.ceil(read_timeout_s))
        self.trust_env = False  # a node is never behind the proxy of our own surroundings
        try:
            self._require_socket()
            self._version = str(self.version(api_version=False)["ApiVersion"])
        except BaseException:
            self.close()
            raise

    def _require_socket(self) -> None:
        # docker-py leaves its socket open when it cannot connect to the engine's.
        adapter = self.get_adapter(self.base_url)
        if isinstance(adapter, UnixHTTPAdapter):
            with socket.socket(socket.AF_UNIX) as probe:
                probe.settimeout(self._connect_timeout_s)
                probe.connect(adapter.socket_path)

    def _set_request_timeout(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        timeout = urllib3.Timeout(
            connect=self._connect_timeout_s,
            read=kwargs.get("timeout", self.timeout),
            total=self._deadline and max(self._deadline - time.monotonic(), 0.001),
        )
        return {**kwargs, "timeout": timeout}


def _tell(container: Mapping[str, Any]) -> ContainerStatus:
    state = container["State"]
    if state["Running"] and not state["Restarting"]:
        return ContainerStatus(container["Id"], Power.RUNNING)
    ran = not state["StartedAt"].startswith("0001-")
    return ContainerStatus(
        container["Id"],
        Power.STOPPED,
        exit_code=state["ExitCode"] if ran else None,
        reason=_find_reason(state, ran=ran),
    )


def _find_reason(state: Mapping[str, Any], *, ran: bool) -> str | None:
    if state["Error"]:
        return str(state["Error"])
    if state["OOMKilled"]:
        return "It was killed because it used more memory than it may."
    if state["Restarting"]:
        return f"It keeps ending with exit code {state['ExitCode']}."
    if ran and state["ExitCode"] not in (0, 137, 143):  # ended by itself, killed, asked to end
        return f"It ended with exit code {state['ExitCode']}."
    return None


def _explain(exc: APIError) -> str:
    return str(exc.explanation or exc)


def find_taken_port(reason: str) -> int | None:
    """Find the host port that Docker says is in use; None when it says something else.

    Docker says so in words only: its status is the 500 of everything that goes wrong. When the
    words change, the start fails with Docker's own, which are as true but longer.
    """
    if "port is already allocated" not in reason and "address already in use" not in reason:
        return None
    # The first address is the host's; one of the container's may follow.
    address = re.search(r"[\d\]]:(\d{1,5})\b", reason)
    return int(address[1]) if address else None
