"""What is wrong in the order of an instance, beyond its form: all of it at once."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from service import images, variables
from service.errors import InvalidInput
from service.image_ports import require_ports
from service.model.container_settings import DEFAULTS, choose_settings
from service.model.documents import Image, Node, User
from service.model.driver_traits import traits_of
from service.model.orders import Order
from service.model.ports import AUTO, PortMapping, parse_primary
from service.model.wrong_fields import WrongFields
from service.store import Store
from service.store.collection import Session


class Checked(NamedTuple):
    """What an order means."""

    user: User
    node: Node | None  # None: whichever fits
    image: Image
    ports: tuple[PortMapping, ...]
    primary: PortMapping
    variables: dict[str, str]
    held_ports: frozenset[int] | None
    """Those of its host ports that are held for instances on their way to its node, and others.

    None: that is not known.
    """


def check_order(
    store: Store,
    order: Order,
    *,
    allow_any_image: bool = False,
    may_edit_all: bool = True,
    session: Session | None = None,
) -> Checked:
    """Find what an order means. It may be WellFormed, with malformed fields left out.

    In a transaction that writes to the user and to the node, what is found of them stays true; of
    the image too, but for the mark of its deletion (`refuse_deleting`).

    Raises one InvalidInput for all that is wrong: NotFound for an unknown user, or else for the
    node or the image, and so on; its details name each wrong field.
    """
    named: dict[str, Any] = {**order}  # as far as it is well formed
    hosts = {mapping.host for mapping in named.get("ports", ())}
    place = store.find_place(
        user_id=named.get("user_id"),
        node_id=named.get("node_id"),
        image=named.get("image"),
        ports=hosts - {AUTO},
        session=session,
    )
    wrong = WrongFields()
    node: Node | None = None
    image: Image | None = None
    with wrong.noting():
        user = place.get_user(order["user_id"])
    with wrong.noting():
        node_id = order["node_id"]
        node = None if node_id is None else place.get_node(node_id)
    with wrong.noting():
        image = images.choose(
            place.images, order["image"], order["image_name"], allow_any_image=allow_any_image
        )
    with wrong.noting():
        ports = order["ports"]
        if not ports and image is not None:
            ports = require_ports(image)
        if ports:
            primary = find_primary(order["primary"], ports)
    if image is not None:
        with wrong.noting():
            chosen = variables.check(
                image["variables"], order["variables"], may_edit_all=may_edit_all
            )
    if image is not None and node is not None:
        with wrong.noting():
            check_image(node, image)
        with wrong.noting():
            check_declared(node, image, order["variables"])
    if node is not None:
        with wrong.noting():
            choose_settings(DEFAULTS, order, node)
    wrong.raise_any()
    is_known = node is not None and node["_id"] == node_id and hosts and AUTO not in hosts
    held_ports = place.held_ports if is_known else None
    return Checked(user, node, image, ports, primary, chosen, held_ports)


def check_node(node: Node, image: Image, order: Order) -> None:
    """Raise InvalidInput for all that cannot run on this node, of an order that is right."""
    wrong = WrongFields()
    with wrong.noting():
        check_image(node, image)
    with wrong.noting():
        check_declared(node, image, order["variables"])
    with wrong.noting():
        choose_settings(DEFAULTS, order, node)
    wrong.raise_any()


def find_primary(primary: str | int | None, ports: tuple[PortMapping, ...]) -> PortMapping:
    """Find the mapping that is meant. Raises InvalidInput for none of the ports."""
    try:
        return parse_primary(primary, ports)
    except ValueError as exc:
        raise InvalidInput("The primary port is wrong.", primary=[str(exc)]) from exc


def check_image(node: Node, image: Image) -> None:
    """Raise InvalidInput for an image that cannot run on this node."""
    driver = traits_of(node["driver"])
    if image["scripts"].get("Install") and not driver.runs_install_scripts:
        raise InvalidInput(
            "This image has install scripts, which this node cannot run.",
            image=[f"Nodes of the driver {node['driver']!r} run no install scripts."],
        )
    if driver.is_this_machine and not image["process"]:
        raise InvalidInput(
            "This image cannot run as a process.",
            image=["Only images that an operator marked with `process` run on this node."],
        )


def check_declared(node: Node, image: Image, chosen: Mapping[str, object]) -> None:
    """Raise InvalidInput for variables that would reach this very machine undeclared."""
    undeclared = sorted(chosen.keys() - image["variables"].keys())
    if traits_of(node["driver"]).is_this_machine and undeclared:
        # A process runs on our own machine: LD_PRELOAD must not become a way into it.
        raise InvalidInput(
            "This image has no such variable.",
            variables={name: ["The image does not declare it."] for name in undeclared},
        )
