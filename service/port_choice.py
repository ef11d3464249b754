"""Free host ports of a node, for those who do not choose theirs."""

import random
from collections.abc import Sequence
from datetime import datetime

from service.errors import NoFreePorts
from service.model.documents import Instance, Node, Settings
from service.model.held_ports import list_held
from service.model.ports import (
    AUTO,
    DEFAULT_RANGE,
    PortMapping,
    choose_free,
    parse_range,
    release_run,
    release_taken,
    to_pair,
)
from service.store import Store
from service.store.collection import Session


def settle(
    store: Store,
    node: Node,
    mappings: tuple[PortMapping, ...],
    *,
    before: Instance | None = None,
    now: datetime,
    session: Session,
) -> tuple[PortMapping, ...]:
    """Find free host ports for the mappings that have none, near those that the instance had.

    To be called in the transaction that writes them: where another took one of them meanwhile,
    that is tried again, and others are found. Raises NoFreePorts.
    """
    if all(mapping.host != AUTO for mapping in mappings):
        return mappings
    return _choose(store, node, mappings, before=before, now=now, session=session)


def may_move(instance: Instance, port: int) -> bool:
    """Return whether the host port was found, with all of its run, so that others may be."""
    return release_run(_list_mappings(instance), port) is not None


def choose_others(
    store: Store, instance: Instance, port: int, *, now: datetime, session: Session
) -> dict[str, object]:
    """Find other host ports for one that `may_move` and its run; return what changes.

    To be called like `settle`. Raises NoFreePorts.
    """
    before = _list_mappings(instance)
    released = release_run(before, port) or before
    at = [mapping.host for mapping in before].index(instance["primary_port"])
    node = store.nodes.get(instance["node_id"], field="nodeId", session=session)
    ports = _choose(store, node, released, now=now, session=session)
    hosts = [mapping.host for mapping in ports]
    described = describe(ports, released, at, sent=instance["primary"])
    return {**described, "ports": hosts}


def move_to(
    store: Store, instance: Instance, node: Node, *, now: datetime, session: Session
) -> Settings:
    """Find the host ports of an instance on another node: those of now where they are free there.

    To be called like `settle`. Raises NoFreePorts.
    """
    before = _list_mappings(instance)
    taken = store.occupancy.list_taken_ports(node["_id"], session=session)
    taken |= store.deleted.list_bound_ports(node["_id"], session=session)
    wanted = release_taken(before, taken | list_held(node, now=now))
    at = [mapping.host for mapping in before].index(instance["primary_port"])
    settled = settle(store, node, wanted, now=now, session=session)
    return describe(settled, wanted, at, sent=instance["primary"])


def describe(
    mappings: tuple[PortMapping, ...],
    wanted: Sequence[PortMapping],
    at: int,
    *,
    sent: str | int | None,
) -> Settings:
    """Make what an instance's document says of its ports, once all are settled.

    The primary one is `at` this place of those that were `wanted`, as it is of `mappings`; what was
    sent for it stays, unless that named no host port.
    """
    if sent is None or wanted[at].host == AUTO:
        sent = str(mappings[at].host)
    return Settings(
        port_map=list(map(to_pair, mappings)),
        primary=sent,
        primary_port=mappings[at].host,
    )


def list_free(
    store: Store, node: Node, *, count: int, consecutive: bool, now: datetime
) -> list[int]:
    """List free host ports, lowest first. None of them is held for anybody. Raises NoFreePorts."""
    wanted = tuple(
        PortMapping(number + 1, AUTO, offset=number or None if consecutive else None)
        for number in range(count)
    )
    return [mapping.host for mapping in _choose(store, node, wanted, start=0, now=now)]


def _list_mappings(instance: Instance) -> tuple[PortMapping, ...]:
    return tuple(PortMapping(**pair) for pair in instance["port_map"])


def _choose(
    store: Store,
    node: Node,
    mappings: tuple[PortMapping, ...],
    *,
    before: Instance | None = None,
    now: datetime,
    start: int | None = None,
    session: Session | None = None,
) -> tuple[PortMapping, ...]:
    among = parse_range(node["port_range"]) if node["port_range"] else DEFAULT_RANGE
    taken = store.occupancy.list_taken_ports(node["_id"], session=session)
    if before is not None:
        taken -= {pair["host"] for pair in before["port_map"]}
        start = max(0, before["primary_port"] - among.first)
    taken |= list_held(node, now=now)
    taken |= store.deleted.list_bound_ports(node["_id"], session=session)
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
