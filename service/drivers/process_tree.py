"""The processes of an instance: found by session and mark, told apart from strangers, ended.

A process is known by its pid, its start in ticks since boot and the boot's id, so that a recycled
pid is nobody we know. What an instance started bears a variable in its environment, and is of its
session.
"""

import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import NotRequired, TypedDict

import psutil

MARK = "SKYQUAY_INSTANCE"
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# In a shell, because nothing may run between fork and exec in a process that has threads.
_LAUNCH = 'cd "$0" && ulimit -c 0 && ulimit -d "$1" && shift && exec "$@"'
POLL_S = 0.02


class Record(TypedDict):
    """What instance.json holds."""

    container_id: str
    cmd: list[str]
    env: dict[str, str]
    memory_mib: int
    port: int
    wanted: bool  # to run
    process: list[int | str] | None  # pid, start in ticks since boot, boot's id
    spec: NotRequired[str]  # what it was made from, as JSON text


def make_console(folder: Path) -> list[Path]:
    """Make the files that are the program's input and output. Answers both."""
    stdin, output = folder / "stdin", folder / "log"
    with suppress(FileExistsError):
        os.mkfifo(stdin, mode=0o600)
    output.touch(mode=0o600)
    return [stdin, output]


def spawn(folder: Path, record: Record) -> int:
    """Start the program in its folder, on its console. Answers its pid."""
    env = {
        "PATH": f"{_PATH}:{Path(sys.executable).parent}",
        "HOME": str(folder / "data"),
        "LANG": "C.UTF-8",
        **record["env"],
        "PRIMARY_PORT": str(record["port"]),
        MARK: folder.name,
    }
    limit_kib = str(record["memory_mib"] * 1024)
    return os.posix_spawn(
        "/bin/sh",
        ["sh", "-c", _LAUNCH, str(folder / "data"), limit_kib, *record["cmd"]],
        env,
        file_actions=[
            # For reading and writing, so that it never comes to an end.
            (os.POSIX_SPAWN_OPEN, 0, str(folder / "stdin"), os.O_RDWR, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(folder / "log"), os.O_WRONLY | os.O_APPEND, 0),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
        # Signals that we ignore would be ignored by the program too.
        setsigdef=[signal.SIGHUP, signal.SIGINT, signal.SIGPIPE, signal.SIGTERM],
    )


def find(folder: Path, record: Record) -> int | None:
    """Find the pid of the instance's first process, if it lives; reap it if it does not."""
    if record["process"] is not None:
        pid = int(record["process"][0])
        if identify(pid) == record["process"] and not _reap(pid, folder):
            return pid
    if not record["wanted"]:
        return None
    # A process that was started a moment before a crash is not in the record.
    for pid in psutil.pids():
        if _leads(pid) and _is_marked(pid, folder.name) and not _reap(pid, folder):
            record["process"] = identify(pid)
            return pid
    return None


def _reap(pid: int, folder: Path) -> bool:
    """Tell whether the process has ended, whoever its parent is.

    An exit code is told once, and only to the parent: it is written down by who hears it.
    """
    with suppress(ChildProcessError):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            with suppress(FileNotFoundError):  # it is being removed
                (folder / "exit_code").write_text(str(os.waitstatus_to_exitcode(status)))
            return True
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def read_exit_code(folder: Path) -> int | None:
    try:
        return int((folder / "exit_code").read_text())
    except (FileNotFoundError, ValueError):
        return None


def await_end(folder: Path, record: Record | None, patience_s: float) -> None:
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline and list_members(folder, record):
        if record is not None:
            find(folder, record)  # reaps it
        time.sleep(POLL_S)


def send(folder: Path, record: Record | None, number: signal.Signals) -> None:
    for pid in list_members(folder, record):
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def list_members(folder: Path, record: Record | None) -> list[int]:
    """List the living processes of the instance: of its session, and those that bear its mark."""
    session = _find_session(record)
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, ProcessLookupError):
            ours = (session is not None and os.getsid(process.pid) == session) or _is_marked(
                process.pid, folder.name
            )
            if ours and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
    return found


def _find_session(record: Record | None) -> int | None:
    """Find the session that the instance was started in, which outlives its first process.

    Not when another process has its number by now: a number is free only when the session is gone.
    """
    if record is None or record["process"] is None:
        return None
    pid = int(record["process"][0])
    same_boot = record["process"][2] == _read_boot_id()
    return pid if same_boot and identify(pid) in (None, record["process"]) else None


def identify(pid: int) -> list[int | str] | None:
    try:
        # The second field is the program's name in parentheses, which may hold anything.
        ticks = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except (FileNotFoundError, ProcessLookupError):
        return None
    return [pid, ticks, _read_boot_id()]


def _read_boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


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
