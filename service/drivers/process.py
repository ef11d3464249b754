"""A node that is this machine itself, where instances are plain child processes.

For trying Skyquay without Docker. Nothing keeps an instance from reading what the service's own
user may read, so only images run here that an operator has marked. Each instance has a folder::

    instance.json    what runs, whether it is wanted running, and which process it is
    lock             flock of who changes the instance right now
    stdin            a FIFO that the program reads, for its stop command
    log              what the program printed; log.1 before that
    data/            its files, where it starts

The folder is the truth: instances outlive Skyquay, and are found again by another Skyquay. A
process is known by its pid, its start in ticks since boot and the boot's id, so that a recycled pid
is nobody we know; one that was started a moment before a crash is known by a variable in its
environment. Memory is limited for each process of an instance, not for all of them together.
"""

import fcntl
import json
import logging
import os
import platform
import re
import secrets
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NotRequired, TypedDict

import psutil

from service.drivers import (
    INTERRUPT,
    MAX_LOG_BYTES,
    ContainerSpec,
    ContainerStatus,
    NodeReport,
    parse_spec,
    print_spec,
)
from service.errors import NodeFailure, NodeRefused
from service.lifecycle import Power, PowerAction

log = logging.getLogger(__name__)

MARK = "SKYQUAY_INSTANCE"
ROTATE_BYTES = 1024 * 1024
LOCK_TIMEOUT_S = 30.0
EARLY_DEATH_S = 0.3
"""How long a start looks whether the program ends at once."""

_POLL_S = 0.02
_ID = re.compile(r"[a-z0-9][a-z0-9-]{1,63}", re.ASCII)
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# In a shell, because nothing may run between fork and exec in a process that has threads.
_LAUNCH = 'cd "$0" && ulimit -c 0 && ulimit -d "$1" && shift && exec "$@"'


class Record(TypedDict):
    """What instance.json holds."""

    container_id: str
    cmd: list[str]
    env: dict[str, str]
    memory_mib: int
    port: int
    wanted: bool  # to run
    process: list[int | str] | None  # pid, start in ticks since boot, boot's id
    exit_code: int | None
    spec: NotRequired[str]  # what it was made from, as JSON text


