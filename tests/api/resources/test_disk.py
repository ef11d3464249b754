"""Disk of nodes, which is admitted where they say so."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from service import adoption, instances, probing
from service.drivers.process.machine import describe_machine
from service.model.container import ContainerStatus
from service.model.lifecycle import Power
from tests.support import AT_NOON, DEPLOY, NOON, a_body, run_due

PORTS = iter(range(10_000, 20_000))


def edit(api, place, **changes):
    """Change the node."""
    return api.send("PATCH", f"/api/nodes/{place[1]['_id']}", json=changes)


def deploy(api, place, disk):
    """Deploy an instance with so many GB, as the reference says it."""
    port = next(PORTS)
    return api.post(DEPLOY, a_body(place, disk=disk, ports=f"80:{port}", primary=str(port)))


def promised(store, place):
    """What the node has promised of its disk, in MiB."""
    return store.nodes.get(place[1]["_id"])["allocated"]["disk_mib"]


def test_disk_is_not_admitted_unless_a_node_says_so(api, store, place):
    """Clients that send any disk are served as before, and it is counted."""
    edit(api, place, disk="20")

    assert [201] * 5 == [deploy(api, place, 10).status for _ in range(5)]
    assert 5 * 10 * 1024 == promised(store, place)


def test_no_more_than_there_is(api, store, place):
    """The error has the numbers; what needs none is let in."""
    shown = edit(api, place, disk="20", diskOverallocate=50).json
    answers = [deploy(api, place, 12.5), deploy(api, place, 17.5), deploy(api, place, 0.5)]

    assert [201, 201, 409] == [answer.status for answer in answers]
    assert (30 * 1024, 50, 0) == (
        shown["diskMib"], shown["diskOverallocate"], shown["allocatedDiskMib"]
    )  # fmt: skip
    assert "capacity_exceeded" == answers[-1].json["code"]
    expected = {
        "requestedDiskMib": 512, "allocatedDiskMib": 30 * 1024, "capacityDiskMib": 30 * 1024
    }  # fmt: skip
    assert expected == answers[-1].json["details"]
    assert 201 == deploy(api, place, "left out").status


def test_what_is_gone_gives_its_disk_back(api, store, memory_nodes, place):
    """As much as it was promised."""
    edit(api, place, disk="10", diskOverallocate=0)
    deployed = deploy(api, place, 10.3 - 0.3)
    refused = deploy(api, place, 1)
    run_due(store, memory_nodes)

    instances.delete(store, deployed.json["Id"], origin=AT_NOON)
    run_due(store, memory_nodes)

    assert [201, 409] == [deployed.status, refused.status]
    assert 0 == promised(store, place)


@pytest.mark.heavy
def test_a_change_of_memory_needs_no_disk(api, store, memory_nodes, place):
    """A node whose disk is promised beyond its limit goes on, and says so."""
    deployed = deploy(api, place, 10)
    run_due(store, memory_nodes)
    shown = edit(api, place, disk="5", diskOverallocate=0).json

    path = f"/api/instances/{deployed.json['Id']}"
    changed = api.send("PATCH", path, json={"memory": 256})
    run_due(store, memory_nodes)

    assert 202 == changed.status
    assert ["More disk is promised than it may give away: 10240 MiB of 5120 MiB."] == [
        each for each in shown["warnings"] if "disk" in each
    ]
    assert (256, 10240) == (api.get(path).json["Memory"], promised(store, place))


def test_what_runs_already_is_let_in(api, store, memory_nodes, place):
    """An adopted container is no more than it was, whatever the node has left."""
    edit(api, place, disk="10", diskOverallocate=0)
    deployed = deploy(api, place, 10).json["Id"]
    run_due(store, memory_nodes)
    store.instances._collection.delete_one({"_id": deployed})
    wish = {"id": deployed, "user": place[0]["_id"], "name": None}
    status = ContainerStatus("c", Power.RUNNING)

    adopted = adoption.draft(store, memory_nodes, place[1], wish, status, now=NOON)
    adoption.add(store, adopted)

    assert 2 == store.nodes.get(place[1]["_id"])["allocated"]["instances"]


@pytest.mark.heavy
def test_many_at_once_never_pass_it(api, store, place):
    """As many as fit are taken on."""
    edit(api, place, disk="50", diskOverallocate=0)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: deploy(api, place, 10), range(16)))

    assert {201: 5, 409: 11} == {
        status: sum(answer.status == status for answer in answers) for status in (201, 409)
    }
    assert 50 * 1024 == promised(store, place)


@pytest.mark.parametrize(
    ("disk", "over", "capacity"),
    [
        (None, 0, 100_000),  # what the engine reports
        (None, 100, 200_000),
        ("10", 0, 10_240),  # the operator knows better
        (None, None, None),
        (None, -1, None),
    ],
)
def test_what_an_engine_reports_counts(api, store, memory_nodes, place, disk, over, capacity):
    """Where nobody says how much there is."""
    memory_nodes[place[1]["_id"]].disk_mib = 100_000
    edit(api, place, disk=disk, diskOverallocate=over)

    probing.probe(store, memory_nodes, store.nodes.get(place[1]["_id"]), now=NOON)

    assert capacity == api.get(f"/api/nodes/{place[1]['_id']}").json["diskMib"]


def test_a_node_that_does_not_know_says_so(api, place):
    """Its disk is not limited."""
    shown = edit(api, place, disk="plenty", diskOverallocate=0).json

    assert shown["diskMib"] is None
    assert any("disk is not limited" in each for each in shown["warnings"])


@pytest.mark.parametrize("value", ["much", -2, True, 1.5])
def test_what_is_wrong_is_named(api, place, value):
    """The node stays as it is."""
    answer = edit(api, place, diskOverallocate=value)

    assert (400, ["diskOverallocate"]) == (answer.status, list(answer.json["details"]))


def test_this_machine_knows_its_disk(tmp_path):
    """Also of a folder that is not made yet."""
    assert describe_machine(tmp_path / "a" / "b").disk_mib > 0
