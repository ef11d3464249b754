"""A node that is a Docker Engine, on a local socket or over TCP."""

import ssl
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from service.drivers import (
    ENGINE_LINE_BYTES,
    MAX_LOG_BYTES,
    STOP_GRACE_S,
    UNNAMED,
    Authorize,
    ContainerSample,
    ContainerSpec,
    ContainerStatus,
    ContainerUsage,
    Delivery,
    NodeReport,
    Owner,
    always,
)
from service.drivers.boundary import raises_only_ours
from service.drivers.bounds import (
    CONNECT_TIMEOUT_S,
    CONSOLE_TIMEOUT_S,
    LOG_TIMEOUT_S,
    MAX_ANSWER_BYTES,
    MAX_LIST_BYTES,
    READ_TIMEOUT_S,
    SAMPLE_TIMEOUT_S,
    USAGE_TIMEOUT_S,
    VOLUMES_TIMEOUT_S,
    Bounds,
)
from service.drivers.dialing import Dialer
from service.drivers.docker import first_lines, volumes
from service.drivers.docker.client import Client, translate
from service.drivers.docker.console import write_line
from service.drivers.docker.events import EngineEvents
from service.drivers.docker.images import fetch
from service.drivers.docker.inspection import find, list_labelled, to_status
from service.drivers.docker.labels import LABEL, SPEC_LABEL, Labels
from service.drivers.docker.log_reading import follow, read_last
from service.drivers.docker.power import start, stop
from service.drivers.docker.reports import read_report
from service.drivers.docker.samples import measure_volumes, read_samples, read_two
from service.drivers.docker.settling import (
    make_container,
    make_volume,
    remove_container,
    remove_volume,
)
from service.drivers.engine_usage import to_usage
from service.drivers.kept_specs import parse_spec, starts_again
from service.drivers.last_output import read_last_lines
from service.drivers.log_lines import LogStream
from service.drivers.power_feed import PowerFeed
from service.drivers.reach import THIS_MACHINE, Network, Reach
from service.drivers.volume_archive import translating
from service.errors import NodeRefused
from service.model.addresses import Refuse, trust
from service.model.driver_traits import DOCKER
from service.model.lifecycle import Power, PowerAction
from service.model.printed_lines import LogLine, Mark

LIST_TIMEOUT_S = 10.0
PULL_TIMEOUT_S = 1800.0

_RUNNING = ("running", "paused")


