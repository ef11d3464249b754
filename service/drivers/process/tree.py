"""The processes of an instance: started under a keeper, told apart from orphans, ended.

A process is known by its pid, its start in ticks since boot and the boot's id, so that a recycled
pid is nobody we know. All that an instance's program starts is below its keeper, see
`process_keeper`. Where that was killed, or an earlier version started the instance without one, the
processes are those of the program's session, and those that bear a variable in their environment.
"""

import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Collection, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import NamedTuple

import psutil

from service.drivers import INTERRUPT
from service.drivers.process import keeper as process_keeper
from service.drivers.process.records import POLL_S, Record

MARK = "SKYQUAY_INSTANCE"
KEEPER_MARK = "SKYQUAY_KEEPER"
FOLDER_MARK = "SKYQUAY_FOLDER"
"""Where the instance's folder is: another node's, or that of a copy of this installation, may be of
the same instance. Earlier versions did not say it."""
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# In a shell, because nothing may run between fork and exec in a process that has threads.
_LAUNCH = 'cd "$0" && ulimit -c 0 && ulimit -d "$1" && shift && exec "$@"'
_START_TIMEOUT_S = 20.0
EARLY_DEATH_S = 0.3
"""How long a start looks whether the program ends at once."""

_ENDED = "ZX"

_keepers: set[int] = set()
"""Those that this process started, until it has reaped them: nobody else can."""
_keepers_lock = threading.Lock()


def make_console(folder: Path) -> list[Path]:
    """Make the files that are the program's input and output. Answers both."""
    stdin, output = folder / "stdin", folder / "log"
    with suppress(FileExistsError):
        os.mkfifo(stdin, mode=0o600)
    output.touch(mode=0o600)
    return [stdin, output]


def spawn(folder: Path, record: Record, ruleset: int | None) -> list[int | str] | None:
    """Start the program in its folder, on its console, under a keeper. Answers which process it is.

    With a Landlock ruleset, the program is restricted by that. Raises OSError when the keeper does
    not come up, or not in time.
    """
    env = {
        "PATH": f"{_PATH}:{Path(sys.executable).parent}",
        "HOME": str(folder / "data"),
        "LANG": "C.UTF-8",
        **record["env"],
        "PRIMARY_PORT": str(record["port"]),
        MARK: folder.name,
        FOLDER_MARK: str(folder.resolve()),
    }
    limit_kib = str(record["memory_mib"] * 1024)
    words = ["/bin/sh", "-c", _LAUNCH, str(folder / "data"), limit_kib, *record["cmd"]]
    with ExitStack() as stack:
        program = stack.enter_context(os.fdopen(os.memfd_create("program"), "w+"))
        json.dump([words, env], program)
        program.flush()
        program.seek(0)
        ours, theirs = map(stack.enter_context, socket.socketpair())
        _spawn_keeper(folder, program.fileno(), theirs.fileno(), ruleset)
        theirs.close()
        ours.settimeout(_START_TIMEOUT_S)
        pid = ours.recv(32)
        if not pid:
            raise OSError("the program's keeper did not start")
        # As long as the socket is open, the program is not gone, not even if it has ended.
        return identify(int(pid))


def _spawn_keeper(folder: Path, program: int, answer: int, ruleset: int | None) -> None:
    script = [sys.executable, "-I", "-S", process_keeper.__file__, str(folder)]
    files = [
        (os.POSIX_SPAWN_DUP2, program, 0),
        (os.POSIX_SPAWN_DUP2, answer, 1),
        # What Python says when it cannot start is for whoever reads the log.
        (os.POSIX_SPAWN_OPEN, 2, str(folder / "log"), os.O_WRONLY | os.O_APPEND, 0),
    ]
    if ruleset is not None:
        files.append((os.POSIX_SPAWN_DUP2, ruleset, 3))
        script.append(process_keeper.CONFINED)
    with _keepers_lock:
        pid = os.posix_spawn(
            sys.executable,
            script,
            # Not the program's, which could name a library to load.
            {KEEPER_MARK: folder.name, FOLDER_MARK: str(folder.resolve())},
            file_actions=files,
            setsid=True,
            setsigmask=process_keeper.BLOCKED,
        )
        _keepers.add(pid)


def find(folder: Path, record: Record) -> int | None:
    """Find the pid of the instance's first process, if it lives. Changes nothing of it."""
    _reap_keepers()
    if record["process"] is not None:
        pid = int(record["process"][0])
        if identify(pid) == record["process"] and _lives(pid, folder):
            return pid
    if not record["wanted"]:
        return None
    # A process that was started a moment before a crash is not in the record.
    for pid in psutil.pids():
        marks = _find_marks(_read_environ(pid), folder) if _leads(pid) else ()
        if MARK in marks and _lives(pid, folder):
            record["process"] = identify(pid)
            return pid
    return None


def _lives(pid: int, folder: Path) -> bool:
    stat = _read_stat(pid)
    # Of one that ended the keeper still has to write down how.
    return stat is not None and (
        stat.state not in _ENDED or KEEPER_MARK in _find_marks(_read_environ(stat.parent), folder)
    )


def _reap_keepers() -> None:
    with _keepers_lock:
        for pid in tuple(_keepers):
            with suppress(ChildProcessError):
                if os.waitpid(pid, os.WNOHANG)[0] == 0:
                    continue
            _keepers.discard(pid)