class ProcessRunner:
    """This machine. See NodeDriver."""

    exclusive = False

    def __init__(self, node_id: str, *, root: Path) -> None:
        """Keep the instances' folders in `root`, which is made when it is needed."""
        self._node_id = node_id
        self._root = root.absolute()

    def probe(self) -> NodeReport:
        """Tell of this machine, and start again what should run and does not. See NodeDriver.

        That is this driver's restart policy: after a reboot, or when a program ended by itself, it
        runs again after the next probe.
        """
        with self._translated():
            for folder in sorted(self._root.glob("*/instance.json")):
                try:
                    self._resume(folder.parent.name)
                except NodeFailure as failure:
                    log.warning("cannot resume %s: %s", folder.parent.name, failure.reason)
            return NodeReport(
                version=platform.release(),
                engine="process",
                memory_mib=psutil.virtual_memory().total // 2**20,
                cpu_milli=(psutil.cpu_count() or 1) * 1000,
            )

    def create(self, spec: ContainerSpec, *, checkpoint: Callable[[], None]) -> ContainerStatus:
        """Make the instance's folder. See NodeDriver."""
        if not spec.cmd:
            raise NodeRefused(self._node_id, "The image has no command to run as a process.")
        checkpoint()
        folder = self._folder(spec.instance_id)
        cmd = ["sh", "-c", spec.cmd] if isinstance(spec.cmd, str) else list(spec.cmd)
        with self._translated():
            (folder / "data").mkdir(mode=0o700, parents=True, exist_ok=True)
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
                        exit_code=None,
                        spec=print_spec(spec),
                    )
                    _write(folder, record)
                return self._tell(folder, record)

    def status(self, instance_id: str) -> ContainerStatus | None:
        """Tell how the process is. See NodeDriver."""
        folder = self._folder(instance_id)
        with self._translated():
            record = _read(folder)
            return self._tell(folder, record) if record else None

    def list(self) -> Mapping[str, ContainerStatus]:
        """Tell how all processes are. See NodeDriver."""
        found = {}
        with self._translated():
            for path in sorted(self._root.glob("*/instance.json")):
                record = _read(path.parent)
                if record is not None and _ID.fullmatch(path.parent.name):
                    found[path.parent.name] = self._tell(path.parent, record)
        return found

    def describe(self, instance_id: str) -> ContainerSpec | None:
        """Tell what the instance was made from. See NodeDriver."""
        with self._translated():
            record = _read(self._folder(instance_id))
            return parse_spec(record["spec"]) if record and "spec" in record else None

    def logs(self, instance_id: str, *, tail: int) -> str:
        """Read the last lines that the program printed. See NodeDriver."""
        folder = self._folder(instance_id)
        with self._translated():
            printed = (_read_end(folder / "log.1") + _read_end(folder / "log"))[-MAX_LOG_BYTES:]
            return "".join(printed.decode(errors="replace").splitlines(keepends=True)[-tail:])

    def power(
        self,
        instance_id: str,
        action: PowerAction,
        *,
        stop_command: str | None = None,
        stop_timeout_s: int = 10,
    ) -> ContainerStatus:
        """Start, stop, restart or kill the process and its children. See NodeDriver."""
        folder = self._folder(instance_id)
        with self._translated(), self._locked(instance_id):
            record = self._require(folder)
            patience_s = 0 if action == PowerAction.KILL else stop_timeout_s
            if action != PowerAction.START:
                record["wanted"] = False
                _write(folder, record)
                if stop_command and action != PowerAction.KILL:
                    _command(folder, record, stop_command, patience_s)
                _end(folder, record, patience_s)
            if action in (PowerAction.START, PowerAction.RESTART):
                record["wanted"] = True
                self._start(folder, record)
            return self._tell(folder, record)

    def remove(self, instance_id: str) -> None:
        """Kill the process and its children, and remove the folder. See NodeDriver."""
        folder = self._folder(instance_id)
        with self._translated():
            if folder.exists():
                with self._locked(instance_id):
                    record = _read(folder)
                    if record is not None:
                        record["wanted"] = False
                        _write(folder, record)
                        _end(folder, record, 0)
                    # At once, so that no half of it is ever taken for an instance.
                    folder.rename(self._root / f".gone-{instance_id}")
            shutil.rmtree(self._root / f".gone-{instance_id}", ignore_errors=True)

    def close(self) -> None:
        """Let go of nothing: the processes go on. See NodeDriver."""

    def _resume(self, instance_id: str) -> None:
        folder = self._folder(instance_id)
        with self._locked(instance_id, timeout_s=0):  # whoever changes it knows better than we
            record = self._require(folder)
            if record["wanted"] and _find(folder, record) is None:
                log.info("starting %s again", instance_id)
                self._start(folder, record)

    def _start(self, folder: Path, record: Record) -> None:
        if _find(folder, record) is not None:
            _write(folder, record)
            return
        _require_free(self._node_id, record["port"])
        _rotate(folder / "log")
        record["exit_code"] = None
        _write(folder, record)
        pid = _spawn(folder, record)
        record["process"] = _identify(pid)
        _write(folder, record)
        deadline = time.monotonic() + EARLY_DEATH_S
        while time.monotonic() < deadline and _find(folder, record) is not None:
            time.sleep(_POLL_S)
        if record["exit_code"] is not None:
            _write(folder, record)  # an exit code is told once, and only to the parent

    def _tell(self, folder: Path, record: Record) -> ContainerStatus:
        if _find(folder, record) is not None:
            return ContainerStatus(record["container_id"], Power.RUNNING)
        reason = None
        if record["wanted"] and record["process"] is not None:
            reason = "It ended by itself."
        return ContainerStatus(record["container_id"], Power.STOPPED, record["exit_code"], reason)

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
            time.sleep(_POLL_S)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError, KeyError, psutil.Error) as exc:
            raise NodeFailure(self._node_id, f"This machine cannot do it: {exc}") from exc


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


