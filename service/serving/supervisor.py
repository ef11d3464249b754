"""Several processes that serve one address, and one that works: started, replaced and ended.

Each child is a new `skyquay`, not a fork, so that it has no thread and no connection of its parent,
and runs the code that is installed when it starts. Each inherits a listening socket, which the
parent keeps open: a connection that nobody has accepted yet is lost with no child.
"""

import fcntl
import logging
import math
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir

from service.serving.sharing import SharedAddress
from service.serving.signals import on_signals

log = logging.getLogger(__name__)

TICK_S = 0.1
STEADY_S = 10.0
"""A child that lived this long is replaced at once; one that did not, after longer and longer."""

MAX_DELAY_S = 30.0
START_TIMEOUT_S = 60.0
"""How long the successor of a child may take until it serves."""

END_TIMEOUT_S = 30.0
"""How long a child may take to end: more than it gives its requests and its operations."""

METRICS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""Where the children count, so that whichever is asked for metrics can add them all up."""

METRICS_SLOT = "SKYQUAY_METRICS_NUMBER"
"""As which the next child counts. One that gets the number of a child that ended adds to what that
counted, so that there are never more files than there were children at a time."""

_FOLDER_PREFIX = "skyquay-metrics-"

_READY = b"."


class Lifeline:
    """A child's end of the socket by which it and its parent know of each other."""

    def __init__(self, fd: str) -> None:
        self._socket = socket.socket(fileno=int(fd))
        self._socket.set_inheritable(False)

    def report_ready(self) -> None:
        """Return the parent that this process does its part; and end when the parent has ended."""
        with suppress(OSError):  # a parent that is gone is found out below
            self._socket.send(_READY)
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        with suppress(OSError):
            self._socket.recv(1)  # The parent sends nothing: this returns when it is gone.
        os.kill(os.getpid(), signal.SIGTERM)


class Child:
    """A process of ours."""

    def __init__(self, words: list[str], fds: list[int], number: int) -> None:
        self.number = number
        os.putenv(METRICS_SLOT, str(number))  # not by an option, which older versions do not know
        self._lifeline, theirs = socket.socketpair()
        self._lifeline.setblocking(False)
        self._is_ready = False
        with theirs, ExitStack() as at_failure:
            at_failure.enter_context(self._lifeline)
            self.process = subprocess.Popen(  # noqa: S603 (the words are ours)
                [*_program(), *words, "--lifeline", str(theirs.fileno())],
                pass_fds=[theirs.fileno(), *fds],
                # Ctrl-C is for the parent, which ends its children in order.
                process_group=0,
            )
            at_failure.pop_all()
        self._started_at = time.monotonic()
        self._retired_at = math.inf

    def fileno(self) -> int:
        """Return the number of what hangs up when it ends."""
        return self._lifeline.fileno()

    @property
    def age_s(self) -> float:
        """Return for how long it has been there."""
        return time.monotonic() - self._started_at

    def is_ready(self) -> bool:
        """Return whether it has begun to do its part."""
        if not self._is_ready:
            with suppress(OSError):
                self._is_ready = self._lifeline.recv(1) == _READY
        return self._is_ready

    def has_ended(self) -> bool:
        """Return whether it has ended, however it did."""
        if self.process.poll() is None:
            return False
        self._lifeline.close()
        return True

    def retire(self) -> None:
        """Have it leave without haste, because another has taken its place."""
        self._retired_at = time.monotonic()
        self.process.send_signal(signal.SIGHUP)

    def is_overdue(self) -> bool:
        """Return whether it was to have left by now."""
        return time.monotonic() - self._retired_at > END_TIMEOUT_S


def _program() -> list[str]:
    """Start Skyquay as this process was started: `skyquay`, or `python -m ...`."""
    ours = len(sys.orig_argv) - len(sys.argv) + 1
    return [sys.executable, *sys.orig_argv[1:ours]]


@dataclass
class _Place:
    """What one child is for; who does it, and who is about to take over."""

    words: list[str]
    fds: list[int] = field(default_factory=list)
    child: Child | None = None
    successor: Child | None = None
    is_outdated: bool = False
    early_ends: int = 0
    start_at: float = 0.0


