"""What a node can do for us, whatever it is: the contract of all drivers and the values they use.

A driver talks to one node. It raises nothing but three errors of ours: `NodeUnreachable` when there
was no answer (the outcome is unknown), `NodeRefused` when the node said no and would say so again,
`NodeFailure` for anything else, whatever the node says (boundary.py). Every call is bounded by the
driver's timeouts and in what it reads (bounds.py), and every call may be made again after any
outcome: creating what exists adopts it, removing what is gone succeeds.

A driver is opened with an `authorize`. There is one place in each through which it sends whatever
changes its node, and that calls `authorize` first: so nothing is changed by a worker that lost its
lease in the middle of a call. What `authorize` and checkpoints raise goes through as it is.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from service.drivers.log_lines import LogEnd as LogEnd
from service.drivers.log_lines import LogStream as LogStream
from service.drivers.power_feed import PowerFeed as PowerFeed
from service.drivers.reach import Reach
from service.model.container import ContainerSample as ContainerSample
from service.model.container import ContainerSpec as ContainerSpec
from service.model.container import ContainerStatus as ContainerStatus
from service.model.container import ContainerUsage as ContainerUsage
from service.model.documents import Node
from service.model.lifecycle import PowerAction
from service.model.printed_lines import LogLine, Mark
from service.model.storable import is_text, is_whole, require

MAX_LOG_BYTES = 256 * 1024
"""How much of a program's output one call reads."""

MAX_ENGINE_ID = 128
"""How many characters of an engine's id are kept. Docker's have 59 at the most."""

ENGINE_LINE_BYTES = 16 * 1024
"""Docker cuts longer lines into pieces of so many bytes, and counts each as a line."""

INTERRUPT = "^C"
"""The stop command that is no text for the program, but SIGINT."""

STOP_GRACE_S = 8
"""How long a program has to end before it is killed. Less than the 10 s for which a request waits,
so that the answer says how it ended."""

COMMAND_SHARE = 0.75
"""How much of that is for its stop command, where it has one; the rest is for SIGTERM."""


Authorize = Callable[[], None]
"""Called before each change of a node. What it raises goes through, and nothing more is changed."""


def always() -> None:
    """Allow every change: nobody else works on the same instance."""


def split_grace(grace_s: float, stop_command: str | None) -> tuple[float, float]:
    """Share out the time that a program has to end: for its stop command, and for SIGTERM."""
    command_s = grace_s * COMMAND_SHARE if stop_command else 0
    return command_s, grace_s - command_s


@dataclass(frozen=True, slots=True)
class Owner:
    """The installation of Skyquay that a driver works for, on a node that others may use too.

    Its functions may read the database, and raise what that raises.
    """

    find_id: Callable[[], str]
    """Finds the installation's id."""
    find_claims: Callable[[Collection[str]], Mapping[str, str | None]]
    """Finds which of these instances its documents know: each with the id of its container, or None
    as long as the documents do not have that."""


UNNAMED = Owner(lambda: "", lambda _: {})
"""An installation without an id; its own is what bears no installation's id."""


@dataclass(frozen=True, slots=True)
class NodeReport:
    """What a node says of itself."""

    version: str
    engine: str
    memory_mib: int | None
    cpu_milli: int | None
    disk_mib: int | None = None
    """Of the disk that has the volumes; None where it does not say."""
    engine_id: str | None = None
    """What the engine is known by, at whatever address; None where it does not say."""

    def __post_init__(self) -> None:
        require(
            is_text(self.version),
            is_text(self.engine),
            self.memory_mib is None or is_whole(self.memory_mib),
            self.cpu_milli is None or is_whole(self.cpu_milli),
            self.disk_mib is None or is_whole(self.disk_mib),
            self.engine_id is None or is_text(self.engine_id),
        )


@dataclass(frozen=True, slots=True)
class Leftovers:
    """What could not be deleted of a volume, so that somebody has to do it on the node itself."""

    path: str
    """Where the volume is on the node's disk."""
    names: tuple[str, ...]
    """Of what is left in it, as far as it can be named, and not all where there is much."""
    reason: str


