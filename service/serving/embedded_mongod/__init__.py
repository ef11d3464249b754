"""A private mongod for one machine, so that `skyquay up` needs nothing but Python.

It listens on loopback only, is the one member of a replica set (transactions need one) and keeps
everything in the data folder::

    lock          flock of the one Skyquay that uses the folder
    mongod/       the database; in it, mongod.lock holds the pid of the mongod that has it open
    mongod.key    the password, for the owner of the folder only
    mongod.log    what mongod says; at a start, one that grew too long moves to mongod.log.1

A mongod outlives a Skyquay that is killed. The next one finds it by mongod.lock and adopts it. The
command line tells whether the pid is still that mongod, and its port: unlike a record of our own it
cannot be missing or stale, and unlike a process's start time it does not move with the clock.

It asks for a password, since every user of the machine reaches its port. The password is mongod's
key file: who has that is MongoDB's own user `__system`, also on a database that has no users. So
nobody else gets to make the first one, and whatever state a crash left, the next start lets the
user `skyquay` in, as whom Skyquay works.
"""

import fcntl
import logging
import os
import secrets
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil
from pymongo.errors import OperationFailure, PyMongoError

from service.config import environ_of_others
from service.security import key_files
from service.serving.embedded_mongod.log_file import explain, rotate
from service.serving.embedded_mongod.program import EmbeddedError, find_mongod
from service.serving.embedded_mongod.replica_set import LOOPBACK, REPLICA_SET, USER, lead

log = logging.getLogger(__name__)

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 20.0

_POLL_S = 0.02
_WATCH_S = 0.2
_AUTHENTICATION_FAILED = 18

_OPTIONS = (
    ("--bind_ip", LOOPBACK),
    ("--replSet", REPLICA_SET),
    ("--wiredTigerCacheSizeGB", "0.25"),
    # By default the log of changes may take a twentieth of the disk, and the diagnostics 200 MB.
    ("--oplogSize", "256"),
    ("--setParameter", "diagnosticDataCollectionEnabled=false"),
    # Nobody gains from compressing on loopback, and old servers had holes there.
    ("--networkMessageCompressors", "disabled"),
    # What a process that is killed leaves locked is free again after this, not after a minute.
    ("--setParameter", "transactionLifetimeLimitSeconds=10"),
    # As long as there is no user, anybody on this machine could make one.
    ("--setParameter", "enableLocalhostAuthBypass=false"),
    # There is no other member to hand over to, so shutting down need not wait for one.
    ("--setParameter", "shutdownTimeoutMillisForSignaledShutdown=0"),
)


@dataclass(frozen=True, slots=True)
class EmbeddedMongod:
    """A mongod of this machine that is primary. Leaving it as a context stops it."""

    process: psutil.Process
    port: int
    key: str = field(repr=False)

    @property
    def uri(self) -> str:
        """Give the address for a client, with the password.

        Open the client only now: an earlier one finds no set.
        """
        return f"mongodb://{USER}:{self.key}@{LOOPBACK}:{self.port}/?replicaSet={REPLICA_SET}"

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """End the mongod cleanly; kill it after `timeout_s`. It is gone then, the data is kept.

        For the holder of the data folder's lock only. A mongod that is gone already is fine.
        """
        with suppress(psutil.NoSuchProcess):
            self.process.terminate()
            try:
                self.process.wait(timeout_s)
            except psutil.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()


@contextmanager
def lock(data_dir: Path) -> Iterator[None]:
    """Hold the data folder, and create it if need be. The kernel lets go of it when we die.

    Raises EmbeddedError while another process holds it, and when it cannot be written to.
    """
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = (data_dir / "lock").open("w")
    except OSError as exc:
        raise EmbeddedError(f"The data folder {data_dir} cannot be used: {exc.strerror}.") from exc
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise EmbeddedError(
                f"Another Skyquay is running on {data_dir}: stop it, or set SKYQUAY_DATA_DIR to "
                "another folder."
            ) from None
        yield


@contextmanager
def keep(data_dir: Path) -> Iterator[EmbeddedMongod]:
    """Have the data folder's mongod run, as `start` does. One that dies is started again.

    It has the same port then, so that clients go on. When that fails this process gets SIGTERM, and
    EmbeddedError is raised at the end.
    """
    keeper = _Keeper(data_dir, start(data_dir))
    try:
        yield keeper.mongod
    finally:
        keeper.stop()
        if keeper.error is not None:
            raise keeper.error


