"""Make documents of ours from what a Skyport panel's records hold, as `skyport_records` loads it.

Nothing is read or written here.
"""

from datetime import datetime
from typing import Any

from service import images, nodes
from service.admin.skyport_records import Unusable
from service.errors import InvalidInput
from service.model.container import ContainerStatus
from service.model.documents import (
    Image,
    Instance,
    Node,
    User,
    new_instance,
    new_user,
)
from service.model.driver_traits import SKYPORTD
from service.model.error_lines import list_details
from service.model.lifecycle import InstanceState, NodeStatus, Power
from service.model.orders import NodeOrder
from service.model.ports import PortMapping, parse_primary
from service.model.readiness import check_on

Fields = dict[str, Any]


def make_user(fields: Fields, *, now: datetime) -> User:
    """Make the document of a user, who keeps his password."""
    return new_user(**fields, now=now)


def make_node(fields: Fields, *, secret: str | None, now: datetime) -> Node:
    """Make the document of a node; `secret` is its daemon's key, encrypted. None: not enrolled."""
    order: NodeOrder = {
        "name": fields["name"] or fields["node_id"],
        "driver": "skyportd",
        "tags": fields["tags"],
        "ram": fields["ram"],
        "disk": fields["disk"],
        "processor": fields["processor"],
        "address": fields["address"],
        "port": fields["port"],
        "allow_same_engine": True,  # as it was: its instances run
    }
    node = nodes.draft(order, node_id=fields["node_id"], now=now)
    node["trusted_address"] = True
    if secret is not None:
        node["secret"] = secret
        node["status"] = NodeStatus.OFFLINE
        node["probe_error"] = "It was not probed since it was imported."
        node["probed_at"] = None
    return node


def make_image(fields: Fields, *, now: datetime) -> Image:
    """Make the document of an image, which never runs as a process of ours.

    Raises Unusable for variables that are declared wrongly.
    """
    others = {name: value for name, value in fields.items() if name != "image_id"}
    try:
        return images.draft(fields["image_id"], {**others, "process": False}, now=now)
    except InvalidInput as exc:
        raise Unusable("; ".join(list_details(exc.details))) from exc


def make_instance(
    fields: Fields,
    *,
    image: Image | None,
    container: ContainerStatus | None,
    missing: str | None,
    now: datetime,
) -> Instance:
    """Make the document of an instance: READY with its `container`, FAILED without one.

    `image` is that of the catalogue which it surely runs; `missing` says why there is no container.
    """
    mappings: tuple[PortMapping, ...] = fields["ports"]
    primary = _find_primary(fields["primary"], mappings)
    values = dict(line.partition("=")[::2] for line in fields["env"])
    declared = image["variables"] if image else {}
    instance = new_instance(
        fields["instance_id"],
        name=fields["name"] or fields["instance_id"],
        user_id=fields["user_id"],
        node_id=fields["node_id"],
        image=fields["image"] or (image["image"] if image else ""),
        image_id=image["_id"] if image else None,
        image_name=image["name"] if image else fields["image"] or "",
        memory_mib=fields["memory_mib"],
        cpu_milli=fields["cpu_milli"],
        ports=mappings,
        primary=fields["primary"] or str(primary.host),
        primary_port=primary.host,
        variables={name: values[name] for name in declared if name in values},
        secret_variables=images.list_secret(image, values) if image else [],
        env=[line for line in fields["env"] if not line.startswith("PRIMARY_PORT=")],
        cmd=image["cmd"] if image else None,
        alt_images=fields["alt_images"],
        stop_command=fields["stop_command"],
        # The files of one that has a container are there.
        scripts=image["scripts"] if image and container is None else {},
        ready=check_on(image, SKYPORTD.name) if image else None,
        state=InstanceState.FAILED if container is None else InstanceState.READY,
        suspended=fields["suspended"],
        power=container.power if container else Power.UNKNOWN,
        container_id=container.container_id if container else None,
        error=missing,
        now=now,
    )
    instance["node_env"] = fields["env"]
    return instance


def _find_primary(primary: str | int | None, mappings: tuple[PortMapping, ...]) -> PortMapping:
    try:
        return parse_primary(primary or "", mappings)
    except ValueError:
        return mappings[0]
