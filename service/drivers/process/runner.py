"""A node that is this machine itself, where instances are plain child processes.

For trying Skyquay without Docker. Instances run as the service's own user, so only images run here
that an operator has marked. The kernel keeps them from the data folder and from one another, where
it has Landlock. Each instance has a folder::

    instance.json    what runs, whether it is wanted running, and which process it is
    lock             flock of who changes the instance right now
    exit_code        of the program that ended last, written by its keeper
    stdin            a FIFO that the program reads, for its stop command
    log              what the program printed; log.1 before that
    data/            its files, where it starts; all that it may write, with its stdin and log

The folder is the truth: instances outlive Skyquay, and are found again by another Skyquay. A
process is known by its pid, its start in ticks since boot and the boot's id, so that a recycled pid
is nobody we know; one that was started a moment before a crash is known by a variable in its
environment. Each program has a keeper, which outlives Skyquay too. Memory is limited for each
process of an instance, not for all of them together.
"""

import builtins
import fcntl
import hashlib
import json
import logging
import os
import platform
import re
import secrets
import shutil
import signal
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import ParamSpec, TypeVar

import psutil

from service.drivers import (
    INTERRUPT,
    MAX_LOG_BYTES,
    STOP_GRACE_S,
    Authorize,
    ContainerSpec,
    ContainerStatus,
    NodeReport,
    always,
    parse_spec,
    print_spec,
    read_last_lines,
    split_grace,
)
from service.drivers.boundary import raises_only_ours
from service.drivers.process.landlock import find_abi, ruleset
from service.drivers.process.tree import (
    POLL_S,
    Record,
    await_end,
    find,
    find_family,
    kill,
    make_console,
    read_exit_code,
    send,
    spawn,
)
from service.errors import NodeFailure, NodeRefused
from service.model.driver_traits import PROCESS
from service.model.lifecycle import Power, PowerAction

Params = ParamSpec("Params")
Result = TypeVar("Result")

log = logging.getLogger(__name__)

ROTATE_BYTES = 1024 * 1024
CUT_BYTES = 16 * 1024 * 1024
"""How long the log of a program may become while it runs."""

MACHINE_ID = Path("/etc/machine-id")
LOCK_TIMEOUT_S = 30.0
KILL_TIMEOUT_S = 10.0
GONE = ".gone-"
EARLY_DEATH_S = 0.3
"""How long a start looks whether the program ends at once."""

_ID = re.compile(r"[a-z0-9][a-z0-9-]{1,63}", re.ASCII)


def _explain_damage(node_id: str, _exc: Exception) -> NodeFailure:
    return NodeFailure(node_id, "The record of an instance on this machine cannot be understood.")


