"""How the program of an instance is started and ended, with all that it started itself."""

import signal
import time
from datetime import UTC, datetime
from pathlib import Path

from service.drivers import split_grace
from service.drivers.process import records
from service.drivers.process.folders import Folders
from service.drivers.process.landlock import ruleset
from service.drivers.process.machine import require_free
from service.drivers.process.records import POLL_S, Record
from service.drivers.process.tree import (
    await_end,
    command,
    find,
    find_family,
    kill,
    make_console,
    send,
    spawn,
)
from service.errors import NodeFailure

KILL_TIMEOUT_S = 10.0


def start(folders: Folders, folder: Path, record: Record) -> None:
    """Start the program, unless it runs, and write that down. Raises PortInUse."""
    if find(folder, record) is not None:
        folders.change(records.write, folder, record)
        return
    # Children that outlived the program hold its port and files.
    end(folders, folder, record, grace_s=0)
    for port in records.list_ports(record):
        require_free(folders.node_id, port)
    folders.change(records.make_ready, folder, record)
    writable = [folder / "data", *make_console(folder)]
    with ruleset(hidden=folders.root.parent, writable=writable) as descriptor:
        record["process"] = folders.change(spawn, folder, record, descriptor)
    record["started_at"] = datetime.now(UTC).isoformat(timespec="milliseconds")
    records.write(folder, record)  # what was begun is written down, whoever may go on


def stop(
    folders: Folders, folder: Path, record: Record, stop_command: str | None, grace_s: float
) -> None:
    """End the program, by its own command where it has one, within `grace_s`; else kill it."""
    command_s, signal_s = split_grace(grace_s, stop_command)
    if stop_command:
        folders.change(command, folder, record, stop_command)
        await_end(folder, record, command_s)
    end(folders, folder, record, grace_s=signal_s)


def end(folders: Folders, folder: Path, record: Record | None, *, grace_s: float) -> None:
    """Ask all processes of the instance to end, and kill them after `grace_s`."""
    if grace_s > 0:
        folders.change(send, folder, record, signal.SIGTERM)
        await_end(folder, record, grace_s)
    deadline = time.monotonic() + KILL_TIMEOUT_S
    while any(family := find_family(folder, record)):
        if time.monotonic() > deadline:
            raise NodeFailure(folders.node_id, "Processes of the instance cannot be killed.")
        folders.change(kill, family)
        await_end(folder, record, POLL_S)


def end_for_good(folders: Folders, folder: Path) -> None:
    """Kill all processes of the instance, which nothing starts again."""
    try:
        record = records.read(folder)
    except ValueError:
        record = None  # what bears its mark is ended all the same
    if record is not None:
        record["wanted"] = False
        folders.change(records.write, folder, record)
    end(folders, folder, record, grace_s=0)
