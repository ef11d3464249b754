"""Where a node's instances are reached by those who use them: what a player types (pure)."""

import re
from collections.abc import Mapping
from functools import lru_cache
from ipaddress import ip_address
from typing import Any

_LABEL = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_NAME = re.compile(rf"(?=.{{1,253}}\Z)({_LABEL}\.)*{_LABEL}", re.ASCII)
_PRIVATE_NAMES = ("internal", "lan", "local", "localdomain", "localhost", "home", "corp")
"""Ends of names that mean something within one network only."""


def parse_host(text: str) -> str:
    """Read a host name or an IP address; brackets around one are left out. Raises ValueError."""
    host = text.strip().removesuffix(".")
    inner = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if _is_ip(inner):
        return inner
    # A last label of digits would be taken for a part of an address.
    if not _NAME.fullmatch(host) or host.rpartition(".")[2].isdecimal():
        raise ValueError("Must be a host name or an IP address, without a port.")
    return host


def find_host(node: Mapping[str, Any]) -> str | None:
    """Find what a node's instances are reached at; None where that is not known.

    It is what the operator says it is, or else the address that the node is called at, if anybody
    may know that: a public IP address, or a name that is not only one of a private network.
    """
    if node.get("public_address"):
        return str(node["public_address"])
    return _find_public(node["address"])


@lru_cache(maxsize=1024)  # each answer of an instance asks for it
def _find_public(address: str) -> str | None:
    try:
        host = parse_host(address)
    except ValueError:
        return None
    if _is_ip(host):
        return host if ip_address(host).is_global else None
    is_private = "." not in host or host.lower().rpartition(".")[2] in _PRIVATE_NAMES
    return None if is_private else host


def print_endpoint(host: str, port: int | str) -> str:
    """Write a host and a port as one text: play.example.org:25565, [2001:db8::1]:25565."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _is_ip(text: str) -> bool:
    try:
        return "%" not in text and bool(ip_address(text))
    except ValueError:
        return False
