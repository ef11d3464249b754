"""Free host ports of a node, for those who do not choose theirs."""

import random

from service.errors import NoFreePorts
from service.model.documents import Node, Settings
from service.model.ports import (
    AUTO,
    DEFAULT_RANGE,
    PortMapping,
    PortPair,
    choose_free,
    parse_range,
)
from service.store import Store
from service.store.collection import Session


def settle(
    store: Store, node: Node, mappings: tuple[PortMapping, ...], *, session: Session
) -> tuple[PortMapping, ...]:
    """Find free host ports for the mappings that have none.

    To be called in the transaction that writes them: where another took one of them meanwhile,
    that is tried again, and others are found. Raises NoFreePorts.
    """
    if all(mapping.host != AUTO for mapping in mappings):
        return mappings
    return _choose(store, node, mappings, session=session)


def describe(
    mappings: tuple[PortMapping, ...], primary: PortMapping, *, sent: str | int | None
) -> Settings:
    """Make what an instance's document says of its ports, once all are settled.

    `primary` is as it was meant, of the container port that stays; what was sent for it stays
    too, unless that named no host port.
    """
    settled = next(each for each in mappings if each.container == primary.container)
    is_named = sent is not None and primary.host != AUTO
    return Settings(
        port_map=[PortPair(container=each.container, host=each.host) for each in mappings],
        primary=sent if sent is not None and is_named else str(settled.host),
        primary_port=settled.host,
    )


def list_free(store: Store, node: Node, *, count: int, consecutive: bool) -> list[int]:
    """List free host ports, lowest first. None of them is held for anybody. Raises NoFreePorts."""
    wanted = tuple(
        PortMapping(number + 1, AUTO, follows=consecutive and number > 0) for number in range(count)
    )
    return [mapping.host for mapping in _choose(store, node, wanted, start=0)]


def _choose(
    store: Store,
    node: Node,
    mappings: tuple[PortMapping, ...],
    *,
    start: int | None = None,
    session: Session | None = None,
) -> tuple[PortMapping, ...]:
    among = parse_range(node["port_range"]) if node["port_range"] else DEFAULT_RANGE
    taken = store.instances.list_taken_ports(node["_id"], session=session)
    if start is None:
        # Those who choose at the same time would all begin at the same port.
        start = random.randrange(among.last - among.first + 1)  # noqa: S311 - no secret
    chosen = choose_free(mappings, taken, among, start=start)
    if chosen is None:
        wanted = sum(mapping.host == AUTO for mapping in mappings)
        raise NoFreePorts(
            f"The node has not as many free ports between {among.first} and {among.last}.",
            wanted=wanted,
            portRange=str(among),
        )
    return chosen