@raises_only_ours(_explain_damage)
class ProcessRunner:
    """This machine. See NodeDriver."""

    exclusive = PROCESS.exclusive
    pulls = PROCESS.pulls

    def __init__(self, node_id: str, *, root: Path, authorize: Authorize = always) -> None:
        """Keep the instances' folders in `root`, which is made when it is needed.

        The folder that `root` is in is Skyquay's data folder, which no program reads.
        """
        self._node_id = node_id
        self._root = root.absolute()
        self._authorize = authorize

    def probe(self) -> NodeReport:
        """Return of this machine. See NodeDriver."""
        with self._translated():
            return NodeReport(
                version=platform.release(),
                engine="process" if find_abi() else "process (not confined)",
                memory_mib=psutil.virtual_memory().total // 2**20,
                cpu_milli=(psutil.cpu_count() or 1) * 1000,
                engine_id=_identify_machine(self._root),
            )

    def recover(self) -> None:
        """Start again what should run and does not, and cut long logs. See NodeDriver.

        That is this driver's restart policy: after a reboot, or when a program ended by itself.
        """
        with self._translated():
            for folder in self._list_folders():
                try:
                    with self._translated():
                        _cut(folder / "log")
                        self._resume(folder.name)
                except NodeFailure as failure:
                    facts = {"instance_id": folder.name, "reason": failure.reason}
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
        folder = self._folder(spec.instance_id)
        cmd = ["sh", "-c", spec.cmd] if isinstance(spec.cmd, str) else list(spec.cmd)
        with self._translated():
            self._change(partial((folder / "data").mkdir, mode=0o700, parents=True, exist_ok=True))
            with self._locked(spec.instance_id):
                record = _read(folder)
                if record is None:
                    record = Record(
                        container_id=f"p{secrets.token_hex(16)}",
                        cmd=cmd,
                        env=dict(spec.env),
                        memory_mib=spec.memory_mib,
                        port=spec.primary.host,
                        wanted=False,
                        process=None,
                        spec=print_spec(spec),
                    )
                    self._change(_write, folder, record)
                return self._to_status(folder, record)

    def status(self, instance_id: str) -> ContainerStatus | None:
        """Return how the process is. See NodeDriver."""
        folder = self._folder(instance_id)
        with self._translated():
            record = _read(folder)
            return self._to_status(folder, record) if record else None

    def list(self) -> Mapping[str, ContainerStatus]:
        """Return how all processes are. See NodeDriver."""
        found = {}
        with self._translated():
            for folder in self._list_folders():
                try:
                    record = _read(folder)
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
        with self._translated():
            record = _read(self._folder(instance_id))
            return parse_spec(record["spec"]) if record and "spec" in record else None

    def logs(self, instance_id: str, *, tail: int) -> str:
        """Read the last lines that the program printed. See NodeDriver."""
        folder = self._folder(instance_id)
        with self._translated():
            return read_last_lines(_read_end(folder / "log.1") + _read_end(folder / "log"), tail)

    def power(
        self,
        instance_id: str,
        action: PowerAction,
        *,
        stop_command: str | None = None,
        stop_timeout_s: int = STOP_GRACE_S,
    ) -> ContainerStatus:
        """Start, stop or kill the process and its children. See NodeDriver."""
        folder = self._folder(instance_id)
        with self._translated(), self._locked(instance_id):
            record = self._require(folder)
            if action == PowerAction.START:
                record["wanted"] = True
                self._start(folder, record)
                _await_early_death(folder, record)
            else:
                record["wanted"] = False
                self._change(_write, folder, record)
                grace_s = 0 if action == PowerAction.KILL else stop_timeout_s
                command_s, signal_s = split_grace(grace_s, stop_command)
                if stop_command and action == PowerAction.STOP:
                    self._change(_command, folder, record, stop_command)
                    await_end(folder, record, command_s)
                self._end(folder, record, signal_s)
            return self._to_status(folder, record)

    def remove(self, instance_id: str) -> None:
        """Kill the process and its children, and remove the folder. See NodeDriver."""
        folder = self._folder(instance_id)
        with self._translated():
            if folder.exists():
                with self._locked(instance_id):
                    try:
                        record = _read(folder)
                    except ValueError:
                        record = None  # what bears its mark is ended all the same
                    if record is not None:
                        record["wanted"] = False
                        self._change(_write, folder, record)
                    self._end(folder, record, 0)
                    # At once, so that no half of it is ever taken for an instance.
                    gone = self._root / f"{GONE}{instance_id}-{secrets.token_hex(4)}"
                    self._change(folder.rename, gone)
            self._sweep()

    def close(self) -> None:
        """Close nothing: the processes go on. See NodeDriver."""

    def _resume(self, instance_id: str) -> None:
        folder = self._folder(instance_id)
        with self._locked(instance_id, timeout_s=0):  # whoever changes it knows better than we
            record = self._require(folder)
            if record["wanted"] and find(folder, record) is None:
                log.info("instance.restarted", extra={"instance_id": instance_id})
                self._start(folder, record)

    def _start(self, folder: Path, record: Record) -> None:
        if find(folder, record) is not None:
            self._change(_write, folder, record)
            return
        self._end(folder, record, 0)  # children that outlived the program hold its port and files
        _require_free(self._node_id, record["port"])
        self._change(_make_ready, folder, record)
        writable = [folder / "data", *make_console(folder)]
        with ruleset(hidden=self._root.parent, writable=writable) as descriptor:
            record["process"] = self._change(spawn, folder, record, descriptor)
        _write(folder, record)  # what was begun is written down, whoever may go on

    def _end(self, folder: Path, record: Record | None, timeout_s: float) -> None:
        """Ask all processes of the instance to end, and kill them after `timeout_s`."""
        if timeout_s > 0:
            self._change(send, folder, record, signal.SIGTERM)
            await_end(folder, record, timeout_s)
        deadline = time.monotonic() + KILL_TIMEOUT_S
        while any(family := find_family(folder, record)):
            if time.monotonic() > deadline:
                raise NodeFailure(self._node_id, "Processes of the instance cannot be killed.")
            self._change(kill, family)
            await_end(folder, record, POLL_S)

    def _change(
        self, work: Callable[Params, Result], *args: Params.args, **options: Params.kwargs
    ) -> Result:
        """Change something of an instance: the one way, which asks first whether that may be."""
        self._authorize()
        return work(*args, **options)

    def _list_folders(self) -> builtins.list[Path]:
        return sorted(
            path.parent
            for path in self._root.glob("*/instance.json")
            if _ID.fullmatch(path.parent.name)
        )

    def _sweep(self) -> None:
        """Remove the folders of instances that are gone, of earlier attempts too."""
        for folder in self._root.glob(f"{GONE}*"):
            self._change(_erase, folder)

    def _to_status(self, folder: Path, record: Record) -> ContainerStatus:
        if find(folder, record) is not None:
            return ContainerStatus(record["container_id"], Power.RUNNING)
        reason = None
        if record["wanted"] and record["process"] is not None:
            reason = "It ended by itself."
        return ContainerStatus(
            record["container_id"], Power.STOPPED, read_exit_code(folder), reason
        )

    def _folder(self, instance_id: str) -> Path:
        if not _ID.fullmatch(instance_id):
            raise NodeRefused(self._node_id, f"{instance_id!r} cannot be an instance's id.")
        return self._root / instance_id

    def _require(self, folder: Path) -> Record:
        record = _read(folder)
        if record is None:
            raise NodeRefused(self._node_id, f"There is no instance {folder.name} here.")
        return record

    @contextmanager
    def _locked(self, instance_id: str, *, timeout_s: float = LOCK_TIMEOUT_S) -> Iterator[None]:
        """Keep all others, threads and processes, from changing the instance."""
        folder = self._folder(instance_id)
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                file = (folder / "lock").open("w")
            except FileNotFoundError:
                raise NodeRefused(
                    self._node_id, f"There is no instance {instance_id} here."
                ) from None
            with file:
                if _try_lock(file.fileno(), folder / "lock"):
                    yield
                    return
            if time.monotonic() > deadline:
                raise NodeFailure(self._node_id, f"The instance {instance_id} is busy.")
            time.sleep(POLL_S)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError, KeyError, psutil.Error) as exc:
            raise NodeFailure(self._node_id, f"This machine cannot do it: {exc}") from exc


