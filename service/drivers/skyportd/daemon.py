"""A node that is skyportd, the node daemon of the older panel, over HTTP or HTTPS.

The daemon keeps its states in a file that it rewrites without a lock, so two creations at once can
end it: `exclusive` says so, and the worker lets in one at a time. What it says of an instance is a
hint; what Docker says through it is the truth.
"""

import re
import ssl
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from service.drivers import (
    INTERRUPT,
    STOP_GRACE_S,
    Authorize,
    ContainerSample,
    ContainerSpec,
    ContainerStatus,
    ContainerUsage,
    Delivery,
    Leftovers,
    NodeReport,
    always,
    split_grace,
)
from service.drivers.boundary import raises_only_ours
from service.drivers.bounds import (
    CONNECT_TIMEOUT_S,
    CONSOLE_TIMEOUT_S,
    LOG_TIMEOUT_S,
    READ_TIMEOUT_S,
    USAGE_TIMEOUT_S,
)
from service.drivers.dialing import Dialer
from service.drivers.engine_usage import to_sample, to_usage
from service.drivers.last_output import read_last_lines
from service.drivers.log_lines import LogStream, make_lines
from service.drivers.power_feed import ComparedLists, PowerFeed
from service.drivers.reach import Network, Reach
from service.drivers.skyportd import creation, installing, timing
from service.drivers.skyportd.client import Client, translate
from service.drivers.skyportd.console import ConsoleError, begin_with_whole_line
from service.drivers.skyportd.files import erase
from service.drivers.skyportd.inspection import (
    find_source,
    find_volume,
    parse_size,
    to_report,
    to_spec,
    to_status,
)
from service.errors import NodeFailure, NodeRefused, NodeUnreachable
from service.model.addresses import Refuse, trust
from service.model.driver_traits import SKYPORTD
from service.model.lifecycle import Power, PowerAction
from service.model.printed_lines import LogLine

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")  # as Docker has it


_NO_ARCHIVES = "The daemon of this node cannot copy the files of an instance."


