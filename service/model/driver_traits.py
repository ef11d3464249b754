"""What each driver is like: all that is decided by which driver a node has (pure).

A driver has one row here, and one in `drivers/registry.py`, which makes it.
"""

from dataclasses import dataclass

from service.model.documents.image import ReadyKind

CONTAINER_SETTINGS = frozenset({"swap_mib", "cpuset", "stop_grace_s", "auto_start", "timezone"})
"""What can be set of a container, by the names of ContainerSettings."""

RUN_FACTS = frozenset({"exit_code", "oom_killed", "restarts", "started_at"})
"""What can be known of a container's runs, by the names of ContainerStatus."""


@dataclass(frozen=True, slots=True)
class Traits:
    """What a driver is like. The defaults hold for one that this version does not know."""

    name: str
    offered: bool = False
    """Whether nodes of it may be added, by the API and the command line."""
    required: tuple[str, ...] = ()
    """What must be said of a node besides its name, by the names of NodeOrder."""
    tls: tuple[str, ...] | None = None
    """The parts of TLS (`ca`, `cert`, `key`) that it cannot do without where it uses TLS. None: its
    nodes are not called by address."""
    port: int = 0
    """Where a node is called that names no port."""
    tls_port: int = 0
    """The same over TLS."""
    needs_tls: bool = False
    """Whether anyone who can reach its port without TLS has root on the host."""
    local_address: str = ""
    """Where it is on this machine, when nobody says otherwise."""
    is_this_machine: bool = False
    """Whether instances run here as our own user. Only marked images do, with variables that these
    declare."""
    enrols: bool = False
    """Whether a node must first send us the key that it is called with. Others are probed as soon
    as they are added."""
    reports_memory: bool = False
    """Whether a node has as much memory as its engine reports, where nobody says how much."""
    runs_install_scripts: bool = False
    exclusive: bool = False
    """See NodeDriver."""
    pulls: bool = False
    """See NodeDriver."""
    times_logs: bool = False
    """Whether it is known when a line was printed, so that a log can be read from a time on, and
    be followed from where that broke off."""
    takes_lines: bool = False
    """Whether programs can be sent lines to read."""
    measures_usage: bool = False
    """Whether it is known what containers use."""
    sample_size: int = 1
    """Of how many instances one call says what they use."""
    tells_power: bool = False
    """Whether it can be followed what begins and ends to run. See NodeDriver.follow_power."""
    run_facts: frozenset[str] = frozenset()
    """Which of RUN_FACTS are known of its containers."""
    ready_checks: frozenset[ReadyKind] = frozenset()
    """How it can be seen that a program serves. Nobody looks for what else an image says."""
    volume_format: str | None = None
    """Between which nodes the files of instances can be copied: those whose drivers say the same.
    None: between none. See NodeDriver.read_volume."""
    settings: frozenset[str] = frozenset({"timezone"})
    """Which of CONTAINER_SETTINGS its nodes heed. A time zone is a variable, as any other."""
    steady_s: float = 3.0
    """See NodeDriver."""
    remedy: str = (
        "Start its engine, or correct its address; delete the node if it is gone for good."
    )
    """What to do about a node that does not answer."""

    @property
    def by_address(self) -> bool:
        """Return whether its nodes are called by address."""
        return self.tls is not None


SKYPORTD = Traits(
    "skyportd",
    offered=True,
    required=("tags", "ram", "disk", "processor", "address", "port"),
    tls=(),
    port=3002,
    tls_port=3002,
    enrols=True,
    runs_install_scripts=True,
    exclusive=True,
    takes_lines=True,
    measures_usage=True,
    tells_power=True,
    run_facts=RUN_FACTS,
    # Its console has the last 24 lines, of whichever start.
    ready_checks=frozenset({ReadyKind.PORT, ReadyKind.HTTP}),
)
DOCKER = Traits(
    "docker",
    offered=True,
    required=("address",),
    tls=("ca", "cert", "key"),
    port=2375,
    tls_port=2376,
    needs_tls=True,
    local_address="unix:///var/run/docker.sock",
    reports_memory=True,
    pulls=True,
    times_logs=True,
    takes_lines=True,
    measures_usage=True,
    tells_power=True,
    run_facts=RUN_FACTS,
    ready_checks=frozenset(ReadyKind),
    volume_format="container",
    settings=CONTAINER_SETTINGS,
)
PROCESS = Traits(
    "process",
    offered=True,
    is_this_machine=True,
    reports_memory=True,
    takes_lines=True,
    measures_usage=True,
    sample_size=100,
    tells_power=True,
    run_facts=frozenset({"exit_code", "restarts", "started_at"}),
    ready_checks=frozenset(ReadyKind),
    volume_format="process",
    settings=frozenset({"stop_grace_s", "auto_start", "timezone"}),
    remedy="Set SKYQUAY_ALLOW_PROCESS=1 for its worker and this command, both on its machine.",
)
MEMORY = Traits(
    "memory",
    runs_install_scripts=True,
    times_logs=True,
    takes_lines=True,
    measures_usage=True,
    sample_size=1000,
    tells_power=True,
    run_facts=RUN_FACTS,
    ready_checks=frozenset(ReadyKind),
    volume_format="memory",
    settings=CONTAINER_SETTINGS,
    steady_s=0.0,
)

_BY_NAME = {traits.name: traits for traits in (SKYPORTD, DOCKER, PROCESS, MEMORY)}

OFFERED = tuple(traits.name for traits in _BY_NAME.values() if traits.offered)
"""The drivers that a node may be added with."""


def traits_of(driver: str) -> Traits:
    """Return what the driver of this name is like. One of another version is like the defaults."""
    return _BY_NAME.get(driver) or Traits(driver)
