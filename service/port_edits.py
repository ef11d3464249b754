"""Which ports an instance has after a change."""

from collections.abc import Collection
from dataclasses import replace
from typing import NamedTuple

from service import image_ports
from service.model.documents import Image, Instance
from service.model.orders import Edit
from service.model.ports import AUTO, PortMapping, find_by_names, keep_hosts
from service.order_checks import find_primary


class Ports(NamedTuple):
    """The ports that an instance is to have, and which of them is the primary one."""

    mappings: tuple[PortMapping, ...]
    at: int
    sent: str | int | None
    """How the primary one is said; None: by its host port."""


def concerns_ports(order: Edit, image: Image | None) -> bool:
    """Return whether a change may change the ports; an image that is changed may declare some."""
    return image is not None or "ports" in order or "primary" in order


def find(
    expected: Instance, order: Edit, image: Image, *, is_new_image: bool, held: Collection[int] = ()
) -> Ports:
    """Find the ports of an instance after a change, where its image is this one then.

    What is `auto` stays where it is, unless something else `held` it; so does the primary port
    where it is one of them. Who named no ports has those of the image, as far as that declares
    some, and of the same names the same. Raises InvalidInput.
    """
    before = tuple(PortMapping(**pair) for pair in expected["port_map"])
    wanted = order.get("ports", before)
    is_of_image = "ports" not in order and is_new_image and any(each.name for each in before)
    if wanted is None or (is_of_image and image_ports.list_ports(image)):
        return _take_image_ports(before, order, image)
    if is_of_image:  # it has no ports that the program would be told
        wanted = tuple(replace(each, name="", env="") for each in before)
    ports = keep_hosts(wanted, before, except_for=held) if "ports" in order else wanted
    if "primary" in order:
        primary = find_primary(order["primary"], wanted)
        return Ports(ports, wanted.index(primary), order["primary"])
    at = _find_same(ports, expected)
    return Ports(ports, at, _keep_primary(expected, ports[at]))


def _take_image_ports(before: tuple[PortMapping, ...], order: Edit, image: Image) -> Ports:
    ports = find_by_names(image_ports.require_ports(image), before)
    if "primary" not in order:
        return Ports(ports, 0, None)
    primary = find_primary(order["primary"], ports)
    return Ports(ports, ports.index(primary), order["primary"])


def _find_same(ports: tuple[PortMapping, ...], expected: Instance) -> int:
    """Find where the primary port of before is now. Raises InvalidInput where it is not."""
    port = expected["primary_port"]
    inside = next(pair["container"] for pair in expected["port_map"] if pair["host"] == port)
    for at, mapping in enumerate(ports):
        if mapping.host == AUTO and mapping.container == inside:
            return at
    return ports.index(find_primary(str(port), ports))


def _keep_primary(expected: Instance, mapping: PortMapping) -> str | int:
    """Return the primary port as it was sent once, unless that named another container port."""
    sent = str(expected["primary"])
    return str(mapping) if ":" in sent else expected["primary"]
