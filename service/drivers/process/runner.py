"""A node that is this machine itself, where instances are plain child processes.

For trying Skyquay without Docker. Instances run as the service's own user, so only images run here
that an operator has marked. The kernel keeps them from the data folder and from one another, where
it has Landlock.

The folder of an instance (folders.py) is the truth: instances outlive Skyquay, and are found again
by another Skyquay. A process is known by its pid, its start in ticks since boot and the boot's id,
so that a recycled pid is nobody we know; one that was started a moment before a crash is known by a
variable in its environment. Each program has a keeper, which outlives Skyquay too. Memory is
limited for each process of an instance, not for all of them together.
"""

import logging
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path

import psutil

from service.drivers import (
    MAX_LOG_BYTES,
    STOP_GRACE_S,
    Authorize,
    ContainerSample,
    ContainerSpec,
    ContainerStatus,
    ContainerUsage,
    Delivery,
    NodeReport,
    always,
)
from service.drivers.boundary import raises_only_ours
from service.drivers.bounds import VOLUMES_TIMEOUT_S
from service.drivers.dialing import Dialer
from service.drivers.kept_specs import parse_spec, print_spec, starts_again
from service.drivers.last_output import read_last_lines
from service.drivers.log_lines import LogStream, make_lines
from service.drivers.power_feed import ComparedLists, PowerFeed
from service.drivers.process import logs, records, volume_copy
from service.drivers.process.folders import Folders
from service.drivers.process.log_following import follow
from service.drivers.process.machine import describe_machine
from service.drivers.process.power import end, end_for_good, start, stop
from service.drivers.process.records import Record
from service.drivers.process.tree import (
    await_early_death,
    find,
    find_families,
    find_family,
    read_exit_code,
    write_line,
)
from service.drivers.process.usage import count, measure, measure_files
from service.drivers.reach import THIS_MACHINE, Network, Reach
from service.drivers.volume_archive import BadArchive, translating
from service.errors import NodeFailure, NodeRefused
from service.model.addresses import trust
from service.model.container import tell_ports
from service.model.driver_traits import PROCESS
from service.model.lifecycle import Power, PowerAction
from service.model.printed_lines import LogLine

log = logging.getLogger(__name__)

FOLLOW_EVERY_S = 0.5

MACHINE_ERRORS = (OSError, ValueError, KeyError, psutil.Error)


def _translate(node_id: str, exc: Exception) -> NodeFailure:
    if isinstance(exc, NodeFailure):
        return exc
    if isinstance(exc, BadArchive):
        return NodeRefused(node_id, str(exc))
    if isinstance(exc, MACHINE_ERRORS):
        return NodeFailure(node_id, f"This machine cannot do it: {exc}")
    return NodeFailure(node_id, "The record of an instance on this machine cannot be understood.")


