"""Changes of instances on a real Docker Engine: what is made anew, what is undone, what stays."""

import pytest

from service import instance_changes
from service.model.lifecycle import OperationStatus
from tests.docker_images import print_inside
from tests.support import AT_NOON, an_image, eventually, run_due

pytestmark = [pytest.mark.docker, pytest.mark.fresh_database]


def edit(store, open_driver, instance_id, **order):
    """Change the instance, and carry that out; answer the operation as it ended."""
    _, operation = instance_changes.edit(store, instance_id, order, origin=AT_NOON)
    run_due(store, open_driver)
    return store.operations.get(operation["_id"])


def look(client, instance_id):
    """Return how the container is: its status, its limit in MiB, its image, and the file."""
    container = client.containers.get(instance_id)
    printed = print_inside(container, "cat level.dat")
    config = container.attrs
    return (
        container.status,
        config["HostConfig"]["Memory"] // 2**20,
        config["Config"]["Image"],
        printed.strip(),
    )


def test_more_memory_keeps_the_files(store, client, spec, open_driver, deployed):
    """The new container has the new limit, and the volume of before."""
    before = client.containers.get(deployed).id

    ended = edit(store, open_driver, deployed, memory_mib=48)

    assert OperationStatus.SUCCEEDED == ended["status"], ended["error"]
    assert ("running", 48, spec.image, "world") == look(client, deployed)
    assert (
        before
        != client.containers.get(deployed).id
        == store.instances.get(deployed)["container_id"]
    )


def test_a_program_that_exits_at_once_is_undone(store, client, spec, open_driver, deployed):
    """The reason has the program's exit code and last lines, and the old one runs again."""
    image = an_image(store, image=spec.image, cmd=["sh", "-c", "echo no level; sleep 0.5; exit 3"])

    ended = edit(store, open_driver, deployed, image=image["_id"], memory_mib=48)

    assert OperationStatus.FAILED == ended["status"]
    assert "exit code 3" in ended["error"]
    assert "no level" in ended["error"]
    assert ("running", 32, spec.image, "world") == look(client, deployed)
    assert ["sleep", "300"] == client.containers.get(deployed).attrs["Config"]["Cmd"]


def test_an_image_that_does_not_exist_stops_nothing(store, client, spec, open_driver, deployed):
    """The container of before has not been stopped for a moment."""
    before = client.containers.get(deployed)
    image = an_image(store, image="127.0.0.1:1/no-such-image:1")

    ended = edit(store, open_driver, deployed, image=image["_id"])
    for _ in range(6):  # the registry may be down for a moment only
        store.operations.retry_now(ended["_id"])
        run_due(store, open_driver)

    after = client.containers.get(deployed)
    assert eventually(
        lambda: OperationStatus.FAILED == store.operations.get(ended["_id"])["status"]
    )
    assert (before.id, before.attrs["State"]["StartedAt"]) == (
        after.id,
        after.attrs["State"]["StartedAt"],
    )


def test_the_engine_heeds_the_settings(store, client, open_driver, deployed):
    """Each of them is what the engine says of the container."""
    ended = edit(
        store,
        open_driver,
        deployed,
        swap_mib=16,
        cpuset="0",
        stop_grace_s=20,
        auto_start=False,
        timezone="Europe/Helsinki",
    )

    attrs = client.containers.get(deployed).attrs
    host, config = attrs["HostConfig"], attrs["Config"]
    assert OperationStatus.SUCCEEDED == ended["status"], ended["error"]
    assert (48 * 2**20, "0", "no", 20) == (
        host["MemorySwap"],
        host["CpusetCpus"],
        host["RestartPolicy"]["Name"],
        config["StopTimeout"],
    )
    assert "TZ=Europe/Helsinki" in config["Env"]
