"""An instance's folder: what it says that the instance is, who may change it now, and its end."""

import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NotRequired, TypedDict

from service.drivers.kept_specs import parse_spec
from service.drivers.process import logs
from service.errors import NodeFailure, NodeRefused

LOCK_TIMEOUT_S = 30.0
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
    started_at: NotRequired[str]  # when the process was started
    restarts: NotRequired[int]  # by us, since somebody started it


def read(folder: Path) -> Record | None:
    """Read the record of a folder; None where there is none. Raises ValueError: broken."""
    try:
        record: Record = json.loads((folder / "instance.json").read_text())
    except FileNotFoundError:
        return None
    return record


def write(folder: Path, record: Record) -> None:
    """Write the record of a folder, all of it or nothing."""
    draft = folder / "instance.json.new"
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(record, file)
        file.flush()
        os.fsync(file.fileno())
    draft.rename(folder / "instance.json")


def list_ports(record: Record) -> list[int]:
    """List the host ports of the instance; only the primary one where the rest is not known."""
    try:
        ports = {mapping.host for mapping in parse_spec(record["spec"]).ports}
    except (ValueError, KeyError, TypeError):
        ports = set()
    return sorted({record["port"], *ports})


def make_ready(folder: Path, record: Record) -> None:
    """Put away what the program before printed, and how it ended, for the next one."""
    logs.rotate(folder)
    (folder / "exit_code").unlink(missing_ok=True)
    write(folder, record)


@contextmanager
def locked(node_id: str, folder: Path, *, timeout_s: float) -> Iterator[None]:
    """Keep all others, threads and processes, from changing the instance of a folder.

    Raises NodeRefused where there is none, and NodeFailure after `timeout_s`.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            file = (folder / "lock").open("w")
        except FileNotFoundError:
            raise NodeRefused(node_id, f"There is no instance {folder.name} here.") from None
        with file:
            if _try_lock(file.fileno(), folder / "lock"):
                yield
                return
        if time.monotonic() > deadline:
            raise NodeFailure(node_id, f"The instance {folder.name} is busy.")
        time.sleep(POLL_S)


def erase(folder: Path) -> None:
    """Remove a folder, also where a program took the right to do so away, or others remove it too.

    It is gone afterwards, whoever removed which part of it.
    """
    while folder.exists():
        # What is missing, somebody else has just removed: there is less to do each time.
        with suppress(FileNotFoundError):
            folder.chmod(0o700)
            for parent, names, _ in os.walk(folder):
                for name in names:
                    path = Path(parent, name)
                    if not path.is_symlink():
                        path.chmod(0o700)
            shutil.rmtree(folder)


def _try_lock(descriptor: int, path: Path) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Whoever held it may have removed the folder, and somebody else made a new one.
        return os.fstat(descriptor).st_ino == path.stat().st_ino
    except (BlockingIOError, FileNotFoundError):
        return False