@raises_only_ours(_translate)
class ProcessRunner:
    """This machine. See NodeDriver."""

    exclusive = PROCESS.exclusive
    pulls = PROCESS.pulls
    steady_s = PROCESS.steady_s

    def __init__(self, node_id: str, *, root: Path, authorize: Authorize = always) -> None:
        """Keep the instances' folders in `root`, which is made when it is needed.

        The folder that `root` is in is Skyquay's data folder, which no program reads.
        """
        self._node_id = node_id
        self._folders = Folders(node_id, root.absolute(), authorize)
        self.reach: Reach = Network(Dialer(node_id, trust), THIS_MACHINE)

    def probe(self) -> NodeReport:
        """Look at this machine. See NodeDriver."""
        return describe_machine(self._folders.root)

    def recover(self) -> None:
        """Start again what should run and does not, and cut long logs. See NodeDriver.

        That is this driver's restart policy: after a reboot, or when a program ended by itself.
        """
        for folder in self._folders.list_all():
            try:
                logs.cut(folder)
                self._resume(folder.name)
            except (NodeFailure, *MACHINE_ERRORS) as exc:
                reason = _translate(self._node_id, exc).reason
                facts = {"instance_id": folder.name, "reason": reason}
                log.warning("instance.resume_failed", extra=facts)
        self._sweep()

    def pull(
        self, image: str, *, checkpoint: Callable[[], None], report: Callable[[str], None]
    ) -> None:
        """Do nothing: this machine's programs run. See NodeDriver."""

    def create(self, spec: ContainerSpec, *, checkpoint: Callable[[], None]) -> ContainerStatus:
        """Make the instance's folder. See NodeDriver."""
        if not spec.cmd:
            raise NodeRefused(self._node_id, "The image has no command to run as a process.")
        checkpoint()
        folder = self._folders.find(spec.instance_id)
        cmd = ["sh", "-c", spec.cmd] if isinstance(spec.cmd, str) else list(spec.cmd)
        self._folders.change(
            partial((folder / "data").mkdir, mode=0o700, parents=True, exist_ok=True)
        )
        with self._folders.locked(spec.instance_id):
            record = records.read(folder)
            if record is None:
                record = Record(
                    container_id=f"p{secrets.token_hex(16)}",
                    cmd=cmd,
                    env={**spec.env, **tell_ports(spec, "host")},
                    memory_mib=spec.memory_mib,
                    port=spec.primary.host,
                    wanted=False,
                    process=None,
                    spec=print_spec(spec),
                )
                self._folders.change(records.write, folder, record)
            return self._to_status(folder, record)

    def status(self, instance_id: str) -> ContainerStatus | None:
        """Return how the process is. See NodeDriver."""
        folder = self._folders.find(instance_id)
        record = records.read(folder)
        return self._to_status(folder, record) if record else None

    def list(self) -> Mapping[str, ContainerStatus]:
        """Return how all processes are. See NodeDriver."""
        found = {}
        for folder in self._folders.list_all():
            try:
                record = records.read(folder)
            except ValueError:
                found[folder.name] = ContainerStatus(
                    folder.name, Power.STOPPED, reason="Its record cannot be read."
                )
            else:
                if record is not None:
                    found[folder.name] = self._to_status(folder, record)
        return found

    def describe(self, instance_id: str) -> ContainerSpec | None:
        """Return what the instance was made from. See NodeDriver."""
        record = records.read(self._folders.find(instance_id))
        return parse_spec(record["spec"]) if record and "spec" in record else None

    def logs(self, instance_id: str, *, tail: int) -> str:
        """Read the last lines that the program printed. See NodeDriver."""
        folder = self._folders.find(instance_id)
        return read_last_lines(logs.read(folder), tail)

    def printed(self, instance_id: str) -> str:
        """Read what the program printed since its last start. See NodeDriver."""
        return read_last_lines(logs.read_start(self._folders.find(instance_id)), MAX_LOG_BYTES)

    def read_logs(self, instance_id: str, *, tail: int, **_: object) -> Sequence[LogLine]:
        """Read the last lines that the program printed, without times. See NodeDriver."""
        return make_lines(self.logs(instance_id, tail=tail))

    def follow_logs(self, instance_id: str, *, tail: int, **_: object) -> LogStream:
        """Read the last lines, and those to come. See NodeDriver."""
        folder = self._folders.find(instance_id)
        record = records.read(folder)
        container_id = record and record["container_id"]

        def find_run() -> str | None:
            now = records.read(folder)
            if now is None or now["container_id"] != container_id:
                return None
            return str(find(folder, now) or "")

        read = partial(follow, folder, find_run, tail=tail)
        return LogStream(container_id, read, partial(_translate, self._node_id))

    def command(self, instance_id: str, line: str) -> Delivery:
        """Write a line to the program's standard input. See NodeDriver."""
        folder = self._folders.find(instance_id)
        record = records.read(folder)
        if record is None or find(folder, record) is None:
            return Delivery.NOT_RUNNING
        try:
            self._folders.change(write_line, folder, line)
        except BlockingIOError:
            return Delivery.UNREAD
        return Delivery.SENT

    def usage(self, instance_id: str) -> ContainerUsage | None:
        """Measure what the instance's processes use. See NodeDriver."""
        folder = self._folders.find(instance_id)
        record = records.read(folder)
        leader = record and find(folder, record)
        if record is None or leader is None:
            return None
        return measure(leader, find_family(folder, record).members, folder / "data")

    def sample(self, instance_ids: Sequence[str]) -> Mapping[str, ContainerSample]:
        """Read what the instances' processes have used until now. See NodeDriver."""
        running = {}
        for instance_id in instance_ids:
            folder = self._folders.find(instance_id)
            with suppress(ValueError):  # one whose record cannot be read is left out
                record = records.read(folder)
                if record is not None and find(folder, record) is not None:
                    running[folder] = record
        families = find_families(running)
        return {folder.name: count(families[folder].members) for folder in running}

    def measure_volumes(self, instance_ids: Sequence[str]) -> Mapping[str, int]:
        """Add up the instances' files. See NodeDriver."""
        end = time.monotonic() + VOLUMES_TIMEOUT_S
        found = {}
        for instance_id in instance_ids:
            size = measure_files(self._folders.find(instance_id) / "data", until=end)
            if size is not None:
                found[instance_id] = size
        return found

    def read_volume(self, instance_id: str) -> Iterator[bytes]:
        """Read the instance's files. See NodeDriver."""
        folder = self._require_stopped(instance_id)
        return translating(volume_copy.read(folder / "data"), partial(_translate, self._node_id))

    def write_volume(self, instance_id: str, archive: Iterable[bytes]) -> None:
        """Write files into the instance's folder. See NodeDriver."""
        folder = self._require_stopped(instance_id)
        volume_copy.write(folder / "data", archive, self._folders.authorize)

    def power(
        self,
        instance_id: str,
        action: PowerAction,
        *,
        stop_command: str | None = None,
        stop_timeout_s: int = STOP_GRACE_S,
    ) -> ContainerStatus:
        """Start, stop or kill the process and its children. See NodeDriver."""
        folder = self._folders.find(instance_id)
        with self._folders.locked(instance_id):
            record = self._folders.require(folder)
            if action == PowerAction.START:
                if find(folder, record) is None:
                    record["restarts"] = 0
                record["wanted"] = True
                start(self._folders, folder, record)
                await_early_death(folder, record)
            else:
                record["wanted"] = False
                self._folders.change(records.write, folder, record)
                if action == PowerAction.STOP:
                    stop(self._folders, folder, record, stop_command, stop_timeout_s)
                else:
                    end(self._folders, folder, record, grace_s=0)
            return self._to_status(folder, record)

    def follow_power(self, since: str | None) -> PowerFeed:  # noqa: ARG002 - what is now is compared
        """Look at the instances again and again, which costs little. See NodeDriver."""
        return ComparedLists(self.list, every_s=FOLLOW_EVERY_S)

    def discard(self, instance_id: str, *, checkpoint: Callable[[], None]) -> None:
        """Kill the process and its children, and keep their files. See NodeDriver."""
        checkpoint()
        self._take_away(
            instance_id, lambda folder: (folder / "instance.json").unlink(missing_ok=True)
        )

    def remove(self, instance_id: str) -> None:
        """Kill the process and its children, and remove the folder. See NodeDriver."""
        self._take_away(instance_id, self._folders.put_away)
        self._sweep()

    def close(self) -> None:
        """Close nothing: the processes go on. See NodeDriver."""

    def _require_stopped(self, instance_id: str) -> Path:
        folder = self._folders.find(instance_id)
        if find(folder, self._folders.require(folder)) is not None:
            raise NodeRefused(self._node_id, "The program runs, so its files cannot be copied.")
        return folder

    def _resume(self, instance_id: str) -> None:
        folder = self._folders.find(instance_id)
        with self._folders.locked(
            instance_id, timeout_s=0
        ):  # whoever changes it knows better than we
            record = self._folders.require(folder)
            resumes = record["wanted"] and starts_again(record.get("spec"))
            if resumes and find(folder, record) is None:
                log.info("instance.restarted", extra={"instance_id": instance_id})
                record["restarts"] = record.get("restarts", 0) + 1
                start(self._folders, folder, record)

    def _take_away(self, instance_id: str, work: Callable[[Path], None]) -> None:
        """End the instance's processes and do `work`; nothing where there is no folder of it."""
        folder = self._folders.find(instance_id)
        try:
            with self._folders.locked(instance_id):
                end_for_good(self._folders, folder)
                self._folders.change(work, folder)
        except NodeRefused:
            # A transfer that was given up, or a worker without lease, may have removed it first.
            if folder.exists():
                raise

    def _sweep(self) -> None:
        for folder in self._folders.list_gone():
            self._folders.change(records.erase, folder)

    def _to_status(self, folder: Path, record: Record) -> ContainerStatus:
        began = record.get("started_at")
        status = ContainerStatus(
            record["container_id"],
            Power.RUNNING,
            restarts=record.get("restarts"),
            started_at=datetime.fromisoformat(began) if began is not None else None,
        )
        if find(folder, record) is not None:
            return status
        ended_itself = record["wanted"] and record["process"] is not None
        return replace(
            status,
            power=Power.STOPPED,
            exit_code=read_exit_code(folder),
            reason="It ended by itself." if ended_itself else None,
        )
