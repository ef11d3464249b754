"""Nodes that are a dict, for tests. What they do wrong is up to these: see memory_faults."""

import builtins
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from service.drivers import (
    STOP_GRACE_S,
    Authorize,
    ContainerSample,
    ContainerSpec,
    ContainerStatus,
    ContainerUsage,
    Delivery,
    NodeReport,
    always,
    memory_logs,
    memory_volumes,
)
from service.drivers.last_output import read_last_lines
from service.drivers.log_lines import LogStream
from service.drivers.memory_container import (
    Container,
    MemoryFeed,
    Served,
    make_container_id,
    to_status,
)
from service.drivers.memory_faults import Faults
from service.drivers.memory_usage import USAGE, VOLUME_BYTES
from service.drivers.power_feed import Hint, PowerFeed
from service.errors import NodeRefused, NodeUnreachable, PortInUse
from service.model.documents import Node
from service.model.driver_traits import MEMORY
from service.model.lifecycle import Power, PowerAction
from service.model.printed_lines import LogLine

REPORT = NodeReport(version="1.0", engine=MEMORY.name, memory_mib=65536, cpu_milli=64000)


@dataclass(slots=True)
class MemoryNode:
    """One node. Its containers can be read, and its faults changed, at any time."""

    node_id: str
    exclusive: bool = MEMORY.exclusive
    pulls: bool = MEMORY.pulls
    steady_s: float = MEMORY.steady_s
    containers: dict[str, Container] = field(default_factory=dict)
    volumes: dict[str, builtins.list[str]] = field(default_factory=dict)
    """The files of each instance."""
    refused_pull: str | None = None
    """Why no image is fetched."""
    broken_images: set[str] = field(default_factory=set)
    """Images of which no container can be made."""
    short_lived_images: set[str] = field(default_factory=set)
    """Images whose programs end as soon as they are started."""
    held_ports: set[int] = field(default_factory=set)
    """The host ports that other programs of the node have."""
    disk_mib: int | None = None
    """What its engine reports."""
    engine_id: str = ""
    """What its engine is known by; its own unless two nodes are to be of one engine."""
    calls: int = 0
    """How many calls reached the node, answered or not."""
    created: int = 0
    """How many containers were made. Adopting one makes none."""
    served: Served = field(default_factory=Served)
    stop_commands: builtins.list[str] = field(default_factory=list)
    """What programs were told when they were to stop."""
    faults: Faults = field(init=False)
    """What it does wrong."""
    _feeds: builtins.list[MemoryFeed] = field(default_factory=list)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def __post_init__(self) -> None:
        self.engine_id = self.engine_id or f"memory-{self.node_id}"
        self.faults = Faults(self.node_id)

    def probe(self) -> NodeReport:
        """Return how the node is. See NodeDriver."""
        self._receive(probing=True)
        return replace(REPORT, engine_id=self.engine_id, disk_mib=self.disk_mib)

    def recover(self) -> None:
        """Do nothing. What runs here does not end by itself. See NodeDriver."""

    def pull(
        self, image: str, *, checkpoint: Callable[[], None], report: Callable[[str], None]
    ) -> None:
        """Return of a pull, which takes until `release` where pulls are held. See NodeDriver."""
        self._receive()
        if self.refused_pull is not None:
            raise NodeRefused(self.node_id, self.refused_pull)
        report(f"Waiting for {image}.")
        while not self.faults.await_pull(0.05):
            checkpoint()
        report("1 of 1 layers")

    def create(
        self, spec: ContainerSpec, *, checkpoint: Callable[[], None], authorize: Authorize = always
    ) -> ContainerStatus:
        """Make a container. See NodeDriver."""
        checkpoint()
        self._receive()
        checkpoint()
        with self._changing(authorize):
            self.volumes.setdefault(spec.instance_id, [])
            if spec.image in self.broken_images:
                raise NodeRefused(self.node_id, f"Image {spec.image} not found on the registry.")
            if spec.instance_id not in self.containers:
                self.containers[spec.instance_id] = Container(spec)
                self.created += 1
            return to_status(self.containers[spec.instance_id])

    def status(self, instance_id: str) -> ContainerStatus | None:
        """Return how a container is. See NodeDriver."""
        self._receive()
        with self._lock:
            container = self.containers.get(instance_id)
            return to_status(container) if container else None

    def list(self) -> Mapping[str, ContainerStatus]:
        """Return how all containers are. See NodeDriver."""
        self._receive(probing=True)
        with self._lock:
            return {name: to_status(container) for name, container in self.containers.items()}

    def describe(self, instance_id: str) -> ContainerSpec | None:
        """Return what a container was made from. See NodeDriver."""
        container = self._find(instance_id)
        return container.spec if container else None

    def logs(self, instance_id: str, *, tail: int) -> str:
        """Read what a program printed. See NodeDriver."""
        container = self._find(instance_id)
        return read_last_lines(container.log.encode() if container else b"", tail)

    def printed(self, instance_id: str) -> str:
        """Read what a program printed since its last start. See NodeDriver."""
        container = self._find(instance_id)
        return container.log[container.log_begin :] if container else ""

    def read_logs(self, instance_id: str, **bounds: Any) -> Sequence[LogLine]:
        """Read the last lines of a time. See NodeDriver."""
        self._receive()
        return memory_logs.read(self._find_log(instance_id), **bounds)

    def follow_logs(self, instance_id: str, **bounds: Any) -> LogStream:
        """Read the last lines, and those to come. See NodeDriver."""
        self._receive()
        look = partial(self._find_log, instance_id)
        return memory_logs.follow(make_container_id(instance_id), look, **bounds)

    def command(self, instance_id: str, line: str, *, authorize: Authorize = always) -> Delivery:
        """Write down what the program was to read. See NodeDriver."""
        container = self._find(instance_id)
        if container is None or container.power != Power.RUNNING:
            return Delivery.NOT_RUNNING
        with self._changing(authorize):
            if container.input == Delivery.SENT:
                container.lines.append(line)
            if container.input is None:
                raise NodeUnreachable(self.node_id, "no answer")
            return container.input

    def usage(self, instance_id: str) -> ContainerUsage | None:
        """Return what every container here uses. See NodeDriver."""
        container = self._find(instance_id)
        return USAGE if container and container.power == Power.RUNNING else None

    def sample(self, instance_ids: Sequence[str]) -> Mapping[str, ContainerSample]:
        """Return what containers have used, which is what they were given. See NodeDriver."""
        self._receive()
        with self._lock:
            there = [(each, self.containers.get(each)) for each in instance_ids]
        return {each: c.sample for each, c in there if c and c.power == Power.RUNNING}

    def measure_volumes(self, instance_ids: Sequence[str]) -> Mapping[str, int]:
        """Return how large every volume is. See NodeDriver."""
        self._receive()
        with self._lock:
            return dict.fromkeys(self.volumes.keys() & instance_ids, VOLUME_BYTES)

    def read_volume(self, instance_id: str) -> Iterator[bytes]:
        """Read the names of a container's files. See NodeDriver."""
        self._require_stopped(instance_id)
        with self._lock:
            names = tuple(self.volumes[instance_id])
        for chunk in memory_volumes.read(names):
            self._receive()
            yield chunk

    def write_volume(
        self, instance_id: str, archive: Iterable[bytes], *, authorize: Authorize = always
    ) -> None:
        """Write files down. See NodeDriver."""
        self._require_stopped(instance_id)
        for name in memory_volumes.list_names(archive):
            self._receive()
            with self._changing(authorize):
                self.volumes[instance_id].append(name)

    def power(
        self,
        instance_id: str,
        action: PowerAction,
        *,
        stop_command: str | None = None,
        stop_timeout_s: int = STOP_GRACE_S,  # noqa: ARG002 - nothing here takes time to stop
        authorize: Authorize = always,
    ) -> ContainerStatus:
        """Start or stop a container. See NodeDriver."""
        self._receive()
        ends_up = Power.RUNNING if action == PowerAction.START else Power.STOPPED
        with self._lock:
            container = self.containers.get(instance_id)
        if container is None:
            raise NodeRefused(self.node_id, f"There is no container {instance_id}.")
        if stop_command and action == PowerAction.STOP:
            with self._changing(authorize):
                self.stop_commands.append(stop_command)
        with self._changing(authorize):
            if ends_up == Power.RUNNING:
                for mapping in container.spec.ports:
                    if mapping.host in self.held_ports:
                        raise PortInUse(self.node_id, mapping.host)
                container.start()
            if container.spec.image in self.short_lived_images or ends_up == Power.STOPPED:
                container.end()
            self._tell(Hint(instance_id))
            return to_status(container)

    def follow_power(self, since: str | None) -> PowerFeed:  # noqa: ARG002 - nothing is kept
        """Listen to what happens. See NodeDriver."""
        self._receive(probing=True)
        feed = MemoryFeed(self.node_id)
        with self._lock:
            self._feeds.append(feed)
        return feed

    def end_program(
        self, instance_id: str, exit_code: int = 1, *, oom_killed: bool = False, again: bool = False
    ) -> None:
        """Have a program end by itself, and be started again where that is so."""
        with self._lock:
            container = self.containers[instance_id]
            container.end(exit_code, oom_killed=oom_killed)
            restarts = container.restarts + 1
            if again:
                container.start()
                container.restarts = restarts
        container_id = make_container_id(instance_id)
        self._tell(Hint(instance_id, container_id, exit_code, out_of_memory=oom_killed))

    def cut_feeds(self) -> None:
        """End all feeds that are followed."""
        self._tell(None)
        with self._lock:
            self._feeds.clear()

    def discard(
        self, instance_id: str, *, checkpoint: Callable[[], None], authorize: Authorize = always
    ) -> None:
        """Remove a container, and keep its files. See NodeDriver."""
        checkpoint()
        self._receive()
        with self._changing(authorize):
            self.containers.pop(instance_id, None)

    def remove(self, instance_id: str, *, authorize: Authorize = always) -> None:
        """Remove a container. See NodeDriver."""
        self._receive()
        with self._changing(authorize):
            self.containers.pop(instance_id, None)
            self.volumes.pop(instance_id, None)

    def close(self) -> None:
        """Close nothing. See NodeDriver."""

    def _tell(self, hint: Hint | None) -> None:
        with self._lock:
            for feed in self._feeds:
                feed.add(hint)

    def _find_log(self, instance_id: str) -> memory_logs.Log | None:
        with self._lock:
            found = self.containers.get(instance_id)
            return memory_logs.Log(found.log, found.power == Power.RUNNING) if found else None

    @contextmanager
    def _changing(self, authorize: Authorize) -> Iterator[None]:
        """Change something of a container inside: the one way, which asks first."""
        authorize()
        with self._lock:
            yield

    def _require_stopped(self, instance_id: str) -> None:
        container = self._find(instance_id)
        if container is None or container.power == Power.RUNNING:
            raise NodeRefused(self.node_id, f"There is no container {instance_id} that stopped.")

    def _find(self, instance_id: str) -> Container | None:
        """Receive a call about a container, and find that."""
        self._receive()
        with self._lock:
            return self.containers.get(instance_id)

    def _receive(self, *, probing: bool = False) -> None:
        with self._lock:
            self.calls += 1
        self.faults.apply(probing=probing)


class OpenedNode:
    """The driver of a node in memory, for one who opened it. See NodeDriver."""

    def __init__(self, node: MemoryNode, authorize: Authorize) -> None:
        self._node = node
        self.create = partial(node.create, authorize=authorize)
        self.command = partial(node.command, authorize=authorize)
        self.write_volume = partial(node.write_volume, authorize=authorize)
        self.power = partial(node.power, authorize=authorize)
        self.discard = partial(node.discard, authorize=authorize)
        self.remove = partial(node.remove, authorize=authorize)
        self.reach = node.served

    def __getattr__(self, name: str) -> Any:
        """Look at the node, which is the same for all."""
        return getattr(self._node, name)


class MemoryNodes:
    """A driver factory. The same node is found for the same id, by document or by id."""

    def __init__(self) -> None:
        self._nodes: dict[str, MemoryNode] = {}
        self._lock = threading.Lock()

    def __call__(self, node: Node, /, *, authorize: Authorize = always) -> OpenedNode:
        """Open the node of a document."""
        return OpenedNode(self[node["_id"]], authorize)

    def __getitem__(self, node_id: str) -> MemoryNode:
        """Find the node of an id."""
        with self._lock:
            return self._nodes.setdefault(node_id, MemoryNode(node_id))
