"""Fixtures of the tests of processes: the driver, and a process that sleeps."""

import pytest

from service.drivers import ContainerSpec
from service.drivers.process.runner import ProcessRunner
from service.instances import make_id
from service.model.ports import parse
from tests.support import free_port


@pytest.fixture
def root(tmp_path):
    """The folder of all instances."""
    return tmp_path / "instances"


@pytest.fixture
def runner(root):
    """The driver."""
    return ProcessRunner("node", root=root)


@pytest.fixture
def spec(runner):
    """What should run: a process that sleeps. It is removed afterwards."""
    ports = parse(f"80:{free_port()}")
    spec = ContainerSpec(
        instance_id=make_id(),
        image="any",
        cmd=("sleep", "300"),
        env={"GREETING": "hello"},
        memory_mib=64,
        cpu_milli=1000,
        ports=ports,
        primary=ports[0],
    )
    yield spec
    runner.remove(spec.instance_id)
