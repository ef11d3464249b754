"""What a container was made of, as text that its node keeps."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from service.model.container import ContainerSpec
from service.model.ports import PortMapping


def print_spec(spec: ContainerSpec) -> str:
    """Write a specification as JSON text, for a node to keep."""
    return json.dumps(asdict(spec), sort_keys=True)


def parse_spec(text: str) -> ContainerSpec:
    """Read what `print_spec` wrote. Raises ValueError, KeyError or TypeError for anything else."""
    kept = json.loads(text)
    cmd = kept["cmd"]
    return ContainerSpec(
        **{
            **kept,
            "cmd": tuple(cmd) if isinstance(cmd, list) else cmd,
            "ports": tuple(map(_parse_port, kept["ports"])),
            "primary": _parse_port(kept["primary"]),
            "install": tuple(tuple(script) for script in kept.get("install", ())),
        }
    )


def _parse_port(kept: Mapping[str, Any]) -> PortMapping:
    # Other versions keep more, or less, of a port than this one does.
    return PortMapping(kept["container"], kept["host"], env=kept.get("env", ""))


def starts_again(text: str | None) -> bool:
    """Return whether what `print_spec` wrote is of a program that is to be started again by itself.

    What an earlier version wrote, or nobody can read, is.
    """
    try:
        return bool(json.loads(text or "{}")["auto_start"])
    except (ValueError, KeyError, TypeError):
        return True