class Delivery(StrEnum):
    """What became of a line for a program. All but SENT: nothing was written."""

    SENT = "sent"
    """It is where the program reads it, if it reads at all."""
    NOT_RUNNING = "not_running"
    NO_INPUT = "no_input"
    """The container was made without an input that lines can be written to."""
    UNREAD = "unread"
    """The program has not read what was written before, and there is no room for more."""


class NodeDriver(Protocol):
    """One node, as the worker sees it."""

    exclusive: bool
    """Whether the node bears one creation at a time, which is not left before its end is known."""

    pulls: bool
    """Whether an image is fetched by `pull`, which comes before `create`; else `create` does it."""

    steady_s: float
    """How long a new program must run to count as started."""

    reach: Reach
    """Sees whether a host port is served."""

    def probe(self) -> NodeReport:
        """Ask the node how it is. Answers or raises within the connect timeout plus a second.

        It only looks, as do `status`, `list`, `describe` and `logs`: they start, stop and change
        nothing on the node, whatever they find there.
        """

    def recover(self) -> None:
        """Run again what should run and does not, where nothing else on the node sees to that.

        For a worker, after a probe that was answered. Most nodes restart programs by themselves, so
        that there is nothing to do. An instance that cannot be started is left for the next time.
        """

    def pull(
        self, image: str, *, checkpoint: Callable[[], None], report: Callable[[str], None]
    ) -> None:
        """Fetch the image where it is missing. Does nothing where `pulls` is False.

        Bounded by a total time of the driver's own, past which it raises NodeRefused; silence of
        the registry's is no silence of the node's. About once a second `report` gets the progress
        in plain words, and `checkpoint` is called; what they raise goes through, and within
        seconds the node gives the pull up.
        """

    def create(self, spec: ContainerSpec, *, checkpoint: Callable[[], None]) -> ContainerStatus:
        """Make the instance's container and volume. The image is there, where `pulls` is True.

        True afterwards: a container named after the instance exists with what `spec` says, running
        or not. One that exists already is adopted as it is. After an error there may be a container
        or a volume; `remove` takes both. `checkpoint` is called between steps, and about once a
        second while it waits for long; what it raises goes through.
        """

    def status(self, instance_id: str) -> ContainerStatus | None:
        """Return how the container is; None only when the node is certain that there is none."""

    def list(self) -> Mapping[str, ContainerStatus]:
        """Return the status of all containers of Skyquay's, by instance id. Reasons may be missing.

        Complete: what is not in it does not exist, or is another installation's. Bounded like
        `probe`, and ten seconds more.
        """

    def describe(self, instance_id: str) -> ContainerSpec | None:
        """Return what the container was made from, where the node knows; None as in `status`."""

    def logs(self, instance_id: str, *, tail: int) -> str:
        """Read the last `tail` lines that the program printed, MAX_LOG_BYTES at the most.

        What is read begins with the beginning of a line: one that any bound cuts is left out, since
        secrets are found in whole lines only. LONG_LINE where nothing else is left. The last line
        may be unfinished. Empty when the program printed nothing, and when there is no container.
        """

    def printed(self, instance_id: str) -> str:
        """Read what the program printed since its last start: at least the last 1000 lines of that.

        MAX_LOG_BYTES at the most. Nothing of what it printed before, when it was started again.
        Empty when there is no container. Raises NodeRefused where the node cannot tell. Bounded by
        the connect timeout and some seconds.
        """

    def read_logs(
        self,
        instance_id: str,
        *,
        tail: int,
        since_ns: int | None = None,
        until_ns: int | None = None,
    ) -> Sequence[LogLine]:
        """Read the last `tail` lines of a time, MAX_LOG_BYTES at the most, oldest first.

        The times are nanoseconds since 1970, both inclusive. None of them may be given where the
        traits say that lines have none. Bounds are as in `logs`; a long line is cut.
        """

    def follow_logs(
        self,
        instance_id: str,
        *,
        tail: int,
        since_ns: int | None = None,
        after: Mark | None = None,
    ) -> LogStream:
        """Follow what the program prints: the last `tail` lines first, or all after a mark.

        A mark may only be given where lines have times. The iterator must be closed. It ends at
        once where there is no container. See LogStream.
        """

    def command(self, instance_id: str, line: str) -> Delivery:
        """Write a line, and a line feed behind it, to the running program's standard input.

        The line is text without control characters, with MAX_LINE_BYTES at the most, and has no
        meaning here: "^C" is written too. After an error that is not NodeRefused it may have been
        written. Bounded by the connect timeout and some seconds.
        """

    def usage(self, instance_id: str) -> ContainerUsage | None:
        """Measure what the running container uses now; None when nothing runs.

        It only looks. Bounded by the connect timeout and some seconds.
        """

    def sample(self, instance_ids: Sequence[str]) -> Mapping[str, ContainerSample]:
        """Read what these instances have used until now, by their ids: one call of the node's.

        For whoever does so again and again, and compares. `sample_size` of the driver's traits at
        the most; what does not run is left out. It only looks. Bounded by the connect timeout and
        SAMPLE_TIMEOUT_S.
        """

    def measure_volumes(self, instance_ids: Sequence[str]) -> Mapping[str, int]:
        """Add up the bytes of the volumes of these instances. What is not known is left out.

        It may read all files, so it is for every ten minutes. Bounded by the connect timeout and
        VOLUMES_TIMEOUT_S. Empty where `sample` says it.
        """

    def read_volume(self, instance_id: str) -> Iterator[bytes]:
        """Read the instance's files as a tar archive, piece by piece: see volume_archive.py.

        The iterator must be read to its end, or closed. Names, kinds, rights, owners, links and
        the times of files are as they are, and files without a byte too; sockets are left out.
        The container is there and does not run: else it raises NodeRefused. Silence of the node's
        is bounded, the whole is not. Nothing is kept in memory. For nodes whose traits have a
        `volume_format`; others raise NodeRefused, here and below.
        """

    def write_volume(self, instance_id: str, archive: Iterable[bytes]) -> None:
        """Write the files of such an archive into the instance's volume, which is empty.

        The container is there and does not run, as above. Nothing is written outside of the
        volume, or at least of the container, whatever the archive says. After an error some of the
        files may be there, until `remove`. What `archive` raises goes through. `authorize` is
        asked again and again.
        """

    def power(
        self,
        instance_id: str,
        action: PowerAction,
        *,
        stop_command: str | None = None,
        stop_timeout_s: int = STOP_GRACE_S,
    ) -> ContainerStatus:
        """Start, stop or kill the container, and return how it is afterwards.

        Stopping writes `stop_command` to the program's standard input if there is one ("^C" sends
        SIGINT instead), asks it to end with SIGTERM when that had its share of `stop_timeout_s`, or
        at once without a command, and kills it when all of `stop_timeout_s` is over. Starting what
        runs and stopping what does not is a success. A stopped container stays stopped, whatever
        restarts. Raises NodeRefused when there is no such container, and PortInUse at a start for a
        host port that something else on the node has, where the node says that.
        """

    def follow_power(self, since: str | None) -> PowerFeed:
        """Begin to listen to what happens to the containers of Skyquay's, from now on at least.

        From the cursor `since` of an earlier feed on, as far as the node remembers. What is heard
        within two seconds is that a program began or ended: what became of it `status` says. Raises
        NodeRefused where the node says nothing of that kind.
        """

    def discard(self, instance_id: str, *, checkpoint: Callable[[], None]) -> None:
        """Kill and remove the container, and keep its volume for the next `create`.

        What is gone already is a success. `checkpoint` is called as in `create`.
        """

    def remove(self, instance_id: str) -> Leftovers | None:
        """Kill and remove the container and its volume. What is gone already is a success.

        The container is gone afterwards, whatever a program wrote into its volume: files that do
        not go are answered. None: nothing is left.
        """

    def close(self) -> None:
        """Close connections. The containers are not touched."""


class DriverFactory(Protocol):
    """Makes the driver of a node. Opens no connection."""

    def __call__(self, node: Node, /, *, authorize: Authorize = always) -> NodeDriver:
        """Make a driver that calls `authorize` before each change. Raises NodeUnreachable."""
