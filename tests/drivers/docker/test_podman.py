"""What of Podman is not as it is of a Docker Engine."""

from contextlib import closing
from dataclasses import replace
from functools import partial

import pytest

from service import probing
from service.drivers import ContainerSpec, Delivery
from service.drivers.docker import podman
from service.drivers.docker.engine import DockerEngine
from service.errors import NodeRefused
from service.instances import make_id
from service.model.lifecycle import NodeStatus, Power, PowerAction
from service.model.ports import parse
from tests.podman_service import IMAGE, shared_podman
from tests.support import NOON, a_node, eventually, free_port

needs_podman = [pytest.mark.docker, pytest.mark.spawns]
"""The marks of tests that run it."""

PODMAN = {"Components": [{"Name": "Podman Engine", "Version": "4.3.1"}, {"Name": "Conmon"}]}


class Answering(DockerEngine):
    """The driver of an engine that answers a probe like this."""


@pytest.fixture
def engine():
    """The driver of a Podman here."""
    engine = DockerEngine(
        "node", base_url=f"unix://{shared_podman()}", connect_timeout_s=3, read_timeout_s=30
    )
    with closing(engine):
        yield engine


@pytest.fixture
def run(engine):
    """Run a program; answer its instance's id."""
    made = []

    def run(cmd, **over):
        ports = parse(f"80:{free_port()}")
        spec = ContainerSpec(
            instance_id=make_id(),
            image=IMAGE,
            cmd=cmd,
            env={},
            memory_mib=32,
            cpu_milli=250,
            ports=ports,
            primary=ports[0],
        )
        made.append(spec.instance_id)
        engine.create(replace(spec, **over), checkpoint=lambda: None)
        engine.power(spec.instance_id, PowerAction.START)
        return spec.instance_id

    yield run
    for instance_id in made:
        engine.remove(instance_id)
