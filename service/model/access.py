"""What an API key may do: scopes say what, limits say on what, from where and until when."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import TypeVar

from service.errors import InvalidInput

ACT = "users:act"
"""The scope to act for users: to do what both the key and the user may."""

SCOPES = (
    "users:read",
    "users:write",
    "users:verify",
    ACT,
    "instances:read",
    "instances:write",
    "instances:deploy",
    "images:read",
    "images:write",
    "nodes:read",
    "nodes:write",
    "keys:read",
    "keys:write",
    "audit:read",
    "metrics:read",
    "webhooks:read",
    "webhooks:write",
)
"""Each endpoint needs one of these, or none but a key."""

GRANTS = ("*", *dict.fromkeys(f"{scope.partition(':')[0]}:*" for scope in SCOPES), *SCOPES)
"""What a key can be given: scopes, all those of a resource, all there are."""

COMPATIBILITIES = ("0.3.0",)
"""Versions of the older panel that a key's answers can be like."""

BEYOND_LIMITS = frozenset(
    {
        "users:write",
        "users:verify",
        "images:write",
        "nodes:write",
        "audit:read",
        "metrics:read",
    }
)
"""What a key that is limited to some documents never may: there is no such part of it."""

Network = IPv4Network | IPv6Network
Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Access:
    """What one key may do. A limit that is None limits nothing."""

    scopes: frozenset[str]  # single ones
    user_id: str | None = None  # whose instances
    instance_ids: frozenset[str] | None = None
    node_ids: frozenset[str] | None = None
    networks: tuple[Network, ...] | None = None
    expires_at: datetime | None = None

    def refuse_useless(self, scopes: Iterable[str]) -> None:
        """Raise InvalidInput for single scopes, given by name, that its limits take away."""
        if useless := [scope for scope in scopes if scope in self.scopes and not self.may(scope)]:
            raise InvalidInput(
                "The key would be limited, and so not have all scopes that are named.",
                scopes=[f"A key with these limits never has {scope!r}." for scope in useless],
            )

    @property
    def is_limited(self) -> bool:
        """Return whether it sees some documents only."""
        return any(limit is not None for limit in (self.user_id, self.instance_ids, self.node_ids))

    @property
    def is_of_owner(self) -> bool:
        """Return whether it is for somebody who has instances, not for who runs the panel."""
        return self.user_id is not None or self.instance_ids is not None

    @property
    def allowed(self) -> frozenset[str]:
        """The scopes that its limits leave."""
        return _allow(
            self.scopes,
            is_limited=self.is_limited,
            has_user=self.user_id is not None,
            has_instances=self.instance_ids is not None,
        )

    def may(self, scope: str) -> bool:
        """Return whether it may do what needs `scope`, to the documents that it sees."""
        return scope in self.allowed

    def may_act_for(self, user_id: str) -> bool:
        """Return whether it may act for this user, if there is one: somebody whom it sees."""
        return self.may(ACT) and self.user_id in (None, user_id)

    def acting_for(self, user_id: str, *, is_admin: bool) -> "Access":
        """Return what both it and the user may, where it `may_act_for` the user.

        An administrator may do all that the key may; anybody else what a key with all scopes may
        that is limited to the user. Nobody acts for yet another user.
        """
        limited_to = self.user_id if is_admin else user_id
        return replace(self, scopes=self.allowed - {ACT}, user_id=limited_to)

    def admits(self, address: str) -> bool:
        """Return whether it may be used from this IP address."""
        if self.networks is None:
            return True
        try:
            given = ip_address(address.partition("%")[0])
        except ValueError:
            return False
        caller = getattr(given, "ipv4_mapped", None) or given
        return any(caller in network for network in self.networks)

    def covers(self, other: "Access") -> bool:
        """Return whether `other` may do nothing that this one may not."""
        return (
            other.allowed <= self.allowed
            and self.user_id in (None, other.user_id)
            and _within(other.instance_ids, self.instance_ids)
            and _within(other.node_ids, self.node_ids)
            and (
                self.networks is None
                or (other.networks is not None and _inside(other.networks, self.networks))
            )
            and (
                self.expires_at is None
                or (other.expires_at is not None and other.expires_at <= self.expires_at)
            )
        )


def expand(grants: Iterable[str]) -> frozenset[str]:
    """List the single scopes that are meant. Grants that mean none are passed over."""
    return _expand(frozenset(grants))


def parse_network(text: str) -> Network:
    """Read an address or a network, like 10.1.0.0/16. Raises ValueError, with a sentence."""
    try:
        return ip_network(text.strip(), strict=False)
    except ValueError as exc:
        raise ValueError(f"{text!r} is no address and no network.") from exc


# Both are asked for each key of a list, and few answers differ.
@lru_cache(maxsize=1024)
def _expand(wanted: frozenset[str]) -> frozenset[str]:
    return frozenset(
        scope for scope in SCOPES if wanted & {"*", f"{scope.partition(':')[0]}:*", scope}
    )


@lru_cache(maxsize=1024)
def _allow(
    scopes: frozenset[str], *, is_limited: bool, has_user: bool, has_instances: bool
) -> frozenset[str]:
    taken: frozenset[str] = frozenset()
    if is_limited:
        taken |= BEYOND_LIMITS
    if has_instances:
        taken |= {"instances:deploy"}  # a new instance would be none of those
    if is_limited and not has_user:
        taken |= {"users:read", ACT}  # of instances and nodes no user is a part
    return scopes - taken


def _within(inner: Collection[Item] | None, outer: Collection[Item] | None) -> bool:
    return outer is None or (inner is not None and set(inner) <= set(outer))


def _inside(inner: tuple[Network, ...], outer: tuple[Network, ...]) -> bool:
    return all(
        any(a.version == b.version and a.subnet_of(b) for b in outer)  # type: ignore[arg-type]
        for a in inner
    )