class Supervisor:
    """The parent. It serves nothing itself."""

    def __init__(self, listener: socket.socket, *, processes: int, works: bool) -> None:
        self._address = SharedAddress(listener, processes)
        fds = [each.fileno() for each in self._address.sockets]
        self._serving = [_Place(["serve", "--listener", str(fd)], [fd]) for fd in fds]
        self._places = self._serving + ([_Place(["worker"])] if works else [])
        self._leavers: list[Child] = []
        self._is_leaving = False

    def run(self) -> None:
        """Keep the children going until a signal says to leave; then end them in order.

        SIGHUP has each replaced: the old one leaves when the new one serves.
        """
        on_signals(self._leave)
        signal.signal(signal.SIGHUP, self._renew)
        with _metrics_folder() as self._folder_fd:
            try:
                while not self._is_leaving:
                    for place in self._places:
                        self._ensure_running(place)
                    self._share_out()
                    self._replace_next()
                    self._reap()
                    self._wait()
            finally:
                self._end()

    def _leave(self) -> None:
        self._is_leaving = True

    def _renew(self, *_: object) -> None:
        for place in self._places:
            place.is_outdated = True

    def _ensure_running(self, place: _Place) -> None:
        """Have a child in the place."""
        if place.child is not None and place.child.has_ended():
            ended = place.child.process
            log.warning(
                "process.exited",
                extra={"does": place.words[0], "pid": ended.pid, "exit_code": ended.returncode},
            )
            place.early_ends = 0 if place.child.age_s > STEADY_S else place.early_ends + 1
            place.start_at = time.monotonic() + restart_delay_s(place.early_ends)
            place.child, place.successor = place.successor, None
        if place.child is None and time.monotonic() >= place.start_at:
            place.is_outdated = False
            place.child = self._start(place)

    def _start(self, place: _Place) -> Child | None:
        """Start a child. None when the machine cannot now, as in the middle of an upgrade."""
        try:
            return Child(place.words, [*place.fds, self._folder_fd], self._find_number())
        except OSError as exc:
            log.error("process.start_failed", extra={"reason": str(exc)})
            place.early_ends += 1
            place.start_at = time.monotonic() + restart_delay_s(place.early_ends)
            return None

    def _share_out(self) -> None:
        """Have new connections wait for those who serve."""
        children = [place.child for place in self._serving]
        self._address.share_among(
            [n for n, child in enumerate(children) if child is not None and child.is_ready()]
        )

    def _find_number(self) -> int:
        """Find the smallest number that no living child has."""
        taken = {child.number for child in self._list_children()}
        return next(number for number in count() if number not in taken)

    def _list_children(self) -> list[Child]:
        children = list(self._leavers)
        for place in self._places:
            children += [child for child in (place.child, place.successor) if child is not None]
        return children

    def _replace_next(self) -> None:
        """Replace outdated children, one at a time."""
        for place in self._places:
            if place.successor is not None:
                self._replace(place, place.successor)
                return
        for place in self._places:
            if place.is_outdated and place.child is not None:
                place.is_outdated = False
                place.successor = self._start(place)
                return

    def _replace(self, place: _Place, successor: Child) -> None:
        if successor.has_ended():
            log.error(
                "reload.failed",
                extra={"reason": "A new process ended before it served. The old ones stay."},
            )
            place.successor = None
            for other in self._places:
                other.is_outdated = False
        elif successor.is_ready():
            if place.child is not None:
                place.child.retire()
                self._leavers.append(place.child)
            place.child, place.successor = successor, None
        elif successor.age_s > START_TIMEOUT_S:
            successor.process.kill()

    def _reap(self) -> None:
        """Forget who has left, and end who does not."""
        self._leavers = [child for child in self._leavers if not child.has_ended()]
        for child in self._leavers:
            if child.is_overdue():
                child.process.kill()

    def _wait(self) -> None:
        """Wait for a while, or until a child ends: what comes to its socket then would wait."""
        ends = select.poll()
        for child in self._list_children():
            ends.register(child, 0)  # for what need not be named: that it hangs up
        ends.poll(TICK_S * 1000)

    def _end(self) -> None:
        self._address.close()
        children = self._list_children()
        for child in children:
            child.process.terminate()
        deadline = time.monotonic() + END_TIMEOUT_S
        for child in children:
            try:
                child.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.process.kill()
                child.process.wait()


@contextmanager
def _metrics_folder() -> Iterator[int]:
    """Make the folder that children count in, and remove those of parents that were killed.

    Its lock is held by the descriptor, which children inherit: until the last of them has ended.
    """
    for left in Path(gettempdir()).glob(f"{_FOLDER_PREFIX}*"):
        with suppress(OSError), _opened(left) as fd:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(left)
    with TemporaryDirectory(prefix=_FOLDER_PREFIX) as folder, _opened(Path(folder)) as fd:
        fcntl.flock(fd, fcntl.LOCK_SH)
        os.putenv(METRICS_FOLDER, folder)  # for the children alone
        yield fd


@contextmanager
def _opened(folder: Path) -> Iterator[int]:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        yield fd
    finally:
        os.close(fd)


def restart_delay_s(early_ends: int) -> float:
    """Return the seconds to wait before a start, when so many in a row have ended early."""
    return 0.0 if early_ends < 2 else min(2.0 ** min(early_ends - 2, 10), MAX_DELAY_S)


def count_cores(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Count the cores that this process may use: of the machine, and of its container's share."""
    cores = len(os.sched_getaffinity(0))
    for names in (["cpu.max"], ["cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"]):  # v2 and v1
        with suppress(OSError, ValueError):
            limits = " ".join(cgroup.joinpath(name).read_text() for name in names)
            quota, period = map(int, limits.split())  # without a limit "max", which is no number
            if quota > 0:  # or -1
                cores = min(cores, math.ceil(quota / period))
    return max(cores, 1)
