"""Many machines on this one: each `process` node has a folder of its own for its instances.

Run `python -m tests.soak.machines LEASE_S`, with the settings of `skyquay worker`, for a worker
that reaches them all.
"""

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil

from service.app import make_drivers
from service.config import Config
from service.drivers import DriverFactory, NodeDriver
from service.drivers.process import tree, volume_copy
from service.drivers.volume_archive import VolumeDigest, digest
from service.model.documents import Node
from service.store import Store
from service.telemetry import logs
from tests.brief_worker import work

FILES = "files"
"""The folder in an instance's volume that its program makes once, and never changes."""

WRITES = f"""
[ -d {FILES} ] || {{
    rm -rf draft
    mkdir -p draft/empty
    head -c 300000 /dev/urandom > draft/data
    ln draft/data draft/hard
    ln -s data draft/soft
    mv draft {FILES}
}}
exec sleep 1000000
"""
"""A program that writes files, all of them or nothing, unless it has."""

_MARK = f"{tree.MARK}=".encode()
_FOLDER_MARK = f"{tree.FOLDER_MARK}=".encode()


def make_machines(config: Config, store: Store) -> DriverFactory:
    """Make what opens the drivers of nodes."""
    drivers: Any = make_drivers(config, store)

    def open_driver(node: Node, /, **options: Any) -> NodeDriver:
        own: DriverFactory = replace(drivers, instances_dir=find_folder(config, node["_id"]))
        return own(node, **options)

    return open_driver


def find_folder(config: Config, node_id: str) -> Path:
    """Return where the folders of a node's instances are."""
    return config.data_dir / "machines" / node_id / "instances"


def sum_up(config: Config, node_id: str, instance_id: str) -> VolumeDigest | None:
    """Sum up the files that the program of an instance wrote; None: it has not written them."""
    folder = find_folder(config, node_id) / instance_id / "data" / FILES
    return digest(volume_copy.read(folder)) if folder.is_dir() else None


def list_twins(root: Path) -> list[str]:
    """List the instances of which programs of two folders in `root` certainly ran at one moment.

    Those that are seen, and are there still once all were looked for, ran at the same time.
    """
    programs: dict[str, dict[str, list[int | str]]] = {}
    for pid in psutil.pids():
        if found := _find_program(pid):
            identity, instance_id, folder = found
            if not Path(folder).is_relative_to(root.resolve()):
                continue
            programs.setdefault(instance_id, {})[folder] = identity
    twice = {name: found for name, found in programs.items() if len(found) > 1}
    return [
        f"{name} runs twice: {sorted(found)}"
        for name, found in twice.items()
        if all(_still_runs(identity) for identity in found.values())
    ]


def _find_program(pid: int) -> tuple[list[int | str], str, str] | None:
    """Find which instance's program a process is: the first of its session, as it was started."""
    identity = tree.identify(pid)
    marks = {}
    for each in _read_environ(pid):
        name, _, value = each.partition(b"=")
        marks[name + b"="] = value.decode(errors="replace")
    if identity is None or _MARK not in marks or _FOLDER_MARK not in marks:
        return None
    try:
        leads = os.getsid(pid) == pid
    except ProcessLookupError:
        return None
    return (identity, marks[_MARK], marks[_FOLDER_MARK]) if leads else None


def _still_runs(identity: list[int | str]) -> bool:
    pid = int(identity[0])
    # What has ended has no environment, even if nobody has reaped it.
    return bool(_read_environ(pid)) and tree.identify(pid) == identity


def _read_environ(pid: int) -> list[bytes]:
    try:
        return [each for each in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0") if each]
    except OSError:
        return []


if __name__ == "__main__":
    logs.set_up(Config.from_env(os.environ))
    work(float(sys.argv[1]), make_machines)