def _identify_machine(root: Path) -> str:
    """Make an id of this machine's and the folder's: who has both has the same instances.

    A digest, because the machine's id is not to be shown.
    """
    try:
        machine = MACHINE_ID.read_text().strip()
    except OSError:
        machine = ""
    parts = f"{machine or platform.node()} {root.resolve()}"
    return f"process-{hashlib.sha256(parts.encode()).hexdigest()[:32]}"


def _try_lock(descriptor: int, path: Path) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Whoever held it may have removed the folder, and somebody else made a new one.
        return os.fstat(descriptor).st_ino == path.stat().st_ino
    except (BlockingIOError, FileNotFoundError):
        return False


def _read(folder: Path) -> Record | None:
    try:
        record: Record = json.loads((folder / "instance.json").read_text())
    except FileNotFoundError:
        return None
    return record


def _write(folder: Path, record: Record) -> None:
    draft = folder / "instance.json.new"
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(record, file)
        file.flush()
        os.fsync(file.fileno())
    draft.rename(folder / "instance.json")


def _make_ready(folder: Path, record: Record) -> None:
    _rotate(folder / "log")
    (folder / "exit_code").unlink(missing_ok=True)
    _write(folder, record)


def _await_early_death(folder: Path, record: Record) -> None:
    deadline = time.monotonic() + EARLY_DEATH_S
    while time.monotonic() < deadline and find(folder, record) is not None:
        time.sleep(POLL_S)


def _command(folder: Path, record: Record, command: str) -> None:
    """Return the program to end in its own words."""
    if command.upper() == INTERRUPT:
        send(folder, record, signal.SIGINT)
    else:
        with suppress(OSError):  # nobody reads it, or too much of it waits to be read
            descriptor = os.open(folder / "stdin", os.O_WRONLY | os.O_NONBLOCK)
            with os.fdopen(descriptor, "wb", buffering=0) as stdin:
                stdin.write(f"{command}\n".encode())


def _require_free(node_id: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", port))
        except OSError as exc:
            raise NodeRefused(
                node_id, f"Host port {port} is in use on the node by another program."
            ) from exc


def _rotate(path: Path) -> None:
    with suppress(FileNotFoundError):
        if path.stat().st_size > ROTATE_BYTES:
            path.rename(path.with_name("log.1"))


def _cut(path: Path) -> None:
    """Put aside what a program that runs for long has printed. It appends, so it goes on at 0."""
    with suppress(FileNotFoundError):
        if path.stat().st_size > CUT_BYTES:
            path.with_name("log.1").write_bytes(_read_end(path))
            os.truncate(path, 0)


def _erase(folder: Path) -> None:
    """Remove a folder, also where a program took the right to do so away."""
    folder.chmod(0o700)
    for parent, names, _ in os.walk(folder):
        for name in names:
            path = Path(parent, name)
            if not path.is_symlink():
                path.chmod(0o700)
    shutil.rmtree(folder)


def _read_end(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - MAX_LOG_BYTES))
            return file.read()
    except FileNotFoundError:
        return b""
