"""Which nodes may be added and called, by the settings of this process (pure)."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from service.errors import InvalidInput, NodeUnreachable
from service.model.addresses import (
    LOOPBACK,
    Refuse,
    is_loopback,
    is_socket,
    refusal,
    refuse_plain,
    trust,
)
from service.model.documents import Node
from service.model.driver_traits import Traits, traits_of
from service.model.wrong_fields import WrongFields


@dataclass(frozen=True, slots=True)
class NodePolicy:
    """What the settings allow."""

    allow_process: bool = False
    """Instances on this machine, as our own user."""
    allow_plain_docker: bool = False
    """Engines that are called without TLS elsewhere than on loopback."""
    allow_loopback: bool = False
    """This machine's own addresses and sockets, for nodes that the API adds."""

    def serves(self, driver: Traits) -> bool:
        """Return whether nodes of the driver may be added, and are called."""
        return self.allow_process or not driver.is_this_machine

    def refuse_new(
        self,
        driver: Traits,
        *,
        address: str,
        ips: Sequence[str],
        has_tls: bool,
        trusted_address: bool,
    ) -> None:
        """Raise InvalidInput for a node that must not be added.

        `ips` is what `address` means now: empty for a name that means nothing yet, and for a path.
        A `trusted_address` may be any, but an engine elsewhere needs TLS all the same.
        """
        if not self.serves(driver):
            raise InvalidInput(
                f"Nodes of the driver {driver.name!r} are not allowed here.",
                driver=["Needs the setting SKYQUAY_ALLOW_PROCESS=1."],
            )
        if not driver.by_address:
            return
        wrong = WrongFields()
        with wrong.noting():
            reason = None if trusted_address else self._refuse_address(address, ips)
            if reason is not None:
                raise InvalidInput("No node may have this address.", address=[reason])
        with wrong.noting():
            if driver.needs_tls and not has_tls and not self._allows_plain(address, ips):
                raise InvalidInput(
                    "A Docker Engine is called over TLS, with a client certificate.",
                    tls=["Needs ca, cert and key, or the setting SKYQUAY_ALLOW_PLAIN_DOCKER=1."],
                )
        wrong.raise_any()

    def dial_rule(self, node: Node) -> Refuse:
        """Return which addresses the node is not connected to, whatever its name means by then.

        Raises NodeUnreachable for a local socket that is not allowed.
        """
        rule = self._make_rule(node)
        if is_socket(node["address"]) and rule("127.0.0.1"):
            raise NodeUnreachable(node["_id"], f"The node's address is refused. {LOOPBACK}")
        return rule

    def _make_rule(self, node: Node) -> Refuse:
        if node["trusted_address"]:
            return trust
        rule = partial(refusal, allow_loopback=self.allow_loopback)
        if (
            traits_of(node["driver"]).needs_tls
            and node["tls"] is None
            and not self.allow_plain_docker
        ):
            # It was on loopback when it was added. A name may come to mean another machine.
            return partial(refuse_plain, also=rule)
        return rule

    def _refuse_address(self, address: str, ips: Sequence[str]) -> str | None:
        if is_socket(address):
            return None if self.allow_loopback else LOOPBACK
        reasons = (refusal(ip, allow_loopback=self.allow_loopback) for ip in ips)
        return next((reason for reason in reasons if reason), None)

    def _allows_plain(self, address: str, ips: Sequence[str]) -> bool:
        on_loopback = bool(ips) and all(map(is_loopback, ips))
        return self.allow_plain_docker or is_socket(address) or on_loopback
