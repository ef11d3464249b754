"""Which IP addresses no node has, so that nobody has Skyquay call them; and who calls (pure).

Private addresses are allowed: that is where nodes live. Names, and odd spellings such as
`2130706433`, are for who resolves them: here is what comes out.
"""

from collections.abc import Callable
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

Refuse = Callable[[str], str | None]
"""Says in a sentence why an IP address is refused; None for one that is not."""

LOOPBACK = (
    "It is this machine itself, where programs listen that trust it. "
    "Needs the setting SKYQUAY_ALLOW_LOOPBACK_NODES=1."
)

_METADATA = tuple(
    map(
        ip_network,
        (
            "169.254.169.254/32",  # most clouds
            "100.100.100.200/32",  # Alibaba
            "168.63.129.16/32",  # Azure
            "192.0.0.192/32",  # Oracle
            "fd00:ec2::/32",  # Amazon
            "fd20:ce::254/128",  # Google
            "fd00:42::42/128",  # Scaleway
            "fd00:a9fe:a9fe::/64",  # Akamai
        ),
    )
)
_THIS_NETWORK = ip_network("0.0.0.0/8")
_COMPATIBLE = ip_network("::/96")
_NAT64 = ip_network("64:ff9b::/96")
_LOW_32_BITS = 2**32 - 1


def refusal(ip: str, *, allow_loopback: bool = False) -> str | None:
    """Say in a sentence why no node has this address; None where one may."""
    reasons = (_find_reason(each, allow_loopback) for each in _unwrap(ip_address(ip)))
    return next((reason for reason in reasons if reason), None)


def is_public(ip: str) -> bool:
    """Return whether this address is one of the Internet, whatever it leads to."""
    return all(each.is_global for each in _unwrap(ip_address(ip)))


def is_loopback(ip: str) -> bool:
    """Return whether what is sent to this address never leaves the machine."""
    return all(_is_this_machine(each) for each in _unwrap(ip_address(ip)))


def is_socket(address: str) -> bool:
    """Return whether a node's address is a path: a socket of this machine."""
    return address.startswith("unix://")


def refuse_plain(ip: str, *, also: Refuse) -> str | None:
    """Say in a sentence why nothing is sent there without TLS; None where it may be."""
    return also(ip) or (None if is_loopback(ip) else "Only loopback is called without TLS.")


@lru_cache(maxsize=1024)
def find_caller(address: str) -> str:
    """Return whom an address stands for where requests are counted.

    Whoever has one IPv6 address has all of its /64, so that is one caller.
    """
    try:
        ip = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(ip, IPv4Address):
        return str(ip)
    return str(ip.ipv4_mapped or ip_network((ip, 64), strict=False))


def trust(ip: str) -> str | None:  # noqa: ARG001 - it is a Refuse
    """Refuse nothing: the operator said where the node is."""
    return None


def _find_reason(ip: IPv4Address | IPv6Address, allow_loopback: bool) -> str | None:
    if _is_this_machine(ip):
        return None if allow_loopback else LOOPBACK
    if any(ip in network for network in _METADATA):
        return "It is where a cloud tells its machines their secrets."
    if ip.is_link_local:
        return "It is link-local: no node lives there."
    if ip.is_multicast:
        return "It is a multicast address."
    if ip.is_reserved or ip in _THIS_NETWORK:
        return "It is reserved."
    return None


def _is_this_machine(ip: IPv4Address | IPv6Address) -> bool:
    # Linux connects to itself when it is told to connect to no address in particular.
    return ip.is_loopback or ip.is_unspecified


def _unwrap(ip: IPv4Address | IPv6Address) -> list[IPv4Address | IPv6Address]:
    """List the IPv4 addresses that an address leads to, and itself where it leads to none."""
    if isinstance(ip, IPv4Address):
        return [ip]
    if ip.ipv4_mapped is not None:
        return [ip.ipv4_mapped]
    if _is_this_machine(ip):
        return [ip]
    if ip in _NAT64 or ip in _COMPATIBLE:
        return [IPv4Address(int(ip) & _LOW_32_BITS)]
    if ip.sixtofour is not None:
        return [ip.sixtofour]
    return [*(ip.teredo or ()), ip]
