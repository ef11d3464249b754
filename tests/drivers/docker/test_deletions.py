"""Deletions that are undone on a real Docker Engine: what stays, and what is made anew."""

import docker.errors
import pytest

from service import deletions, instances
from service.model.lifecycle import OperationStatus, Power
from service.model.ports import parse
from service.worker.purges import purge_due
from tests.drivers.docker.test_changes import look
from tests.support import AT_NOON, FAR, free_port, run_due

pytestmark = [pytest.mark.docker, pytest.mark.fresh_database]


def keep(store, open_driver, instance_id):
    """Delete it so that it can be restored, and carry that out."""
    operation = instances.delete(store, instance_id, keep_s=60, origin=AT_NOON)
    run_due(store, open_driver)
    return store.operations.get(operation["_id"])


def restore(store, open_driver, instance_id, **order):
    """Undo that, and carry it out."""
    _, operation = deletions.restore(store, instance_id, order, origin=AT_NOON)
    run_due(store, open_driver)
    return store.operations.get(operation["_id"])


def test_the_container_is_stopped_and_started(store, client, spec, open_driver, deployed):
    """It is the same, with its file."""
    before = client.containers.get(deployed).id

    kept = keep(store, open_driver, deployed)
    stopped = client.containers.get(deployed).status
    restored = restore(store, open_driver, deployed)

    assert [OperationStatus.SUCCEEDED] * 2 == [kept["status"], restored["status"]]
    assert ("exited", before) == (stopped, client.containers.get(deployed).id)
    assert ("running", 32, spec.image, "world") == look(client, deployed)
    assert Power.RUNNING == store.instances.get(deployed)["power"]


def test_other_ports_keep_the_files(store, client, spec, open_driver, deployed):
    """A new container publishes them, on the volume of before."""
    port = free_port()
    keep(store, open_driver, deployed)

    ended = restore(store, open_driver, deployed, ports=parse(f"{spec.primary.container}:{port}"))

    bound = client.containers.get(deployed).attrs["HostConfig"]["PortBindings"]
    assert OperationStatus.SUCCEEDED == ended["status"], ended["error"]
    assert ("running", 32, spec.image, "world") == look(client, deployed)
    assert {str(port)} == {each["HostPort"] for each in bound[f"{spec.primary.container}/tcp"]}


def test_a_container_that_is_gone_is_made_anew(store, client, spec, open_driver, deployed):
    """Somebody removed it meanwhile; its volume is still there."""
    keep(store, open_driver, deployed)
    store.deleted.update(deployed, {"container_id": None})  # as a look at the node says
    client.containers.get(deployed).remove()

    ended = restore(store, open_driver, deployed)

    assert OperationStatus.SUCCEEDED == ended["status"], ended["error"]
    assert ("running", 32, spec.image, "world") == look(client, deployed)


def test_a_purge_leaves_nothing(store, client, open_driver, deployed):
    """Neither the container nor the volume."""
    keep(store, open_driver, deployed)

    purge_due(store, lambda: FAR)
    run_due(store, open_driver)

    with pytest.raises(docker.errors.NotFound):
        client.containers.get(deployed)
    with pytest.raises(docker.errors.NotFound):
        client.volumes.get(deployed)
    assert [] == store.deleted.all()
