"""The document of an instance that is to be deployed, of its order and its place."""

from service import images, port_choice
from service.model.container_settings import DEFAULTS, choose_settings
from service.model.documents import Instance, Node, new_instance
from service.model.labelling import label
from service.model.orders import Order
from service.model.origin import Origin
from service.model.ports import PortMapping
from service.model.readiness import check_on
from service.order_checks import Checked


def draft(
    order: Order,
    checked: Checked,
    node: Node,
    ports: tuple[PortMapping, ...],
    *,
    instance_id: str,
    origin: Origin,
) -> Instance:
    """Make the document, with these host ports. Raises InvalidInput like `choose_settings`."""
    image, primary = checked.image, checked.primary
    at = checked.ports.index(primary)
    instance = new_instance(
        instance_id,
        name=order["name"],
        user_id=checked.user["_id"],
        node_id=node["_id"],
        image=images.choose_reference(image, order["image"]),
        image_id=image["_id"] or None,
        image_name=image["name"],
        memory_mib=order["memory_mib"],
        cpu_milli=order["cpu_milli"],
        disk_gb=order["disk_gb"],
        ports=ports,
        primary=order["primary"] or primary.host,
        primary_port=primary.host,
        variables=checked.variables,
        secret_variables=images.list_secret(image, checked.variables),
        env=[*image["env"], *(f"{name}={value}" for name, value in checked.variables.items())],
        cmd=image["cmd"],
        alt_images=image["alt_images"],
        stop_command=image["stop_command"],
        scripts=image["scripts"],
        ready=check_on(image, node["driver"]),
        labelling=label({"external_id": order.get("external_id"), "labels": order.get("labels")}),
        container=choose_settings(DEFAULTS, order, node),
        now=origin.now,
    )
    instance.update(port_choice.describe(ports, checked.ports, at, sent=order["primary"]))  # type: ignore[typeddict-item]
    return instance