def read_exit_code(folder: Path) -> int | None:
    """Return how the program ended: its code, or 128 and the signal. None: nobody wrote it down."""
    try:
        code = int((folder / process_keeper.EXIT_CODE).read_text())
    except (FileNotFoundError, ValueError):
        return None
    return 128 - code if code < 0 else code


class Family(NamedTuple):
    """The living processes of an instance, by pid."""

    keepers: list[int]
    members: list[int]
    """The program, and all that follows from it."""


def await_end(folder: Path, record: Record | None, timeout_s: float) -> None:
    """Wait until nothing of the instance is left, its keeper neither."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline and any(find_family(folder, record)):
        time.sleep(POLL_S)


def await_early_death(folder: Path, record: Record) -> None:
    """Wait a moment for a program that ends as soon as it is started."""
    deadline = time.monotonic() + EARLY_DEATH_S
    while time.monotonic() < deadline and find(folder, record) is not None:
        time.sleep(POLL_S)


def send(folder: Path, record: Record | None, number: signal.Signals) -> None:
    """Send a signal to the program, and to all that follows from it."""
    _send(find_family(folder, record).members, number)


def write_line(folder: Path, line: str) -> None:
    """Write a line to the program's standard input, all of it or nothing. Raises OSError.

    ENXIO: nobody reads it; EAGAIN: there is no room as long as the program does not read.
    """
    descriptor = os.open(folder / "stdin", os.O_WRONLY | os.O_NONBLOCK)
    try:
        os.write(descriptor, f"{line}\n".encode())
    finally:
        os.close(descriptor)


def command(folder: Path, record: Record, text: str) -> None:
    """Ask the program to end in its own words."""
    if text.upper() == INTERRUPT:
        send(folder, record, signal.SIGINT)
    else:
        with suppress(OSError):  # nobody reads it, or too much of it waits to be read
            write_line(folder, text)


def kill(family: Family) -> None:
    """Kill all of an instance, so that its keeper ends too. Not waited for."""
    _send(family.keepers, signal.SIGCONT)
    _send(family.keepers, signal.SIGUSR1)
    _send(family.members, signal.SIGKILL)


def _send(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def find_family(folder: Path, record: Record | None) -> Family:
    """Find the processes of the instance: below its keeper, of its session, or with its mark."""
    return find_families({folder: record})[folder]


def find_families(instances: Mapping[Path, Record | None]) -> dict[Path, Family]:
    """Find the processes of each of these instances, by one look at all that run."""
    _reap_keepers()
    all_stats = {pid: stat for pid in psutil.pids() if (stat := _read_stat(pid))}
    environs = {pid: _read_environ(pid) for pid in all_stats}
    return {
        folder: _find_among(all_stats, environs, folder, _find_session(record))
        for folder, record in instances.items()
    }


def _find_among(
    all_stats: Mapping[int, "_Stat"],
    environs: Mapping[int, Collection[bytes]],
    folder: Path,
    session: int | None,
) -> Family:
    marked = {pid: _find_marks(environ, folder) for pid, environ in environs.items()}
    kept = {pid for pid, marks in marked.items() if KEEPER_MARK in marks}
    below = {pid for pid in all_stats if _has_ancestor(pid, all_stats, kept)}
    keepers = kept - below  # a program that calls itself a keeper is none
    members = [
        pid
        for pid, stat in all_stats.items()
        if pid not in keepers
        and stat.state not in _ENDED
        and (pid in below or stat.session == session or MARK in marked[pid])
    ]
    return Family(sorted(keepers), members)


def _has_ancestor(pid: int, stats: Mapping[int, "_Stat"], among: set[int]) -> bool:
    seen = {pid}  # pids are read one after the other, and may have been given anew meanwhile
    while among and (stat := stats.get(pid)) and stat.parent not in seen:
        pid = stat.parent
        if pid in among:
            return True
        seen.add(pid)
    return False


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
    """Return which process has the pid now: its pid, its start, the boot. None when none has it."""
    stat = _read_stat(pid)
    return None if stat is None else [pid, stat.began, _read_boot_id()]


class _Stat(NamedTuple):
    state: str
    parent: int
    session: int
    began: int  # in ticks since boot


def _read_stat(pid: int) -> _Stat | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The second field is the program's name in parentheses, which may hold anything.
    words = text.rpartition(b")")[2].split()
    return _Stat(words[0].decode(), int(words[1]), int(words[3]), int(words[19]))


def _read_boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _leads(pid: int) -> bool:
    try:
        return os.getsid(pid) == pid
    except ProcessLookupError:
        return False


def _read_environ(pid: int) -> frozenset[bytes]:
    try:
        return frozenset(Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"))
    except OSError:
        return frozenset()


def _find_marks(environ: Collection[bytes], folder: Path) -> set[str]:
    """Return which of the variables that mark an instance's processes say that it is one."""
    marks = {mark for mark in (MARK, KEEPER_MARK) if f"{mark}={folder.name}".encode() in environ}
    if not marks or f"{FOLDER_MARK}={folder.resolve()}".encode() in environ:
        return marks
    is_elsewhere = any(each.startswith(f"{FOLDER_MARK}=".encode()) for each in environ)
    return set() if is_elsewhere else marks
