"""The containers of nodes in memory, for tests."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from queue import Empty, SimpleQueue

from service.drivers import ContainerSample, ContainerSpec, ContainerStatus, Delivery
from service.drivers.memory_usage import SAMPLE
from service.drivers.power_feed import Hint
from service.errors import NodeUnreachable
from service.model.lifecycle import Power

STARTED_AT = datetime(2026, 1, 31, 11, tzinfo=UTC)
"""When every program is started."""


@dataclass(slots=True)
class Container:
    """What one instance has on the node."""

    spec: ContainerSpec
    power: Power = Power.STOPPED
    log: str = ""
    """What the program printed."""
    log_begin: int = 0
    """How much of that was before its last start."""
    is_ours: bool = True
    """False: it may be another installation's."""
    reason: str | None = None
    """Why it is not running."""
    exit_code: int | None = None
    """How the last run ended, like the next."""
    oom_killed: bool | None = None
    restarts: int = 0
    started_at: datetime | None = None
    lines: list[str] = field(default_factory=list)
    """What was written to the program's standard input, unless it is full or there is none."""
    input: Delivery | None = Delivery.SENT
    """What becomes of a line; None: nobody knows, as no answer comes."""
    sample: ContainerSample = SAMPLE
    """What it has used until now."""

    def start(self) -> None:
        """Begin to run, unless it does."""
        if self.power != Power.RUNNING:
            self.power, self.exit_code, self.oom_killed = Power.RUNNING, None, None
            self.restarts, self.started_at = 0, STARTED_AT
            self.log_begin = len(self.log)

    def end(self, exit_code: int = 0, *, oom_killed: bool = False) -> None:
        """End the run, unless none is under way."""
        if self.power == Power.RUNNING:
            self.power, self.exit_code, self.oom_killed = Power.STOPPED, exit_code, oom_killed


class Served(dict[int, Mapping[str, int]]):
    """The host ports that are served, each with the HTTP status of each path there. See Reach."""

    def accepts(self, port: int) -> bool:
        """Return whether something serves the port. See Reach."""
        return port in self

    def answers(self, port: int, path: str) -> bool:
        """Return whether something answers well there. See Reach."""
        return self.get(port, {}).get(path, 404) < 400


class MemoryFeed:
    """What happens to the containers of a node in memory. See PowerFeed."""

    cursor = None

    def __init__(self, node_id: str) -> None:
        self._node_id = node_id
        self._heard: SimpleQueue[Hint | None] = SimpleQueue()

    def add(self, hint: Hint | None) -> None:
        """Have the one who reads it hear this; None ends the feed."""
        self._heard.put(hint)

    def read(self, wait_s: float) -> Sequence[Hint]:
        """Return the next that happened. See PowerFeed."""
        try:
            hint = self._heard.get(timeout=wait_s)
        except Empty:
            return ()
        if hint is None:
            raise NodeUnreachable(self._node_id, "The feed was cut.")
        return [hint]

    def close(self) -> None:
        """Close nothing. See PowerFeed."""


def to_status(container: Container) -> ContainerStatus:
    """Say how a container is."""
    return ContainerStatus(
        make_container_id(container.spec.instance_id),
        container.power,
        exit_code=container.exit_code,
        oom_killed=container.oom_killed,
        restarts=container.restarts,
        started_at=container.started_at,
        reason=container.reason,
        is_ours=container.is_ours,
    )


def make_container_id(instance_id: str) -> str:
    """Make the id of an instance's container."""
    return f"memory-{instance_id}"
