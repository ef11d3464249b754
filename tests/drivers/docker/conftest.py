"""Fixtures of the tests that need a Docker Engine: a client, the driver, a container."""

from contextlib import closing, suppress

import pytest
from docker.errors import NotFound

from service import instances, nodes
from service.app import make_drivers
from service.drivers import ContainerSpec
from service.drivers.docker.engine import DockerEngine
from service.drivers.docker.labels import LABEL
from service.instances import make_id
from service.model.lifecycle import PowerAction
from service.model.node_policy import NodePolicy
from service.model.ports import parse
from tests.docker_images import SOCKET, ensure_image, require_engine, run_inside
from tests.support import AT_NOON, NOON, a_user, an_image, an_order, free_port, run_due


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


@pytest.fixture
def open_driver(config, store):
    """The drivers of the nodes of this store."""
    return make_drivers(config, store)


@pytest.fixture
def deployed(store, client, spec, open_driver):
    """An instance that runs, with a file in its volume; its id."""
    node = nodes.create(
        store,
        open_driver,
        {"name": "engine", "driver": "docker", "address": f"unix://{SOCKET}"},
        policy=NodePolicy(),
        trusted_address=True,
        now=NOON,
    )
    image = an_image(store, image=spec.image, cmd=["sleep", "300"])
    order = an_order(
        a_user(store), node, image, ports=spec.ports, primary=str(spec.primary.host), memory_mib=32
    )
    instances.deploy(store, order, new_id=lambda: spec.instance_id, origin=AT_NOON)
    run_due(store, open_driver)
    run_inside(client.containers.get(spec.instance_id), "echo world > level.dat")
    return spec.instance_id
