"""What of an instance reaches its node, and what of a container is written down.

A `ContainerSpec` says what should run, a `ContainerStatus` what a node says of it, and a
`ContainerUsage` what it takes. A `ContainerSample` counts what it took since it was started.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from service.model.container_settings import settings_of
from service.model.documents import Instance
from service.model.lifecycle import InstanceState, Power
from service.model.ports import PortMapping
from service.model.storable import is_text, is_whole, require

MAX_LINE_BYTES = 4095
"""Of a line for a program, in UTF-8. With its line feed it is the most that Linux writes to a pipe,
and takes of a terminal, in one piece."""


@dataclass(frozen=True, slots=True)
class ContainerSpec:
    """What should run: everything that a node needs to know of an instance."""

    instance_id: str
    image: str
    cmd: tuple[str, ...] | str | None
    env: Mapping[str, str]
    memory_mib: int
    cpu_milli: int
    ports: tuple[PortMapping, ...]
    primary: PortMapping
    stop_command: str | None = None
    variables: Mapping[str, str] = field(default_factory=dict)
    """Those of `env` that were chosen for the instance; install scripts may name them."""
    install: tuple[tuple[str, str], ...] = ()
    """Files to fetch before the first start: where from, and what they are called."""
    swap_mib: int = 0
    cpuset: str | None = None
    stop_grace_s: int | None = None
    auto_start: bool = True

    def __post_init__(self) -> None:
        words = (self.cmd,) if isinstance(self.cmd, str) else self.cmd or ()
        texts = (self.instance_id, self.image, *words, *self.env, *self.env.values())
        require(*map(is_text, texts), is_whole(self.memory_mib), is_whole(self.cpu_milli))
        for mapping in (*self.ports, self.primary):
            require(*(is_whole(port, 1, 65535) for port in (mapping.container, mapping.host)))


def tell_ports(spec: ContainerSpec, side: Literal["container", "host"]) -> dict[str, str]:
    """Make the variables that tell a program the ports to listen on, of one side of each."""
    told = {mapping.env: str(getattr(mapping, side)) for mapping in spec.ports if mapping.env}
    return {**told, "PRIMARY_PORT": str(getattr(spec.primary, side))}


@dataclass(frozen=True, slots=True)
class ContainerStatus:
    """What a node says of one container."""

    container_id: str
    power: Power
    exit_code: int | None = None
    """Of a container that ran and stopped; 128 and more for a signal, like the shell's."""
    oom_killed: bool | None = None
    """Whether it ended because it used more memory than it may. None while it runs, or nobody knows
    how it ended."""
    restarts: int | None = None
    """How often it was started again by itself, since somebody started it. None: not known."""
    started_at: datetime | None = None
    """When its last run began, to the millisecond. None: it never ran, or that is not known."""
    reason: str | None = None
    """Why it is not running, in plain words, where the node knows."""
    env: tuple[str, ...] | None = None
    """The environment that the node made of what it was told, where it says so."""
    is_ours: bool = True
    """False: it may be another installation's, so it is only listed, and described."""

    def __post_init__(self) -> None:
        require(
            is_text(self.container_id),
            self.exit_code is None or is_whole(self.exit_code, -(2**31), 2**32),
            self.oom_killed is None or isinstance(self.oom_killed, bool),
            self.restarts is None or is_whole(self.restarts),
            self.reason is None or is_text(self.reason),
            all(map(is_text, self.env or ())),
        )


@dataclass(frozen=True, slots=True)
class ContainerUsage:
    """What a running container uses. None: its node does not say, or not at little cost."""

    cpu_milli: int
    """Thousandths of a core, over the last moment."""
    memory_bytes: int
    memory_limit_bytes: int | None = None
    received_bytes: int | None = None
    """Over all of its networks since it was started, like the next."""
    sent_bytes: int | None = None
    disk_bytes: int | None = None
    """Of its volume."""
    started_at: datetime | None = None

    def __post_init__(self) -> None:
        counts = (self.memory_limit_bytes, self.received_bytes, self.sent_bytes, self.disk_bytes)
        require(
            is_whole(self.cpu_milli),
            is_whole(self.memory_bytes),
            all(count is None or is_whole(count) for count in counts),
        )


@dataclass(frozen=True, slots=True)
class ContainerSample:
    """What a running container used until a moment. None: its node does not say."""

    measured_at: datetime
    """By the node's clock."""
    cpu_ms: int
    """Processor time, since it was started."""
    memory_bytes: int
    memory_limit_bytes: int | None = None
    received_bytes: int | None = None
    """Over all of its networks since it was started, like the next."""
    sent_bytes: int | None = None
    disk_bytes: int | None = None
    """Of its volume, where that takes no time."""
    started_at: datetime | None = None

    def __post_init__(self) -> None:
        counts = (self.memory_limit_bytes, self.received_bytes, self.sent_bytes, self.disk_bytes)
        require(
            is_whole(self.cpu_ms),
            is_whole(self.memory_bytes),
            all(count is None or is_whole(count) for count in counts),
        )


def make_spec(instance: Instance) -> ContainerSpec:
    """Say what should run for the instance."""
    ports = tuple(
        PortMapping(pair["container"], pair["host"], env=pair.get("env", ""))
        for pair in instance["port_map"]
    )
    cmd = instance["cmd"]
    settings = settings_of(instance)
    zone = {"TZ": settings["timezone"]} if settings["timezone"] is not None else {}
    return ContainerSpec(
        instance_id=instance["_id"],
        image=instance["image"],
        cmd=tuple(cmd) if isinstance(cmd, list) else cmd,
        env={**parse_env(instance["env"]), **zone},
        memory_mib=instance["memory_mib"],
        cpu_milli=instance["cpu_milli"],
        ports=ports,
        primary=next(mapping for mapping in ports if mapping.host == instance["primary_port"]),
        stop_command=instance["stop_command"],
        variables=instance["variables"],
        install=tuple(
            (str(script["Uri"]), str(script["Path"]))
            for script in instance["scripts"].get("Install") or ()
        ),
        swap_mib=settings["swap_mib"],
        cpuset=settings["cpuset"],
        stop_grace_s=settings["stop_grace_s"],
        auto_start=settings["auto_start"],
    )


def to_fields(
    instance: Instance, status: ContainerStatus, *, error: str | None
) -> dict[str, object]:
    """Put what a node says of a container, with the `error` found in it, into fields.

    What FAILED keeps the reason why it did. How a run ended is known until the next one has ended.
    """
    failed = instance["state"] == InstanceState.FAILED
    seen: dict[str, object] = {
        "container_id": status.container_id,
        "power": status.power,
        "error": instance["error"] if failed else error,
        "restarts": status.restarts,
        "started_at": status.started_at,
    }
    if status.power != Power.RUNNING or status.container_id != instance["container_id"]:
        seen |= {"exit_code": status.exit_code, "oom_killed": status.oom_killed}
    return seen if status.env is None else {**seen, "node_env": list(status.env)}


def parse_env(env: Iterable[str]) -> dict[str, str]:
    """Read an environment: lines of "KEY=value"."""
    return dict(entry.partition("=")[::2] for entry in env)
