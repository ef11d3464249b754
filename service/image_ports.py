"""The ports that images declare, for instances whose owners name none."""

from service.errors import InvalidInput
from service.model.documents import Image, ImagePort
from service.model.ports import AUTO, SAME, PortMapping


def list_ports(image: Image) -> tuple[PortMapping, ...]:
    """Make the mappings of the image's ports, whose host ports are to be found. None: ().

    The first one is first, and those that are found with it follow it.
    """
    ports = image.get("ports") or []
    together = [port for port in ports[1:] if "offset" in port]
    alone = [port for port in ports[1:] if "offset" not in port]
    return tuple(map(_to_mapping, [*ports[:1], *together, *alone]))


def require_ports(image: Image) -> tuple[PortMapping, ...]:
    """Make the mappings like `list_ports`. Raises InvalidInput where the image declares none."""
    ports = list_ports(image)
    if not ports:
        raise InvalidInput(
            "No ports are named.", ports=["Must be given: the image declares no ports."]
        )
    return ports


def _to_mapping(port: ImagePort) -> PortMapping:
    return PortMapping(
        port.get("container", SAME),
        AUTO,
        offset=port.get("offset"),
        same="container" not in port,
        name=port["name"],
        env=port.get("env", ""),
    )
