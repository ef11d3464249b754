"""The keeper of one instance of a `process` node: the parent of all that its program starts.

It is a program of its own, started as `python -I -S process_keeper.py`, which imports next to
nothing (not even `typing`), for there is one for each instance that runs. It outlives Skyquay. What
the program leaves behind becomes the keeper's child (PR_SET_CHILD_SUBREAPER), whatever its session
and environment.

The keeper writes down how the program ended, and ends when its last child has. At SIGUSR1 it kills
them all: with one signal where the kernel confines its signals to them (Landlock, Linux 6.12), so
that nothing escapes by forking, else its children again and again until none is left. It ignores
what asks everything on the machine to end, as the program has the time that it needs.

It is handed: the instance's folder as its argument; on descriptor 0 the program's words and
environment, a pair as JSON; on 1 a socket, where it writes the program's pid; on 3, if its second
argument says so, the Landlock ruleset of the program. An old keeper goes on after an upgrade: what
it does at SIGUSR1, and the file that it writes, must stay.
"""

import ctypes
import os
import signal
import struct
import sys
from contextlib import suppress

CONFINED = "confined"
EXIT_CODE = "exit_code"
BLOCKED = [signal.SIGCHLD, signal.SIGUSR1]
"""The signals that the keeper waits for. They are blocked before it begins."""

SET_CHILD_SUBREAPER, SET_NO_NEW_PRIVS = 36, 38
_SET_PDEATHSIG, _DROP_CAPABILITY = 1, 24
# The numbers of linux/landlock.h. Those of the system calls are the same for all processors.
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
PATH_BENEATH = 1
REFER, SCOPE_SIGNALS = 1 << 13, 2
# Of the capabilities of root, those that containers of a `docker` node have too.
_CHOWN, _DAC_OVERRIDE, _FOWNER, _KILL, _SETGID, _SETUID, _BIND = 0, 1, 3, 5, 6, 7, 10
_KEPT = {_CHOWN, _DAC_OVERRIDE, _FOWNER, _KILL, _SETGID, _SETUID, _BIND}
_IGNORED = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)
_OF_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)
_ROUND_S = 0.01

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def syscall(number: int, *arguments: int | bytes) -> int:
    """Make a system call. Bytes are handed over by their address. Raises OSError."""
    words = [each if isinstance(each, bytes) else ctypes.c_long(each) for each in arguments]
    return _check(_libc.syscall(ctypes.c_long(number), *words))


def prctl(option: int, argument: int) -> None:
    """Change something of this process. Raises OSError."""
    none = ctypes.c_ulong(0)
    _check(_libc.prctl(option, ctypes.c_ulong(argument), none, none, none))


def _check(answer: int) -> int:
    if answer < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return answer


def main(folder: str, ruleset: int | None) -> None:
    """Start the program, and stay until all that follows from it has ended."""
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    prctl(SET_CHILD_SUBREAPER, 1)
    confined = _confine_signals()
    keeper = os.getpid()
    pid = os.fork()
    if pid == 0:
        _become_program(folder, ruleset, keeper)
    if ruleset is not None:
        os.close(ruleset)
    with suppress(OSError):
        os.write(1, str(pid).encode())
        os.read(1, 1)  # until Skyquay knows which process it is: only then may it be gone
    with open(os.devnull, "r+b") as null:
        for descriptor in (0, 1):
            os.dup2(null.fileno(), descriptor)

    with suppress(ChildProcessError):  # there is none any more
        while True:
            if signal.sigwait(BLOCKED) == signal.SIGUSR1:
                _end_children(folder, pid, confined=confined)
            _reap(folder, pid)


def _confine_signals() -> bool:
    """Have the kernel confine our signals to what we start. Returns whether it certainly does."""
    outside = os.getppid()
    try:
        prctl(SET_NO_NEW_PRIVS, 1)
        os.kill(outside, 0)
        attributes = struct.pack("=QQQ", REFER, 0, SCOPE_SIGNALS)
        ruleset = syscall(CREATE_RULESET, attributes, len(attributes), 0)
        # The right to move files between folders is what every ruleset takes, unless it gives it.
        root = os.open("/", os.O_PATH)
        syscall(ADD_RULE, ruleset, PATH_BENEATH, struct.pack("=Qi", REFER, root), 0)
        syscall(RESTRICT_SELF, ruleset, 0)
        os.close(root)
        os.close(ruleset)
    except OSError:
        return False
    try:
        os.kill(outside, 0)  # as it could a moment ago
    except PermissionError:
        return True
    except OSError:
        pass
    return False


def _become_program(folder: str, ruleset: int | None, keeper: int) -> None:
    try:
        prctl(_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != keeper:
            return
        words, env = _read_program()
        os.setsid()
        # For reading and writing, so that it never comes to an end.
        os.dup2(os.open(f"{folder}/stdin", os.O_RDWR), 0)
        os.dup2(os.open(f"{folder}/log", os.O_WRONLY | os.O_APPEND), 1)
        os.dup2(1, 2)
        if ruleset is not None:
            _confine(ruleset)
        for number in (*_IGNORED, *_OF_PYTHON):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        os.execve(words[0], words, env)  # noqa: S606 - a program that an operator chose
    except (OSError, ValueError) as exc:
        os.write(2, f"The program cannot be started: {exc}\n".encode())
    finally:
        os._exit(127)


def _read_program() -> tuple[list[str], dict[str, str]]:
    import json  # not by the keeper itself, which stays small

    with open(0, closefd=False) as text:
        words, env = json.load(text)
    return words, env


def _confine(ruleset: int) -> None:
    """Take from this process what the ruleset does not allow, and what it does not rule.

    That are capabilities of root, such as to load modules and to read memory. Whoever is not root
    has nothing to lose, which is how the kernel refuses it.
    """
    for capability in set(range(64)) - _KEPT:
        with suppress(OSError):  # nor has anybody what this kernel does not know
            prctl(_DROP_CAPABILITY, capability)
    prctl(SET_NO_NEW_PRIVS, 1)
    syscall(RESTRICT_SELF, ruleset, 0)


def _reap(folder: str, program: int) -> None:
    """Reap all children that have ended. Raises ChildProcessError when that was the last."""
    while True:
        # Looked at first: once the program is gone, how it ended must be known.
        ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if ended is None:
            return
        if ended.si_pid == program:
            killed = ended.si_code in (os.CLD_KILLED, os.CLD_DUMPED)
            _write_exit_code(folder, -ended.si_status if killed else ended.si_status)
        os.waitpid(ended.si_pid, 0)


def _write_exit_code(folder: str, code: int) -> None:
    path = f"{folder}/{EXIT_CODE}"
    with suppress(OSError):  # it is being removed, or the disk is full
        with open(f"{path}.new", "w") as file:
            file.write(str(code))
        os.rename(f"{path}.new", path)


def _end_children(folder: str, program: int, *, confined: bool) -> None:
    """Kill all that follows from the program. Raises ChildProcessError when nothing is left."""
    while True:
        # With `confined`, -1 is every process that we started, in one step; else the whole machine.
        for pid in [-1] if confined else _list_children():
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        _reap(folder, program)
        signal.sigtimedwait([signal.SIGCHLD], _ROUND_S)


def _list_children() -> list[int]:
    found = []
    ours = str(os.getpid()).encode()
    for name in os.listdir("/proc"):
        if name.isdigit():
            with suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:
                if file.read().rpartition(b")")[2].split()[1] == ours:
                    found.append(int(name))
    return found


if __name__ == "__main__":
    main(sys.argv[1], 3 if CONFINED in sys.argv[2:] else None)
