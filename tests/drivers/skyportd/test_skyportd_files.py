"""What a tenant leaves in a volume on skyportd: it goes, or is named, and nothing else waits."""

import pytest

from service import drift, instances, nodes
from service.admin import doctor
from service.drivers.skyportd import client as skyportd_client
from service.drivers.skyportd import files as skyportd_files
from service.errors import NodeUnreachable
from service.model.lifecycle import OperationStatus
from service.model.origin import Origin
from service.security.vault import Vault
from tests.fake_skyportd import Container
from tests.support import AT_NOON, NOON, run_due

pytestmark = pytest.mark.usefixtures("retry_now")

ID = "iaaaabbbbccc"
PATH = f"/daemon/volumes/{ID}"
ODD = "x\udcff"  # a byte that is no UTF-8


HOSTILE = [
    {"it's": "dangling symlink"},
    {"loop": "link to itself"},
    {"passwd": "link into a file"},
    {"a\nb": "dangling symlink"},
    {"'": "link to itself", "/'"[1:] * 2: "dangling symlink", "ENOENT: x, stat 'y": "z"},
    {"50%": "x", "%2e%2e": "x", "a b/ö": "x", "...": "x", "?path=..": "x", "#": "x"},
    {f"link {n}": "dangling symlink" for n in range(30)},
]


@pytest.mark.parametrize("keeps_folders", [False, True])
@pytest.mark.parametrize("files", HOSTILE)
def test_no_link_and_no_name_keeps_files_on_the_disk(daemon, driver, files, keeps_folders):
    """Whether the daemon deletes the folder, or its files by the names that its errors tell."""
    daemon.keeps_folders = keeps_folders
    daemon.volumes[ID] = {"first": "x", **files, "last": "x"}

    assert (None, {}) == (driver.remove(ID), daemon.volumes.get(ID, {}))


def test_a_name_that_is_not_utf_8_goes_with_its_folder(daemon, driver):
    """Nothing can be done to it by name."""
    daemon.volumes[ID] = {ODD: "x", "world.dat": "x"}

    assert (None, {}) == (driver.remove(ID), daemon.volumes)


def test_what_cannot_be_named_is_left_and_told(daemon, driver):
    """A daemon that does not delete the folder: the name is told as it came."""
    daemon.keeps_folders = True
    daemon.volumes[ID] = {ODD: "x", "world.dat": "x"}

    left = driver.remove(ID)

    assert (PATH, ("x\ufffd",)) == (left.path, left.names)


def test_what_cannot_be_deleted_is_left_alone(daemon, driver):
    """All else goes, whatever comes first."""
    daemon.volumes[ID] = {"a": "immutable", "b": "x", "c": "too deep", "d": "link to itself"}

    left = driver.remove(ID)

    assert (PATH, ("a", "c"), {"a", "c"}) == (left.path, left.names, set(daemon.volumes[ID]))
    assert left.reason.startswith("EPERM: operation not permitted")


def test_the_container_goes_before_its_files(daemon, driver):
    """Files that stay are no reason for a container to stay."""
    daemon.containers[ID] = Container(ID, {"Id": ID}, status="running")
    daemon.volumes[ID] = {"a": "immutable"}

    left = driver.remove(ID)

    assert ({}, PATH) == (daemon.containers, left.path)


def test_a_volume_that_cannot_be_listed_is_not_called_empty(daemon, driver):
    """Files that cannot be seen are not gone: all of it is called left."""
    daemon.volumes[ID] = {"a": "immutable"}
    daemon.fs_error = f"EACCES: permission denied, scandir '{PATH}'"

    left = driver.remove(ID)

    assert (PATH, (), daemon.fs_error) == (left.path, left.names, left.reason)


def test_an_error_of_another_volume_is_none_of_ours(daemon, driver):
    """What an error names is deleted only if it is in this volume."""
    daemon.keeps_folders = True
    daemon.fs_error = "ENOENT: no such file or directory, stat '/daemon/volumes/iother/a'"

    driver.remove(ID)

    assert not any("/a" in path for method, path in daemon.calls if method == "DELETE")


def test_what_is_left_is_told_within_bounds(daemon, driver):
    """A tenant who leaves thousands of names fills neither the database nor anybody's screen."""
    daemon.volumes[ID] = {f"{n:04}{'x' * 251}": "immutable" for n in range(30)}

    left = driver.remove(ID)

    assert (PATH, skyportd_files.MAX_NAMED, "0000") == (
        left.path,
        len(left.names),
        left.names[0][:4],
    )


def test_the_calls_are_bounded(daemon, driver, monkeypatch):
    """A volume that fills as fast as it is emptied, or lies, is left at last."""
    monkeypatch.setattr(skyportd_files, "MAX_LISTS", 10)
    daemon.keeps_folders = True
    daemon.volumes[ID] = {f"link {n}": "dangling symlink" for n in range(100)}

    left = driver.remove(ID)

    assert (PATH, 90) == (left.path, len(daemon.volumes[ID]))


def test_a_daemon_that_goes_away_meanwhile_is_unreachable(daemon, driver, monkeypatch):
    """Then nothing is known of its files, and it is asked again when it is back."""
    monkeypatch.setattr(skyportd_client, "ERASE_TIMEOUT_S", 1)
    daemon.volumes[ID] = {"a": "x"}
    deleted = daemon.answer

    def die(method, path, body):
        if "/fs/" in path:
            daemon.die()
        return deleted(method, path, body)

    daemon.answer = die

    with pytest.raises(NodeUnreachable):
        driver.remove(ID)