class _Keeper:
    """The thread that looks whether a mongod has ended."""

    def __init__(self, data_dir: Path, mongod: EmbeddedMongod) -> None:
        self.mongod = mongod
        self.error: EmbeddedError | None = None
        self._data_dir = data_dir
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="mongod", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the mongod for good."""
        self._stopping.set()
        self._thread.join()
        self.mongod.stop()

    def _watch(self) -> None:
        while self.error is None and not self._stopping.wait(_WATCH_S):
            if not _has_ended(self.mongod):
                continue
            log.warning("The private MongoDB has died, and is started again.")
            try:
                self.mongod = start(self._data_dir, port=self.mongod.port)
            except (EmbeddedError, OSError) as exc:
                self.error = EmbeddedError(f"The private MongoDB has died. {exc}")
                os.kill(os.getpid(), signal.SIGTERM)


def start(
    data_dir: Path,
    *,
    mongod: Path | None = None,
    port: int | None = None,
    timeout_s: float = START_TIMEOUT_S,
) -> EmbeddedMongod:
    """Start the data folder's mongod, or adopt the one that still runs. It is primary then.

    For the holder of the data folder's lock only. `mongod` is the program, the one of `find_mongod`
    by default; `port` is for one that is started, a free one by default. Raises EmbeddedError with
    the errors in mongod's log when it ends or is not primary after `timeout_s`. Then none runs.
    """
    data_dir.mkdir(mode=0o700, exist_ok=True)
    dbpath = _dbpath(data_dir)
    dbpath.mkdir(mode=0o700, exist_ok=True)
    dbpath.chmod(0o700)
    log_file = dbpath.with_suffix(".log")
    rotate(log_file)
    log_start = log_file.stat().st_size
    key = _keep_key(data_dir)
    running = find_running(data_dir)
    # One that was told to stop just now, hangs, or does not know the key, since that was replaced,
    # is gone after this, and makes room for another.
    if running is not None and _await_primary(running, timeout_s):
        return running
    launched_at = time.monotonic()
    server = _launch(mongod or find_mongod(), dbpath, log_file, key, port or _find_free_port())
    if _await_primary(server, timeout_s):
        return server
    took_s = time.monotonic() - launched_at
    raise EmbeddedError(
        f"The private MongoDB was not ready after {took_s:.1f} s, and ended with "
        f"{server.process.wait()}. {explain(log_file, log_start)}"
    )


def find_running(data_dir: Path) -> EmbeddedMongod | None:
    """Find the mongod that has the data folder open. Whether it is primary is not asked.

    None also where the folder has no key yet, or none that we may read.
    """
    dbpath = _dbpath(data_dir)
    try:
        process = psutil.Process(int((dbpath / "mongod.lock").read_text()))
        command = process.cmdline()
        key = _key_file(data_dir).read_text().strip()
    except (OSError, ValueError, psutil.Error):
        return None
    options = dict(zip(command[1::2], command[2::2], strict=False))
    # Another program, or another folder's mongod, may have been given the pid since.
    if options.get("--dbpath") != str(dbpath):
        return None
    return EmbeddedMongod(process, int(options["--port"]), key)


def _find_free_port() -> int:
    with socket.create_server((LOOPBACK, 0)) as probe:
        return int(probe.getsockname()[1])


def _launch(mongod: Path, dbpath: Path, log_file: Path, key: str, port: int) -> EmbeddedMongod:
    options = [
        ("--dbpath", str(dbpath)),
        ("--port", str(port)),
        ("--keyFile", str(_key_file(dbpath.parent))),
        *_OPTIONS,
    ]
    with log_file.open("ab") as output:
        process = psutil.Popen(
            [mongod, *(word for option in options for word in option), "--nounixsocket", "--quiet"],
            env=environ_of_others(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            # Ctrl-C in the terminal is for Skyquay, which needs its database until it has finished.
            start_new_session=True,
        )
    return EmbeddedMongod(process, port, key)


def _await_primary(server: EmbeddedMongod, timeout_s: float) -> bool:
    """Wait until the mongod is primary.

    False, and it is gone, when it ends, takes too long, or does not know its key.
    """
    deadline = time.monotonic() + timeout_s
    with ExitStack() as stack:
        stack.callback(server.stop)
        while time.monotonic() < deadline and not _has_ended(server):
            try:
                if lead(server.port, server.key):
                    stack.pop_all()
                    return True
            except OperationFailure as exc:
                if exc.code == _AUTHENTICATION_FAILED:
                    return False
            except (OSError, PyMongoError):
                pass  # Not up yet, or in between two states: ask again.
    return False


def _has_ended(server: EmbeddedMongod) -> bool:
    try:
        server.process.wait(_POLL_S)
    except psutil.TimeoutExpired:
        return False
    return True


def _keep_key(data_dir: Path) -> str:
    """Read the key; make one where there is none, or one that somebody else may have read."""
    path = _key_file(data_dir)
    if path.exists() and path.stat().st_mode & 0o077:
        path.unlink()
    return key_files.keep(path, lambda: secrets.token_hex(32))


def _key_file(data_dir: Path) -> Path:
    return _dbpath(data_dir).with_suffix(".key")


def _dbpath(data_dir: Path) -> Path:
    return data_dir.resolve() / "mongod"
