"""What Docker says, through the daemon, of an instance's container."""

import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from service.drivers import MAX_ENGINE_ID, ContainerSpec, ContainerStatus, NodeReport
from service.drivers.answers import read_text
from service.drivers.engine_runs import read_run
from service.model.lifecycle import Power
from service.model.ports import PortMapping

DATA_FOLDER = "/app/data"

_UNITS = ("Bytes", "KB", "MB", "GB", "TB")
_SIZE = re.compile(rf"(\d{{1,9}}(?:\.\d{{1,9}})?) ({'|'.join(_UNITS)})", re.ASCII)


def to_report(body: Mapping[str, Any], system: Mapping[str, Any]) -> NodeReport:
    """Read what the daemon says of itself, and of the machine in `system`."""
    return NodeReport(
        version=str(body.get("versionRelease", "")).removeprefix("skyportd "),
        engine=f"docker {system.get('ServerVersion', '')}".strip(),
        memory_mib=_scale(system.get("MemTotal"), 1 / 2**20),
        cpu_milli=_scale(system.get("NCPU"), 1000),
        engine_id=str(system.get("ID") or "")[:MAX_ENGINE_ID] or None,
    )


def to_status(container: Mapping[str, Any], env: tuple[str, ...] | None = None) -> ContainerStatus:
    """Read how a container is; `env` is what the daemon said that it made of its environment."""
    state = container["State"]
    container_id = str(container.get("Id"))
    runs = bool(state.get("Running"))
    run = read_run(container, runs=runs)
    reason = None if runs else _find_reason(state, run["exit_code"])
    power = Power.RUNNING if runs else Power.STOPPED
    return ContainerStatus(container_id, power, reason=reason, env=env, **run)


def to_spec(instance_id: str, container: Mapping[str, Any]) -> ContainerSpec | None:
    """Read what a container was made from, as far as Docker shows it; else None."""
    config, host = container.get("Config") or {}, container.get("HostConfig") or {}
    env = dict(line.partition("=")[::2] for line in config.get("Env") or ())
    ports = _find_ports(host.get("PortBindings") or {})
    primary = next((m for m in ports if str(m.host) == env.get("PRIMARY_PORT")), None)
    if primary is None:
        return None
    return ContainerSpec(
        instance_id=instance_id,
        image=str(config.get("Image")),
        cmd=tuple(config.get("Cmd") or ()) or None,
        env={name: value for name, value in env.items() if name != "PRIMARY_PORT"},
        memory_mib=int(host.get("Memory") or 0) // 2**20,
        cpu_milli=int(host.get("CpuCount") or 0) * 1000,
        ports=ports,
        primary=primary,
    )


def read_status(container: Mapping[str, Any]) -> object:
    """Return Docker's word for how a container is, such as "created" or "exited"."""
    return container["State"].get("Status")


def is_unstarted(container: Mapping[str, Any]) -> bool:
    """Return whether Docker made the container and was never told to start it."""
    return read_status(container) == "created" and not container["State"].get("Error")


def find_volume(mounts: object) -> str | None:
    """Find the volume of the daemon's that a container has: `.../volumes/<Id>` on /app/data."""
    for mount in mounts if isinstance(mounts, list) else ():
        source = PurePosixPath(str(mount.get("Source")))
        if mount.get("Destination") == DATA_FOLDER and source.parent.name == "volumes":
            return source.name
    return None


def find_source(container: Mapping[str, Any] | None) -> str | None:
    """Find where a container's volume is on the node's disk."""
    mounts = container.get("Mounts") if container else None
    for mount in mounts if isinstance(mounts, list) else ():
        if isinstance(mount, dict) and mount.get("Destination") == DATA_FOLDER:
            return str(mount.get("Source"))
    return None


def parse_size(text: object) -> int | None:
    """Read a size as the daemon prints it, such as "12.5 KB", in bytes. None for anything else."""
    match = _SIZE.fullmatch(text) if isinstance(text, str) else None
    return match and int(float(match[1]) * 1024 ** _UNITS.index(match[2]))


def _find_reason(state: Mapping[str, Any], code: int | None) -> str | None:
    if state.get("Error"):
        return read_text(state["Error"])
    if state.get("OOMKilled"):
        return "It was killed because it used more memory than it may."
    if code not in (None, 0, 130, 137, 143):
        return f"It ended with exit code {code}."
    return None


def _find_ports(bindings: Mapping[str, Any]) -> tuple[PortMapping, ...]:
    found = {}
    for port, hosts in bindings.items():
        number, _, _ = port.partition("/")
        host = str((hosts or [{}])[0].get("HostPort", ""))
        if number.isdigit() and host.isdigit():
            found[int(host)] = PortMapping(container=int(number), host=int(host))
    return tuple(found.values())


def _scale(amount: object, factor: float) -> int | None:
    return int(amount * factor) if isinstance(amount, (int, float)) else None