@pytest.mark.parametrize("name", ["../../victim", "..", ".", "", "a/b", "x", "a b"])
def test_no_path_is_ever_taken_for_a_volume(daemon, driver, name):
    """What cannot be a container's name has no volume; nothing is even asked."""
    assert (None, []) == (driver.remove(name), daemon.calls)


def test_install_scripts_are_not_robbed_of_their_folder(daemon, driver):
    """The daemon ends when a script has nowhere to write to."""
    daemon.age(7200)
    daemon.containers[ID] = Container(ID, {"Id": ID})
    daemon.states[ID] = {"state": "INSTALLING", "containerId": None}
    daemon.volumes[ID] = {"server.jar": "x"}

    left = driver.remove(ID)

    assert (None, {ID: {}}, {}) == (left, daemon.volumes, daemon.containers)


# What becomes of the instance


@pytest.fixture
def settled(store, daemon, ordered):
    """The drivers, and an instance on a node whose daemon does not delete all of its files."""
    open_driver, order = ordered
    instance_id = instances.deploy(store, order, origin=AT_NOON)[0]["_id"]
    run_due(store, open_driver)
    daemon.volumes[instance_id] = {"logs": "immutable", "it's": "link to itself"}
    return open_driver, order["node_id"], instance_id


def remove(store, settled):
    """Delete the instance, and answer the operation as it is afterwards."""
    open_driver, _, instance_id = settled
    deletion = instances.delete(
        store, instance_id, origin=Origin(NOON, requested_by="key-1", request_id="request-1")
    )
    run_due(store, open_driver)
    return store.operations.get(deletion["_id"])


def test_an_instance_goes_whatever_is_in_its_volume(store, settled, daemon):
    """Neither it nor its memory and ports wait for somebody to look after its files."""
    _, node_id, instance_id = settled

    deletion = remove(store, settled)

    assert (OperationStatus.SUCCEEDED, None, {}, 0, 0) == (
        deletion["status"],
        store.instances.find(instance_id),
        daemon.containers,
        store.nodes.get(node_id)["allocated"]["memory_mib"],
        store.nodes.get(node_id)["allocated"]["instances"],
    )


def test_the_operation_names_what_is_left(store, settled):
    """With the place on the node's disk, and the daemon's reason."""
    left = remove(store, settled)["leftovers"]

    assert (f"/daemon/volumes/{settled[2]}", ["logs"]) == (left["path"], left["names"])
    assert "EPERM" in left["reason"]


def test_the_record_of_changes_names_what_is_left(store, settled):
    """In an entry of the worker's own, with the request that asked for the deletion."""
    remove(store, settled)

    [entry] = store.audit.list_newest({}, since=None, before=None, limit=10)
    assert ("worker.remove", settled[2], "key-1", "request-1", "done") == (
        entry["action"],
        entry["target_id"],
        entry["key_id"],
        entry["request_id"],
        entry["outcome"],
    )
    assert ["logs"] == entry["after"]["leftovers"]["names"]


def look(store, settled, config):
    """Have the doctor look; answer what it says of leftovers."""
    found = doctor.examine(
        store, settled[0], Vault(config.secret_key), data_dir=config.data_dir,
        probe_interval_s=60, now=lambda: NOON,
    )  # fmt: skip
    return [finding for finding in found if finding.subject.startswith("leftovers of ")]


@pytest.mark.heavy
def test_the_doctor_names_what_is_left(store, settled, config):
    """A warning for each, with the place and what to do."""
    remove(store, settled)

    [finding] = look(store, settled, config)

    assert ("warn", True, True) == (
        finding.level,
        f"'logs' in /daemon/volumes/{settled[2]}" in finding.found,
        settled[2] in finding.remedy,
    )


@pytest.mark.heavy
def test_nothing_is_said_where_nothing_is_left(store, settled, daemon, config):
    """An ordinary removal leaves no trace."""
    daemon.volumes[settled[2]] = {"world.dat": "x"}

    deletion = remove(store, settled)

    assert (False, []) == ("leftovers" in deletion, look(store, settled, config))


def clear(store, settled):
    """Ask for what is left to be removed once more, as a difference of the node."""
    open_driver, node_id, instance_id = settled
    resolution = {"adopt": [], "remove": [instance_id], "recreate": []}
    [done] = drift.resolve(store, open_driver, node_id, resolution, origin=AT_NOON)
    run_due(store, open_driver)
    return store.operations.get(done.operation_id)


def test_what_somebody_deleted_on_the_node_is_forgotten(store, settled, daemon):
    """Once it is looked for again, and not found."""
    remove(store, settled)
    del daemon.volumes[settled[2]]

    cleared = clear(store, settled)

    assert (OperationStatus.SUCCEEDED, []) == (cleared["status"], store.leftovers.all())


def test_what_is_still_there_is_not_forgotten(store, settled):
    """It is only looked for, and named again."""
    remove(store, settled)

    cleared = clear(store, settled)

    assert ["logs"] == cleared["leftovers"]["names"] == store.leftovers.all()[0]["names"]


def test_what_is_left_is_forgotten_with_its_node(store, settled):
    """Nobody can look for it any more."""
    remove(store, settled)

    nodes.delete(store, settled[1], now=NOON)

    assert [] == store.leftovers.all()