@raises_only_ours(translate)
class DockerEngine:
    """One Docker Engine. See NodeDriver."""

    exclusive = DOCKER.exclusive
    pulls = DOCKER.pulls
    steady_s = DOCKER.steady_s

    def __init__(
        self,
        node_id: str,
        *,
        base_url: str,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        read_timeout_s: float = READ_TIMEOUT_S,
        refuse: Refuse = trust,
        tls: ssl.SSLContext | None = None,
        owner: Owner = UNNAMED,
        authorize: Authorize = always,
        pull_timeout_s: float = PULL_TIMEOUT_S,
        was_podman: bool = False,
    ) -> None:
        """Remember where the engine is, such as unix:///var/run/docker.sock or tcp://host:2375.

        `refuse` is asked about every address that is connected to over TCP. Only what is the
        `owner`'s is listed or touched. A pull may take `pull_timeout_s` in all. `was_podman` is
        what the engine was when it was last asked.
        """
        self._pull_timeout_s = pull_timeout_s
        self._was_podman = was_podman
        self._node_id = node_id
        self._base_url = base_url
        self._dialer = Dialer(node_id, refuse, tls)
        self._labels = Labels(owner)
        self._connect_timeout_s = connect_timeout_s
        self._read_timeout_s = read_timeout_s
        self._authorize = authorize
        self._client: Client | None = None
        self._sampling: Client | None = None
        self.reach: Reach = Network(self._dialer, urlsplit(base_url).hostname or THIS_MACHINE)

    def probe(self) -> NodeReport:
        """Ask the engine how it is. See NodeDriver."""
        with self._within(0.5) as client:
            return read_report(client)

    def recover(self) -> None:
        """Do nothing. The engine restarts containers itself. See NodeDriver."""

    def pull(
        self, image: str, *, checkpoint: Callable[[], None], report: Callable[[str], None]
    ) -> None:
        """Have the engine fetch the image. See NodeDriver."""
        fetch(
            self._engine,
            image,
            timeout_s=self._pull_timeout_s,
            silence_s=self._read_timeout_s,
            checkpoint=checkpoint,
            report=report,
        )

    def create(self, spec: ContainerSpec, *, checkpoint: Callable[[], None]) -> ContainerStatus:
        """Make the volume and the container. See NodeDriver."""
        found = self.status(spec.instance_id)
        if found is not None:
            return found
        checkpoint()
        make_volume(self._engine, self._labels, spec.instance_id)
        return make_container(self._engine, self._labels, spec, checkpoint=checkpoint)

    def status(self, instance_id: str) -> ContainerStatus | None:
        """Return how the container is. See NodeDriver."""
        found = find(self._engine, self._labels, instance_id)
        return to_status(found[1]) if found else None

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
        for each in list_labelled(self._engine, self._labels, instance_id):
            labels = each.container["Labels"]
            return parse_spec(labels[SPEC_LABEL]) if SPEC_LABEL in labels else None
        return None

    def logs(self, instance_id: str, *, tail: int) -> str:
        """Read the last lines that the program printed. See NodeDriver."""
        found = find(self._engine, self._labels, instance_id)
        if found is None:
            return ""
        # The first of the engine's lines may be the rest of one. With so many more it is not
        # among the last `tail` lines, unless those are longer than MAX_LOG_BYTES.
        more = MAX_LOG_BYTES // ENGINE_LINE_BYTES + 1
        return read_last_lines(self._engine.logs(found[0], tail=tail + more), tail)

    def printed(self, instance_id: str) -> str:
        """Read what the program printed since its last start. See NodeDriver."""
        with self._within(CONSOLE_TIMEOUT_S) as client:
            found = find(client, self._labels, instance_id)
            return "" if found is None else first_lines.read(client, *found)

    def read_logs(
        self,
        instance_id: str,
        *,
        tail: int,
        since_ns: int | None = None,
        until_ns: int | None = None,
    ) -> Sequence[LogLine]:
        """Read the last lines of a time. See NodeDriver."""
        found = find(self._engine, self._labels, instance_id)
        if found is None:
            return ()
        return read_last(self._engine, found[1], tail=tail, since_ns=since_ns, until_ns=until_ns)

    def follow_logs(
        self, instance_id: str, *, tail: int, since_ns: int | None = None, after: Mark | None = None
    ) -> LogStream:
        """Read the last lines, and those to come. See NodeDriver."""
        with self._within(LOG_TIMEOUT_S) as client:
            found = find(client, self._labels, instance_id)
        connect = partial(self._connect, Bounds(exchange_s=LOG_TIMEOUT_S))
        look = partial(find, labels=self._labels, instance_id=instance_id)
        read = partial(follow, connect, look, tail=tail, since_ns=since_ns, after=after)
        return LogStream(found and found[1]["Id"], read, partial(translate, self._node_id))

    def command(self, instance_id: str, line: str) -> Delivery:
        """Write a line to the program's standard input. See NodeDriver."""
        with self._within(CONSOLE_TIMEOUT_S) as client:
            found = find(client, self._labels, instance_id)
            if found is None or to_status(found[1]).power != Power.RUNNING:
                return Delivery.NOT_RUNNING
            config = found[1]["Config"]
            # One that an earlier version made has its input closed after the first line.
            if not config["OpenStdin"] or config["StdinOnce"]:
                return Delivery.NO_INPUT
            if found[1]["State"]["Paused"]:
                return Delivery.UNREAD
            return write_line(client, found[0], line)

    def usage(self, instance_id: str) -> ContainerUsage | None:
        """Measure what the container uses, which takes the engine a second. See NodeDriver."""
        with self._within(USAGE_TIMEOUT_S) as client:
            found = find(client, self._labels, instance_id)
            if found is None or to_status(found[1]).power != Power.RUNNING:
                return None
            sample = read_two(client, found[0])
            return to_usage(found[1], sample) if sample else None

    def sample(self, instance_ids: Sequence[str]) -> Mapping[str, ContainerSample]:
        """Read what the containers have used until now. See NodeDriver."""
        if self._sampling is None:
            self._sampling = self._connect(Bounds(exchange_s=SAMPLE_TIMEOUT_S))
        return read_samples(self._sampling, instance_ids)

    def measure_volumes(self, instance_ids: Sequence[str]) -> Mapping[str, int]:
        """Have the engine add up its volumes. See NodeDriver."""
        with self._within(VOLUMES_TIMEOUT_S, MAX_LIST_BYTES) as client:
            return measure_volumes(client, instance_ids)

    def read_volume(self, instance_id: str) -> Iterator[bytes]:
        """Have the engine read the files. See NodeDriver."""
        container = self._require(instance_id)
        return translating(volumes.read(self._engine, container), partial(translate, self._node_id))

    def write_volume(self, instance_id: str, archive: Iterable[bytes]) -> None:
        """Have the engine write files. See NodeDriver."""
        container = self._require(instance_id)
        volumes.write(self._engine, container, archive, self._authorize)

    def power(
        self,
        instance_id: str,
        action: PowerAction,
        *,
        stop_command: str | None = None,
        stop_timeout_s: int = STOP_GRACE_S,
    ) -> ContainerStatus:
        """Start, stop or kill the container. See NodeDriver."""
        found = find(self._engine, self._labels, instance_id)
        if found is None:
            raise NodeRefused(self._node_id, f"There is no container {instance_id} on the node.")
        match action:
            case PowerAction.START:
                labels = found[1]["Config"]["Labels"]
                start(self._engine, *found, again=starts_again(labels.get(SPEC_LABEL)))
            case PowerAction.STOP:
                stop(self._engine, *found, stop_command, stop_timeout_s)
            case PowerAction.KILL:
                # Unlike a kill, a stop without a grace also keeps the restart policy still.
                self._engine.stop(found[0], timeout=0)
        after = self.status(instance_id)
        if after is None:
            raise NodeRefused(self._node_id, f"There is no container {instance_id} on the node.")
        return after

    def follow_power(self, since: str | None) -> PowerFeed:
        """Listen to the engine's events. See NodeDriver."""
        return EngineEvents(self._engine, since)

    def discard(
        self,
        instance_id: str,
        *,
        checkpoint: Callable[[], None] = lambda: None,
    ) -> None:
        """Kill and remove the container, and keep its volume. See NodeDriver."""
        checkpoint()
        found = find(self._engine, self._labels, instance_id)
        if found is not None:
            remove_container(self._engine, found[0])
        for other in list_labelled(self._engine, self._labels, instance_id):
            if other.is_ours:
                remove_container(self._engine, other.container["Id"])

    def remove(self, instance_id: str) -> None:
        """Kill and remove the container and its volume. See NodeDriver."""
        self.discard(instance_id)
        remove_volume(self._engine, self._labels, instance_id)

    def close(self) -> None:
        """Close the connections. See NodeDriver."""
        for client in (self._client, self._sampling):
            if client is not None:
                client.close()
        self._client = self._sampling = None

    def _require(self, instance_id: str) -> Mapping[str, Any]:
        found = find(self._engine, self._labels, instance_id)
        if found is None:
            raise NodeRefused(self._node_id, f"There is no container {instance_id} on the node.")
        return found[1]

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
        client = Client(
            self._base_url,
            self._dialer,
            self._connect_timeout_s,
            self._read_timeout_s,
            bounds,
            self._authorize,
            was_podman=self._was_podman,
        )
        self._was_podman = client.is_podman
        return client