@raises_only_ours(translate)
class Skyportd:
    """One daemon. See NodeDriver."""

    exclusive = SKYPORTD.exclusive
    pulls = SKYPORTD.pulls
    steady_s = SKYPORTD.steady_s

    def __init__(
        self,
        node_id: str,
        *,
        base_url: str,
        key: str,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        read_timeout_s: float = READ_TIMEOUT_S,
        refuse: Refuse = trust,
        tls: ssl.SSLContext | None = None,
        authorize: Authorize = always,
    ) -> None:
        """Remember where the daemon is, such as http://host:3002, and its key.

        `refuse` is asked about every address that is connected to.
        """
        self._node_id = node_id
        self._client = Client(
            Dialer(node_id, refuse, tls),
            base_url=base_url,
            key=key,
            connect_timeout_s=connect_timeout_s,
            read_timeout_s=read_timeout_s,
            authorize=authorize,
        )
        self.reach: Reach = Network(Dialer(node_id, refuse), urlsplit(base_url).hostname or "")

    def probe(self) -> NodeReport:
        """Ask the daemon how it is. See NodeDriver."""
        with self._client.within(0.5):
            body = self._client.require_object(self._client.call("GET", "/"))
            docker = body.get("docker")
            if not isinstance(docker, dict) or docker.get("status") != "running":
                raise NodeFailure(self._node_id, "Docker is not running on the node.")
            self._client.require_state_file()
            system = docker.get("systemInfo")
            return to_report(body, system if isinstance(system, dict) else {})

    def recover(self) -> None:
        """Do nothing. The node's engine restarts containers itself. See NodeDriver."""

    def pull(
        self, image: str, *, checkpoint: Callable[[], None], report: Callable[[str], None]
    ) -> None:
        """Leave it to the creation, of which the daemon makes it a part. See NodeDriver."""

    def create(self, spec: ContainerSpec, *, checkpoint: Callable[[], None]) -> ContainerStatus:
        """Have the container made and started, and wait for the end. See NodeDriver."""
        client, instance_id = self._client, spec.instance_id
        body = creation.make_body(self._node_id, spec)
        client.require_state_file(instance_id)  # a creation would end the daemon otherwise
        container = creation.find_earlier(client, instance_id, checkpoint)
        if container is not None and installing.is_abandoned(client, instance_id, container):
            client.delete_container(instance_id)
            container = None
        env = None
        if container is None:
            env = creation.send(client, body, checkpoint)
        return creation.await_outcome(client, instance_id, env, checkpoint)

    def status(self, instance_id: str) -> ContainerStatus | None:
        """Return how the container is. See NodeDriver."""
        container = self._client.inspect(instance_id)
        return None if container is None else to_status(container)

    def list(self) -> Mapping[str, ContainerStatus]:
        """Return how all containers are that have a volume of the daemon's. See NodeDriver."""
        found: dict[str, ContainerStatus] = {}
        with self._client.within(timing.LIST_TIMEOUT_S):
            containers = self._client.list_containers()
        for container in containers:
            name = find_volume(container.get("Mounts"))
            if name is not None and f"/{name}" in (container.get("Names") or ()):
                running = container.get("State") in ("running", "paused")
                found[name] = ContainerStatus(
                    str(container.get("Id")), Power.RUNNING if running else Power.STOPPED
                )
        return found

    def describe(self, instance_id: str) -> ContainerSpec | None:
        """Return what the container was made from, as far as Docker shows it. See NodeDriver."""
        container = self._client.inspect(instance_id)
        return None if container is None else to_spec(instance_id, container)

    def logs(self, instance_id: str, *, tail: int) -> str:
        """Read the last lines, of which the daemon shows 24 whole ones at the most. See NodeDriver.

        It shows 25 of its engine's lines, and the first of those may be the rest of a longer one.
        """
        if self._client.inspect(instance_id) is None:
            return ""
        try:
            printed = self._client.read_console(instance_id)
        except ConsoleError as exc:
            raise NodeUnreachable(self._node_id, f"The console does not answer: {exc}") from exc
        return read_last_lines(begin_with_whole_line(printed), tail)

    def read_logs(self, instance_id: str, *, tail: int, **_: object) -> Sequence[LogLine]:
        """Read the last lines, without times. See `logs`."""
        return make_lines(self.logs(instance_id, tail=tail))

    def follow_logs(self, instance_id: str, *, tail: int, **_: object) -> LogStream:
        """Read the last lines, as many as the daemon shows, and those to come. See NodeDriver.

        When the program starts again, lines that are like the last ones before are left out.
        """

        def inspect() -> dict[str, Any] | None:
            with self._client.within(LOG_TIMEOUT_S):
                return self._client.inspect(instance_id)

        container_id = (inspect() or {}).get("Id")

        def find_run() -> str | None:
            now = inspect()
            if now is None or now.get("Id") != container_id:
                return None
            state = now["State"]
            return str(state.get("StartedAt")) if state.get("Running") else ""

        read = partial(self._client.follow_console, instance_id, find_run, tail=tail)
        return LogStream(container_id, read, partial(translate, self._node_id))

    def printed(self, instance_id: str) -> str:
        """Refuse: what the console shows may be of any start. See NodeDriver."""
        raise NodeRefused(self._node_id, f"Which start of {instance_id} printed what is not known.")

    def command(self, instance_id: str, line: str) -> Delivery:
        """Write a line to the program's terminal. See NodeDriver."""
        with self._client.within(CONSOLE_TIMEOUT_S):
            container = self._client.inspect(instance_id)
        if container is None or to_status(container).power != Power.RUNNING:
            return Delivery.NOT_RUNNING
        try:
            self._client.write_console(instance_id, line)
        except ConsoleError as exc:
            raise NodeUnreachable(self._node_id, f"The console does not answer: {exc}") from exc
        return Delivery.SENT

    def usage(self, instance_id: str) -> ContainerUsage | None:
        """Read what the container uses, with its volume, but not its network. See NodeDriver."""
        with self._client.within(USAGE_TIMEOUT_S):
            container = self._client.inspect(instance_id)
        if container is None or to_status(container).power != Power.RUNNING:
            return None
        try:
            sample = self._client.read_sample(instance_id)
        except ConsoleError as exc:
            raise NodeUnreachable(self._node_id, f"The console does not answer: {exc}") from exc
        return to_usage(container, sample, disk_bytes=parse_size(sample.get("volumeSize")))

    def sample(self, instance_ids: Sequence[str]) -> Mapping[str, ContainerSample]:
        """Read what the containers have used, and their volumes. See NodeDriver."""
        found = {}
        for instance_id in instance_ids:
            try:
                answer = self._client.read_sample(instance_id)
            except ValueError:
                continue  # "Container not found", in words
            except ConsoleError as exc:
                raise NodeUnreachable(self._node_id, f"The console does not answer: {exc}") from exc
            sample = to_sample(answer, disk_bytes=parse_size(answer.get("volumeSize")))
            if sample is not None:
                found[instance_id] = sample
        return found

    def measure_volumes(self, instance_ids: Sequence[str]) -> Mapping[str, int]:  # noqa: ARG002
        """Leave it to the samples, which say it. See NodeDriver."""
        return {}

    def read_volume(self, instance_id: str) -> Iterator[bytes]:  # noqa: ARG002
        """Refuse: the daemon shows single files only. See NodeDriver."""
        raise NodeRefused(self._node_id, _NO_ARCHIVES)

    def write_volume(self, instance_id: str, archive: Iterable[bytes]) -> None:  # noqa: ARG002
        """Refuse, likewise. See NodeDriver."""
        raise NodeRefused(self._node_id, _NO_ARCHIVES)

    def power(
        self,
        instance_id: str,
        action: PowerAction,
        *,
        stop_command: str | None = None,
        stop_timeout_s: int = STOP_GRACE_S,
    ) -> ContainerStatus:
        """Start, stop or kill the container. See NodeDriver."""
        container = self._client.inspect(instance_id)
        if container is None:
            raise NodeRefused(self._node_id, f"There is no container {instance_id} on the node.")
        if action == PowerAction.START and container["State"].get("Paused"):
            self._client.change_power(instance_id, "unpause")
        if action == PowerAction.STOP:
            self._stop(instance_id, stop_command, stop_timeout_s)
        else:
            self._client.change_power(instance_id, action.value)
        after = self._client.inspect(instance_id)
        if after is None:
            raise NodeRefused(self._node_id, f"There is no container {instance_id} on the node.")
        status = to_status(after)
        if action == PowerAction.START and after["State"].get("Status") == "created":
            raise NodeRefused(self._node_id, status.reason or "The container does not start.")
        return status

    def follow_power(self, since: str | None) -> PowerFeed:  # noqa: ARG002 - what is now is compared
        """List the containers again and again: the daemon says nothing itself. See NodeDriver."""
        return ComparedLists(self.list, every_s=timing.FOLLOW_EVERY_S)

    def discard(self, instance_id: str, *, checkpoint: Callable[[], None]) -> None:
        """Remove the container; the daemon keeps its volume. See NodeDriver.

        One that an earlier creation is about to make is waited for.
        """
        creation.find_earlier(self._client, instance_id, checkpoint)
        self._client.delete_container(instance_id)

    def remove(self, instance_id: str) -> Leftovers | None:
        """Remove the container, and then its volume. See NodeDriver.

        The daemon says that it removes the volume, and does not.
        """
        if not _NAME.fullmatch(instance_id):
            return None  # no container and no volume can be named so, and a path could
        client = self._client
        container = client.inspect(instance_id)
        installs = installing.may_install(client, instance_id, container)
        client.delete_container(instance_id)
        if installs and container is not None:
            installing.await_end(client, instance_id)
        return erase(client.ask_files, instance_id, path=find_source(container), whole=not installs)

    def close(self) -> None:
        """Close the connections. See NodeDriver."""
        self._client.close()

    def _stop(self, instance_id: str, stop_command: str | None, grace_s: float) -> None:
        command_s, signal_s = split_grace(grace_s, stop_command)
        if stop_command:
            self._ask_to_stop(instance_id, stop_command, command_s)
        try:
            self._client.change_power(
                instance_id, "stop", timeout_s=max(signal_s, timing.MIN_STOP_S)
            )
        except NodeUnreachable:
            # Docker lets the program have ten seconds, which the daemon cannot be told.
            self._client.change_power(instance_id, "kill")

    def _ask_to_stop(self, instance_id: str, command: str, timeout_s: float) -> None:
        """Ask the program to end in its own words, and wait for that, `timeout_s` in all."""
        deadline = time.monotonic() + timeout_s
        try:
            # The container has a terminal, which makes an interrupt of this character.
            self._client.write_console(
                instance_id, "\x03" if command.upper() == INTERRUPT else command
            )
        except ConsoleError:
            return  # it is stopped in the usual way
        while time.monotonic() < deadline:
            container = self._client.inspect(instance_id)
            if container is None or not container["State"].get("Running"):
                return
            time.sleep(timing.POLL_S)
