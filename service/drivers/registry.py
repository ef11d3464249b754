"""The drivers that there are, and how each is made of a node's document."""

import json
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from service.drivers import Authorize, NodeDriver, Owner, always
from service.drivers.docker import DockerEngine
from service.drivers.process import ProcessRunner
from service.drivers.skyportd import Skyportd
from service.errors import NodeUnreachable
from service.model.addresses import is_socket
from service.model.documents import Node
from service.model.driver_traits import DOCKER, PROCESS, SKYPORTD, traits_of
from service.model.engines import is_podman
from service.model.node_policy import NodePolicy


@dataclass(frozen=True, slots=True)
class Drivers:
    """Opens the drivers of nodes. See DriverFactory."""

    policy: NodePolicy
    owner: Owner
    instances_dir: Path
    """Where the instances of this machine have their folders."""
    open_secret: Callable[[str], str]
    """Decrypts what of a node's document is encrypted."""
    make_tls: Callable[..., ssl.SSLContext]
    """Makes a TLS context of ca, cert and key, in PEM, as far as there are any."""

    def __call__(self, node: Node, /, *, authorize: Authorize = always) -> NodeDriver:
        """Make the driver of a node. Raises NodeUnreachable for one that is not served here."""
        make = _MAKERS.get(node["driver"])
        if make is None or not self.policy.serves(traits_of(node["driver"])):
            # Another worker may serve them, so this is no refusal by the node.
            raise NodeUnreachable(
                node["_id"], f"This worker serves no nodes of the driver {node['driver']!r}."
            )
        return make(self, node, authorize)

    def open_tls(self, node: Node) -> ssl.SSLContext | None:
        """Make the TLS context that a node is called with; None: it is called in plain."""
        if node["tls"] is None:
            return None
        return self.make_tls(**json.loads(self.open_secret(node["tls"])))


def _make_docker(drivers: Drivers, node: Node, authorize: Authorize) -> NodeDriver:
    return DockerEngine(
        node["_id"],
        base_url=node["address"] if is_socket(node["address"]) else f"tcp://{_host_port(node)}",
        refuse=drivers.policy.dial_rule(node),
        tls=drivers.open_tls(node),
        owner=drivers.owner,
        authorize=authorize,
        was_podman=is_podman(node),
    )


def _make_skyportd(drivers: Drivers, node: Node, authorize: Authorize) -> NodeDriver:
    if node["secret"] is None:
        raise NodeUnreachable(node["_id"], "The node's daemon has not enrolled itself.")
    return Skyportd(
        node["_id"],
        base_url=f"{'https' if node['tls'] else 'http'}://{_host_port(node)}",
        key=drivers.open_secret(node["secret"]),
        refuse=drivers.policy.dial_rule(node),
        tls=drivers.open_tls(node),
        authorize=authorize,
    )


def _make_process(drivers: Drivers, node: Node, authorize: Authorize) -> NodeDriver:
    return ProcessRunner(node["_id"], root=drivers.instances_dir, authorize=authorize)


_MAKERS = {
    SKYPORTD.name: _make_skyportd,
    DOCKER.name: _make_docker,
    PROCESS.name: _make_process,
}


def _host_port(node: Node) -> str:
    traits, host = traits_of(node["driver"]), node["address"]
    if host.count(":") > 1 and "[" not in host:
        host = f"[{host}]"
    return f"{host}:{node['port'] or (traits.tls_port if node['tls'] else traits.port)}"