def _spawn(folder: Path, record: Record) -> int:
    env = {
        "PATH": f"{_PATH}:{Path(sys.executable).parent}",
        "HOME": str(folder / "data"),
        "LANG": "C.UTF-8",
        **record["env"],
        "PRIMARY_PORT": str(record["port"]),
        MARK: folder.name,
    }
    with suppress(FileExistsError):
        os.mkfifo(folder / "stdin", mode=0o600)
    limit_kib = str(record["memory_mib"] * 1024)
    appending = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    return os.posix_spawn(
        "/bin/sh",
        ["sh", "-c", _LAUNCH, str(folder / "data"), limit_kib, *record["cmd"]],
        env,
        file_actions=[
            # For reading and writing, so that it never comes to an end.
            (os.POSIX_SPAWN_OPEN, 0, str(folder / "stdin"), os.O_RDWR, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(folder / "log"), appending, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
        # Signals that we ignore would be ignored by the program too.
        setsigdef=[signal.SIGHUP, signal.SIGINT, signal.SIGPIPE, signal.SIGTERM],
    )


def _find(folder: Path, record: Record) -> int | None:
    """Find the pid of the instance's first process, if it lives; reap it if it does not."""
    if record["process"] is not None:
        pid = int(record["process"][0])
        if _identify(pid) == record["process"] and not _reap(pid, record):
            return pid
    # A process that was started a moment before a crash is not in the record.
    for pid in psutil.pids():
        if _leads(pid) and _is_marked(pid, folder.name) and not _reap(pid, record):
            record["process"] = _identify(pid)
            return pid
    return None


def _reap(pid: int, record: Record) -> bool:
    """Tell whether the process has ended, whoever its parent is."""
    with suppress(ChildProcessError):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            record["exit_code"] = os.waitstatus_to_exitcode(status)
            return True
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def _command(folder: Path, record: Record, command: str, patience_s: float) -> None:
    """Tell the program to end in its own words, and wait for that."""
    leader = _find(folder, record)
    if command.upper() == INTERRUPT:
        _signal(folder, leader, signal.SIGINT)
    else:
        with suppress(OSError):  # nobody reads it, or too much of it waits to be read
            descriptor = os.open(folder / "stdin", os.O_WRONLY | os.O_NONBLOCK)
            with os.fdopen(descriptor, "wb", buffering=0) as stdin:
                stdin.write(f"{command}\n".encode())
    _await_end(folder, record, leader, patience_s)


def _await_end(folder: Path, record: Record, leader: int | None, patience_s: float) -> None:
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline and _members(folder, leader):
        _find(folder, record)
        time.sleep(_POLL_S)


def _end(folder: Path, record: Record, patience_s: float) -> None:
    """Ask all processes of the instance to end, and kill them after `patience_s`."""
    leader = _find(folder, record)
    if patience_s > 0:
        _signal(folder, leader, signal.SIGTERM)
        _await_end(folder, record, leader, patience_s)
    while _members(folder, leader):
        _signal(folder, leader, signal.SIGKILL)
        _find(folder, record)
        time.sleep(_POLL_S)


def _signal(folder: Path, leader: int | None, number: signal.Signals) -> None:
    for pid in _members(folder, leader):
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def _members(folder: Path, leader: int | None) -> list[int]:
    """List the living processes of the instance: of its session, and those that bear its mark."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, ProcessLookupError):
            ours = (leader is not None and os.getsid(process.pid) == leader) or _is_marked(
                process.pid, folder.name
            )
            if ours and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
    return found


def _identify(pid: int) -> list[int | str] | None:
    try:
        # The second field is the program's name in parentheses, which may hold anything.
        ticks = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return [pid, ticks, boot]


def _leads(pid: int) -> bool:
    try:
        return os.getsid(pid) == pid
    except ProcessLookupError:
        return False


def _is_marked(pid: int, instance_id: str) -> bool:
    try:
        environ = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False
    return f"{MARK}={instance_id}".encode() in environ.split(b"\0")


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


def _read_end(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - MAX_LOG_BYTES))
            return file.read()
    except FileNotFoundError:
        return b""
