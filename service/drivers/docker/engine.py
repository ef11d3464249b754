"""A node that is a Docker Engine, on a local socket or over TCP."""

import math
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import Any
from urllib.parse import urlencode, urlsplit

import requests
from docker import auth
from docker.errors import APIError, InvalidRepository, NotFound
from docker.types import LogConfig
from docker.utils import parse_repository_tag

from service.drivers import (
    ENGINE_LINE_BYTES,
    INTERRUPT,
    MAX_ENGINE_ID,
    MAX_LOG_BYTES,
    STOP_GRACE_S,
    UNNAMED,
    Authorize,
    ContainerSpec,
    ContainerStatus,
    NodeReport,
    Owner,
    always,
    parse_spec,
    print_spec,
    read_last_lines,
    split_grace,
)
from service.drivers.answers import read_text
from service.drivers.boundary import raises_only_ours
from service.drivers.bounds import MAX_ANSWER_BYTES, MAX_LIST_BYTES, BoundedSocket, Bounds
from service.drivers.dialing import Dialer
from service.drivers.docker.client import Client, explain, find_taken_port, translate
from service.drivers.docker.labels import DATA_FOLDER, LABEL, SPEC_LABEL, Labelled, Labels
from service.drivers.docker.pull import Pull, PullFailed
from service.errors import NodeFailure, NodeRefused
from service.model.addresses import Refuse, trust
from service.model.driver_traits import DOCKER
from service.model.lifecycle import Power, PowerAction

PIDS_LIMIT = 512
CPU_PERIOD_US = 100_000
LIST_TIMEOUT_S = 10.0
SETTLE_TIMEOUT_S = 30.0
"""How long to wait for what somebody else is doing to the same container or volume."""

CAPABILITIES = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "KILL", "NET_BIND_SERVICE", "SETGID", "SETUID")
"""What images need that start as root, fix their files' owner and step down; no more."""

RESTART_UNLESS_STOPPED = "unless-stopped"
NO_RESTART = "no"
_RUNNING = ("running", "paused")

CHECKPOINT_EVERY_S = 1.0
PULL_TIMEOUT_S = 1800.0
MAX_PULL_BYTES = 256 * 2**20
"""How much an engine may say of the progress of one pull."""

_POLL_S = 0.1


