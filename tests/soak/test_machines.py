"""What the soak looks for is found where it is."""

import pytest

from service.drivers import ContainerSpec
from service.drivers.process import ProcessRunner
from service.instances import make_id
from service.model.lifecycle import PowerAction
from service.model.ports import parse
from tests.soak.machines import list_twins
from tests.support import free_port

pytestmark = pytest.mark.spawns


@pytest.fixture
def machines(tmp_path):
    """Two machines that both run a program of the same instance; and the folder of both."""
    ports = parse(f"80:{free_port()}")
    spec = ContainerSpec(
        instance_id=make_id(), image="any", cmd=("sleep", "300"), env={}, memory_mib=64,
        cpu_milli=1000, ports=ports, primary=ports[0],
    )  # fmt: skip
    made = [ProcessRunner(name, root=tmp_path / name / "instances") for name in ("a", "b")]
    for runner in made:
        runner.create(spec, checkpoint=lambda: None)
        runner.power(spec.instance_id, PowerAction.START)
    yield made, tmp_path
    for runner in made:
        runner.remove(spec.instance_id)


def test_an_instance_that_runs_twice_is_found(machines):
    """And is none any more once one of its programs has ended."""
    (_, other), root = machines
    [name] = other.list()

    twice = list_twins(root)
    other.power(name, PowerAction.KILL)

    assert 1 == len(twice)
    assert [] == list_twins(root)
