"""Fixtures of the tests that need a Docker Engine: a client, the driver, a container."""

from contextlib import closing, suppress

import pytest
from docker.errors import NotFound

from service.drivers import ContainerSpec
from service.drivers.docker.engine import DockerEngine
from service.drivers.docker.labels import LABEL
from service.instances import make_id
from service.model.lifecycle import PowerAction
from service.model.ports import parse
from tests.docker_images import SOCKET, ensure_image, require_engine
from tests.support import free_port


@pytest.fixture
def client():
    """A client of the engine, to look from outside."""
    with closing(require_engine()) as client:
        yield client


@pytest.fixture
def engine(client):
    """The driver. Without an engine, which the client needs, there is no test."""
    engine = DockerEngine(
        "node", base_url=f"unix://{SOCKET}", connect_timeout_s=3, read_timeout_s=30
    )
    with closing(engine):
        yield engine


@pytest.fixture
def spec(client):
    """What should run: a container that sleeps. What bears its id is removed afterwards."""
    ports = parse(f"80:{free_port()}")
    spec = ContainerSpec(
        instance_id=make_id(),
        image=ensure_image(client, "skyquay-test/python:1"),
        cmd=("sleep", "300"),
        env={},
        memory_mib=32,
        cpu_milli=250,
        ports=ports,
        primary=ports[0],
    )
    yield spec
    for left in client.containers.list(all=True, filters={"label": f"{LABEL}={spec.instance_id}"}):
        left.remove(force=True)
    with suppress(NotFound):
        client.volumes.get(spec.instance_id).remove()


@pytest.fixture
def running(client, engine, spec):
    """A container that runs."""
    engine.create(spec, checkpoint=lambda: None)
    engine.power(spec.instance_id, PowerAction.START)
    return client.containers.get(spec.instance_id)