@raises_only_ours(translate)
class DockerEngine:
    """One Docker Engine. See NodeDriver."""

    exclusive = DOCKER.exclusive
    pulls = DOCKER.pulls

    def __init__(
        self,
        node_id: str,
        *,
        base_url: str,
        connect_timeout_s: float,
        read_timeout_s: float,
        refuse: Refuse = trust,
        tls: ssl.SSLContext | None = None,
        owner: Owner = UNNAMED,
        authorize: Authorize = always,
        pull_timeout_s: float = PULL_TIMEOUT_S,
    ) -> None:
        """Remember where the engine is, such as unix:///var/run/docker.sock or tcp://host:2375.

        `refuse` is asked about every address that is connected to over TCP. Only what is the
        `owner`'s is listed or touched. A pull may take `pull_timeout_s` in all.
        """
        self._pull_timeout_s = pull_timeout_s
        self._node_id = node_id
        self._base_url = base_url
        self._guard = Dialer(node_id, refuse, tls)
        self._labels = Labels(owner)
        self._connect_timeout_s = connect_timeout_s
        self._read_timeout_s = read_timeout_s
        self._authorize = authorize
        self._client: Client | None = None

    def probe(self) -> NodeReport:
        """Ask the engine how it is. See NodeDriver."""
        with self._within(0.5) as client:
            info = client.info()
            return NodeReport(
                version=str(info["ServerVersion"]),
                engine=f"docker {info['ServerVersion']}",
                memory_mib=int(info["MemTotal"]) // 2**20,
                cpu_milli=int(info["NCPU"]) * 1000,
                engine_id=str(info.get("ID") or "")[:MAX_ENGINE_ID] or None,
            )

    def recover(self) -> None:
        """Do nothing. The engine restarts containers itself. See NodeDriver."""

    def pull(
        self, image: str, *, checkpoint: Callable[[], None], report: Callable[[str], None]
    ) -> None:
        """Have the engine fetch the image. See NodeDriver."""
        if self._has_image(image):
            report("The image is there already.")
            return
        began = asked_at = time.monotonic()
        pull = self._begin_pull(image)
        try:
            ended = False
            while not ended:
                ended = pull.has_ended(timeout_s=CHECKPOINT_EVERY_S)
                report(pull.progress)
                checkpoint()
                now = time.monotonic()
                if now - began > self._pull_timeout_s:
                    raise NodeRefused(
                        self._node_id,
                        f"The pull of {image} did not end within {self._pull_timeout_s:g} s.",
                    )
                if min(pull.silent_s, now - asked_at) > self._read_timeout_s:
                    # The registry may be slow. But an engine that is gone says nothing either.
                    self._has_image(image)
                    asked_at = time.monotonic()
        finally:
            pull.hang_up()
        self._require_pulled(pull, image)

    def create(self, spec: ContainerSpec, *, checkpoint: Callable[[], None]) -> ContainerStatus:
        """Make the volume and the container. See NodeDriver."""
        found = self.status(spec.instance_id)
        if found is not None:
            return found
        checkpoint()
        volume = self._engine.create_volume(
            spec.instance_id, labels=self._labels.make(spec.instance_id)
        )
        self._require_our_volume(spec.instance_id, volume)
        return self._until_there(spec, checkpoint)

    def status(self, instance_id: str) -> ContainerStatus | None:
        """Return how the container is. See NodeDriver."""
        found = self._find(instance_id)
        return _to_status(found[1]) if found else None

    def list(self) -> Mapping[str, ContainerStatus]:
        """Return how all containers with our label are. See NodeDriver."""
        with self._within(LIST_TIMEOUT_S, MAX_LIST_BYTES) as client:
            found = self._labels.find(client.containers(all=True, filters={"label": LABEL}))
            return {
                each.instance_id: ContainerStatus(
                    each.container["Id"],
                    Power.RUNNING if each.container["State"] in _RUNNING else Power.STOPPED,
                    is_ours=each.is_ours,
                )
                for each in reversed(found)  # of two that are one instance's the likelier one stays
            }

    def describe(self, instance_id: str) -> ContainerSpec | None:
        """Return what the container was made from. See NodeDriver."""
        for each in self._list_labelled(instance_id):
            labels = each.container["Labels"]
            return parse_spec(labels[SPEC_LABEL]) if SPEC_LABEL in labels else None
        return None

    def logs(self, instance_id: str, *, tail: int) -> str:
        """Read the last lines that the program printed. See NodeDriver."""
        found = self._find(instance_id)
        if found is None:
            return ""
        # The first of the engine's lines may be the rest of one. With so many more it is not
        # among the last `tail` lines, unless those are longer than MAX_LOG_BYTES.
        more = MAX_LOG_BYTES // ENGINE_LINE_BYTES + 1
        return read_last_lines(self._engine.logs(found[0], tail=tail + more), tail)

    def power(
        self,
        instance_id: str,
        action: PowerAction,
        *,
        stop_command: str | None = None,
        stop_timeout_s: int = STOP_GRACE_S,
    ) -> ContainerStatus:
        """Start, stop or kill the container. See NodeDriver."""
        found = self._find(instance_id)
        if found is None:
            raise NodeRefused(self._node_id, f"There is no container {instance_id} on the node.")
        match action:
            case PowerAction.START:
                self._start(found[0])
            case PowerAction.STOP:
                self._stop(found[0], stop_command, stop_timeout_s)
            case PowerAction.KILL:
                # Unlike a kill, a stop without a grace also keeps the restart policy still.
                self._engine.stop(found[0], timeout=0)
        after = self.status(instance_id)
        if after is None:
            raise NodeRefused(self._node_id, f"There is no container {instance_id} on the node.")
        return after

    def remove(self, instance_id: str) -> None:
        """Kill and remove the container and its volume. See NodeDriver."""
        found = self._find(instance_id)
        if found is not None:
            self._remove_container(found[0])
        for other in self._list_labelled(instance_id):
            if other.is_ours:
                self._remove_container(other.container["Id"])
        try:
            volume = self._engine.inspect_volume(instance_id)
        except NotFound:
            return
        self._require_our_volume(instance_id, volume)
        self._until_gone(lambda: self._engine.remove_volume(instance_id, force=True))

    def close(self) -> None:
        """Close the connections. See NodeDriver."""
        if self._client is not None:
            self._client.close()
            self._client = None

    @property
    def _engine(self) -> Client:
        """The client, which settles the API's version with the engine when it is first used."""
        if self._client is None:
            self._client = self._connect()
        return self._client

    @contextmanager
    def _within(
        self, beyond_connecting_s: float, max_bytes: int = MAX_ANSWER_BYTES
    ) -> Iterator[Client]:
        """Make a client for which all calls together may take so long, not each."""
        timeout_s = self._connect_timeout_s + beyond_connecting_s
        bounds = Bounds(max_bytes=max_bytes, until=time.monotonic() + timeout_s)
        with closing(self._connect(bounds)) as client:
            yield client

    def _connect(self, bounds: Bounds = Bounds()) -> Client:  # noqa: B008 - frozen
        return Client(
            self._base_url,
            self._guard,
            self._connect_timeout_s,
            self._read_timeout_s,
            bounds,
            self._authorize,
        )

    def _find(self, instance_id: str) -> tuple[str, Mapping[str, Any]] | None:
        """Find the instance's container, by its name or, should it have another, by its labels.

        Answers what the engine knows it by, with what the engine says of it. Raises NodeRefused
        when there is none, and somebody else's has its name.
        """
        named = self._inspect(instance_id)
        if named is not None and self._labels.owns_container(
            instance_id, named["Config"]["Labels"], named["Id"]
        ):
            return instance_id, named
        for each in self._list_labelled(instance_id):
            renamed = self._inspect(each.container["Id"]) if each.is_ours else None
            if renamed is not None:
                return renamed["Id"], renamed
        if named is not None:
            raise self._make_refusal("container", instance_id, named["Config"]["Labels"])
        return None

    def _inspect(self, reference: str) -> Mapping[str, Any] | None:
        try:
            found: Mapping[str, Any] = self._engine.inspect_container(reference)
        except NotFound:
            return None
        return found

    def _list_labelled(self, instance_id: str) -> Sequence[Labelled]:
        try:
            there = self._engine.containers(all=True, filters={"label": f"{LABEL}={instance_id}"})
        except NotFound:
            return ()
        return self._labels.find(there)

    def _remove_container(self, reference: str) -> None:
        # `v` takes the nameless volumes of the image's VOLUMEs, which nobody would find.
        self._until_gone(lambda: self._engine.remove_container(reference, v=True, force=True))

    def _begin_pull(self, image: str) -> Pull:
        repository, tag = parse_repository_tag(image)
        try:
            registry, _ = auth.resolve_repository_name(repository)
        except InvalidRepository as exc:
            raise NodeRefused(self._node_id, f"{image} is no name of an image.") from exc
        header = auth.get_config_header(self._engine, registry)
        query = urlencode({"fromImage": repository, "tag": tag or "latest"})
        self._authorize()
        return Pull(
            self._dial,
            f"/v{self._engine.api_version}/images/create?{query}",
            {"X-Registry-Auth": header.decode()} if header else {},
        )

    def _dial(self) -> BoundedSocket:
        """Connect to the engine, for as long as a pull may take. Raises OSError."""
        address = urlsplit(self._base_url)
        if address.scheme == "unix":
            connection = BoundedSocket(socket.AF_UNIX)
            connection.limit(self._connect_timeout_s)
            connection.connect(address.path)
        else:
            host = address.hostname or ""
            plain = self._guard.connect(host, address.port or 0, self._connect_timeout_s)
            connection = self._guard.secure(plain, host)
        # A moment more, because who waits for the pull ends it with a sentence of its own.
        connection.limit(self._pull_timeout_s + self._read_timeout_s, MAX_PULL_BYTES)
        return connection

    def _require_pulled(self, pull: Pull, image: str) -> None:
        try:
            pull.require_success()
        except PullFailed as exc:
            if exc.status == requests.codes.not_found:
                raise NodeRefused(
                    self._node_id, f"Image {image} not found on the registry."
                ) from exc
            is_client_error = exc.status is not None and 400 <= exc.status < 500
            kind = NodeRefused if is_client_error else NodeFailure
            raise kind(self._node_id, f"Cannot pull {image}: {exc.reason}") from exc
        if not self._has_image(image):
            raise NodeFailure(self._node_id, f"The pull of {image} ended without the image.")

    def _has_image(self, image: str) -> bool:
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
            restart_policy={"Name": RESTART_UNLESS_STOPPED},
            log_config=LogConfig(type="json-file", config={"max-size": "10m", "max-file": "3"}),
        )
        config: dict[str, Any] = client.create_container_config(
            spec.image,
            ["sh", "-c", spec.cmd] if isinstance(spec.cmd, str) else list(spec.cmd or ()),
            environment=[f"{name}={value}" for name, value in env.items()],
            labels={**self._labels.make(spec.instance_id), SPEC_LABEL: print_spec(spec)},
            working_dir=DATA_FOLDER,
            stdin_open=True,
            ports=[(mapping.container, proto) for mapping, proto in published],
            host_config=host_config,
        )
        return config

    def _start(self, instance_id: str) -> None:
        try:
            self._set_restart_policy(instance_id, RESTART_UNLESS_STOPPED)
            self._engine.start(instance_id)
        except APIError as exc:
            port = find_taken_port(explain(exc))
            if port is None:
                raise
            raise NodeRefused(
                self._node_id, f"Host port {port} is in use on the node by another program."
            ) from exc

    def _stop(self, instance_id: str, stop_command: str | None, grace_s: float) -> None:
        """Stop the container, by its own command where it has one.

        A program that ends at a command ends by itself, as far as Docker can see, and would be
        started again: so it has no restart policy from here until it is started.
        """
        command_s, signal_s = split_grace(grace_s, stop_command)
        if stop_command:
            self._set_restart_policy(instance_id, NO_RESTART)
            if self._is_running(instance_id):
                self._command(instance_id, stop_command)
            deadline = time.monotonic() + command_s
            while self._is_running(instance_id) and time.monotonic() < deadline:
                time.sleep(_POLL_S)
        self._engine.stop(instance_id, timeout=math.ceil(signal_s))

    def _command(self, instance_id: str, command: str) -> None:
        if command.upper() == INTERRUPT:
            self._engine.kill(instance_id, signal="SIGINT")
            return
        attached = self._engine.attach_socket(instance_id, params={"stdin": 1, "stream": 1})
        # What docker-py hands out for plain connections is made for reading only.
        stdin = getattr(attached, "_sock", attached)
        # The response is closed first: over TLS its hold on the socket would leave that open.
        with closing(stdin), closing(attached), closing(attached._response):
            stdin.sendall(f"{command}\n".encode())

    def _is_running(self, instance_id: str) -> bool:
        return bool(self._engine.inspect_container(instance_id)["State"]["Running"])

    def _set_restart_policy(self, instance_id: str, name: str) -> None:
        container = self._engine.inspect_container(instance_id)
        if container["HostConfig"]["RestartPolicy"]["Name"] != name:
            policy: Any = {"Name": name}
            self._engine.update_container(instance_id, restart_policy=policy)

    def _until_there(self, spec: ContainerSpec, checkpoint: Callable[[], None]) -> ContainerStatus:
        """Make the container, or adopt it. 409: somebody else is making or removing it.

        Docker gives the name away before the container is to be seen, so once is not enough.
        """
        deadline = time.monotonic() + SETTLE_TIMEOUT_S
        while True:
            try:
                self._engine.create_container_from_config(
                    self._describe(spec), name=spec.instance_id
                )
            except NotFound as exc:
                raise NodeFailure(
                    self._node_id, f"The image {spec.image} is not on the node any more."
                ) from exc
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

    def _require_our_volume(self, instance_id: str, volume: Mapping[str, Any]) -> None:
        if not self._labels.owns_volume(instance_id, volume.get("Labels")):
            raise self._make_refusal("volume", instance_id, volume.get("Labels"))

    def _make_refusal(
        self, what: str, instance_id: str, labels: Mapping[str, str] | None
    ) -> NodeRefused:
        whose = "this Skyquay's" if LABEL in (labels or {}) else "Skyquay's"
        return NodeRefused(
            self._node_id, f"The node has a {what} {instance_id} that is not {whose}."
        )


def _to_status(container: Mapping[str, Any]) -> ContainerStatus:
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
        return read_text(state["Error"])
    if state["OOMKilled"]:
        return "It was killed because it used more memory than it may."
    if state["Restarting"]:
        return f"It keeps ending with exit code {state['ExitCode']}."
    # It ended by itself, or was interrupted, killed or asked to end.
    if ran and state["ExitCode"] not in (0, 130, 137, 143):
        return f"It ended with exit code {state['ExitCode']}."
    return None
