"""What this machine is."""

import hashlib
import platform
import shutil
import socket
from pathlib import Path

import psutil

from service.drivers import NodeReport
from service.drivers.process.landlock import find_abi
from service.errors import PortInUse

MACHINE_ID = Path("/etc/machine-id")


def describe_machine(root: Path) -> NodeReport:
    """Report this machine, as the node whose instances have their folders in `root`."""
    return NodeReport(
        version=platform.release(),
        engine="process" if find_abi() else "process (not confined)",
        memory_mib=psutil.virtual_memory().total // 2**20,
        cpu_milli=(psutil.cpu_count() or 1) * 1000,
        disk_mib=_measure_disk(root),
        engine_id=_identify_machine(root),
    )


def require_free(node_id: str, port: int) -> None:
    """Raise PortInUse for a port of this machine that a program listens on."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", port))
        except OSError as exc:
            raise PortInUse(node_id, port) from exc


def _measure_disk(root: Path) -> int | None:
    """Return the MiB of the disk that `root` is on, or will be."""
    there = next((folder for folder in (root, *root.parents) if folder.exists()), None)
    return shutil.disk_usage(there).total // 2**20 if there is not None else None


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
