"""Transfers of programs that really run, with the files that they wrote."""

from contextlib import ExitStack, closing
from dataclasses import replace

import pytest

from service import instances, transfers
from service.drivers.docker import DockerEngine
from service.drivers.process import ProcessRunner
from service.drivers.volume_archive import digest
from service.model.lifecycle import OperationKind, OperationStatus, Power
from service.model.ports import parse
from tests.docker_images import SOCKET, ensure_image, require_engine
from tests.drivers.test_volume_contract import ODD
from tests.support import AT_NOON, a_node, a_user, an_image, an_order, eventually, free_port
from tests.support import run_due as work

pytestmark = pytest.mark.usefixtures("poll_soon")

PROGRAM = f"[ -e closed ] && exec sleep 600\n{ODD}"
NAMED = ("status", "describe", "logs", "power", "read_volume", "write_volume", "discard", "remove")


class Elsewhere:
    """A driver of a node on which instances have other names.

    So one machine is two nodes, whose containers are not in each other's way.
    """

    def __init__(self, driver):
        self._driver = driver

    def __getattr__(self, name):
        found = getattr(self._driver, name)
        if name not in NAMED:
            return found
        return lambda instance_id, *args, **options: found(rename(instance_id), *args, **options)

    def create(self, spec, **options):
        """Make a container of another name."""
        return self._driver.create(replace(spec, instance_id=rename(spec.instance_id)), **options)


def rename(instance_id):
    """Make another id of an id."""
    return f"j{instance_id[1:]}"


def open_docker(tmp_path, authorize):
    """Open this machine's Docker Engine."""
    return DockerEngine("node", base_url=f"unix://{SOCKET}", authorize=authorize)


def open_processes(tmp_path, authorize):
    """Open this machine."""
    return ProcessRunner("node", root=tmp_path / "instances", authorize=authorize)


@pytest.fixture(
    params=[
        pytest.param(open_docker, id="docker", marks=pytest.mark.docker),
        pytest.param(open_processes, id="process", marks=pytest.mark.spawns),
    ]
)
def fleet(request, store, memory_nodes, tmp_path):
    """Two nodes on this machine, and an instance that runs on the first."""
    reference = "any"
    if request.param is open_docker:
        with closing(require_engine()) as client:
            reference = ensure_image(client, "skyquay-test/python:1")
    source, target = a_node(store, memory_nodes), a_node(store, memory_nodes)

    def open_driver(node, *, authorize=lambda: None):
        driver = request.param(tmp_path, authorize)
        return Elsewhere(driver) if node["_id"] == target["_id"] else driver

    image = an_image(store, image=reference, cmd=PROGRAM)
    port = free_port()
    order = an_order(a_user(store), source, image, ports=parse(f"80:{port}"), primary=str(port))
    instance_id = instances.deploy(store, order, origin=AT_NOON)[0]["_id"]
    with ExitStack() as stack:
        for node in (source, target):
            driver = open_driver(node)
            stack.callback(driver.close)
            stack.callback(driver.remove, instance_id)
        work(store, open_driver)
        assert eventually(lambda: "written" in open_driver(source).logs(instance_id, tail=9))
        yield open_driver, source, target, instance_id


def test_a_program_goes_elsewhere_with_its_files(store, fleet):
    """All files are the same there, it runs, and nothing is left where it was."""
    open_driver, source, target, instance_id = fleet
    instances.change_power(store, instance_id, OperationKind.STOP, origin=AT_NOON)
    work(store, open_driver)
    before = digest(open_driver(source).read_volume(instance_id))
    instances.change_power(store, instance_id, OperationKind.START, origin=AT_NOON)
    work(store, open_driver)

    _, operation = transfers.begin(store, instance_id, node_id=target["_id"], origin=AT_NOON)
    work(store, open_driver)

    ended = store.operations.get(operation["_id"])
    assert (OperationStatus.SUCCEEDED, None) == (ended["status"], ended["error"])
    assert ended["transfer"]["bytes_copied"] > 44 * 2**20
    there = open_driver(target)
    assert Power.RUNNING == there.status(instance_id).power
    assert open_driver(source).status(instance_id) is None
    there.power(instance_id, "stop")
    assert before == digest(there.read_volume(instance_id))
    document = store.instances.get(instance_id)
    assert (target["_id"], there.status(instance_id).container_id) == (
        document["node_id"],
        document["container_id"],
    )
