"""Which ports an instance has after a change."""

from service.model.documents import Instance
from service.model.orders import Edit
from service.model.ports import PortMapping, keep_hosts
from service.order_checks import find_primary


def find(expected: Instance, order: Edit) -> tuple[tuple[PortMapping, ...], PortMapping, str | int]:
    """Find the ports that an instance is to have, their primary one, and how that is said.

    What is `auto` stays where it is, and so does the primary port where it is one of them.
    """
    before = tuple(PortMapping(**pair) for pair in expected["port_map"])
    wanted = order.get("ports", before)
    ports = keep_hosts(wanted, before)
    if "primary" in order:
        return ports, find_primary(order["primary"], wanted), order["primary"]
    primary = find_primary(str(expected["primary_port"]), ports)
    return ports, primary, _keep_primary(expected, primary)


def _keep_primary(expected: Instance, mapping: PortMapping) -> str | int:
    """Return the primary port as it was sent once, unless that named another container port."""
    sent = str(expected["primary"])
    return str(mapping) if ":" in sent else expected["primary"]
