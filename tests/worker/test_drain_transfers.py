"""Drains with real transfers, on nodes in memory: where the instances and their files are then."""

from datetime import timedelta
from itertools import count

import pytest

from service import drains, instances, transfer_targets, transfers
from service.errors import NoNodeFits
from service.model.drains import DrainStatus
from service.model.lifecycle import NodeStatus, Power
from service.model.ports import parse
from service.worker.draining import Draining
from tests.support import AT_NOON, NOON, a_node, a_user, an_image, an_order, eventually, run_due


class Fleet:
    """Three nodes, of which the first is drained."""

    def __init__(self, store, memory_nodes):
        self.store, self.memory_nodes, self.now = store, memory_nodes, NOON
        self.home, *self.others = (
            a_node(store, memory_nodes, name=f"n{n}", ram="4")["_id"] for n in range(3)
        )
        self.user, self.image, self._ports = a_user(store), an_image(store), count(8000)
        self.draining = Draining(
            store, "w", begin=transfers.begin, rank=transfer_targets.rank, now=lambda: self.now
        )

    def deploy(self, number, **over):
        """Add instances that run, with host ports from 8000 on."""
        made = []
        for _ in range(number):
            order = an_order(
                self.user, {"_id": self.home}, self.image,
                **{"ports": parse(f"80:{next(self._ports)}"), "primary": None, **over},
            )  # fmt: skip
            made.append(instances.deploy(self.store, order, origin=AT_NOON)[0]["_id"])
        run_due(self.store, self.memory_nodes)
        return made

    def run(self):
        """Take turns and carry out operations until nothing happens."""
        for _ in range(60):
            turned = self.draining.turn()
            if not run_due(self.store, self.memory_nodes) and not turned:
                return

    def drain(self):
        """Read the drain."""
        return self.store.drains.get(self.home)


@pytest.fixture
def fleet(store, database, memory_nodes):
    """No worker of an earlier test has the duty any more."""
    database["meta"].delete_one({"_id": "drains"})
    return Fleet(store, memory_nodes)


@pytest.mark.heavy
def test_twenty_instances_run_elsewhere_then(fleet):
    """Spread over the other nodes, with their ports; nothing is left on the node."""
    made = fleet.deploy(20)
    drains.start(fleet.store, fleet.home, at_once=3, origin=AT_NOON)

    fleet.run()

    now = fleet.store.instances.list_by_ids(made)
    assert (DrainStatus.DONE, {}) == (fleet.drain()["status"], fleet.drain()["stuck"])
    assert ({*fleet.others}, {Power.RUNNING}) == (
        {each["node_id"] for each in now},
        {each["power"] for each in now},
    )
    assert [*range(8000, 8020)] == sorted(port for each in now for port in each["ports"])
    assert {} == fleet.memory_nodes[fleet.home].containers
    counts = [sum(each["node_id"] == node for each in now) for node in fleet.others]
    assert max(counts) - min(counts) <= 2


@pytest.mark.heavy
def test_an_undo_moves_all_back(fleet):
    """To where it was, and it runs there."""
    made = fleet.deploy(4)
    drains.start(fleet.store, fleet.home, at_once=2, origin=AT_NOON)
    fleet.run()

    drains.undo(fleet.store, fleet.home, move_back=True, origin=AT_NOON)
    fleet.run()

    now = fleet.store.instances.list_by_ids(made)
    assert (DrainStatus.UNDONE, 4) == (fleet.drain()["status"], fleet.drain()["returned"])
    assert {(fleet.home, Power.RUNNING)} == {(each["node_id"], each["power"]) for each in now}


@pytest.mark.heavy
def test_what_fits_nowhere_stays_and_says_why(fleet):
    """The rest is moved."""
    [large] = fleet.deploy(1, memory_mib=3000)
    fleet.deploy(2, memory_mib=500)
    for node in fleet.others:
        capacity = {"memory_mib": 1200, "cpu_milli": None, "disk_mib": None}
        fleet.store.nodes.change(node, {"capacity": capacity})
    drains.start(fleet.store, fleet.home, at_once=2, origin=AT_NOON)

    fleet.run()

    drain = fleet.drain()
    assert (DrainStatus.BLOCKED, [large], 2) == (
        drain["status"], [*drain["stuck"]], len(drain["moved"])
    )  # fmt: skip
    stuck = drain["stuck"][large]
    assert "no_node_fits" == stuck["code"]
    assert (
        "None of the nodes fits. n1: The node has not enough memory left.; n2: "
        in (stuck["reason"])
    )


@pytest.mark.heavy
def test_a_target_that_dies_is_replaced_by_another(fleet):
    """What was on its way there is undone, and goes elsewhere after a while."""
    [moved] = fleet.deploy(1)
    drains.start(fleet.store, fleet.home, at_once=1, origin=AT_NOON)
    fleet.draining.turn()
    dead = fleet.drain()["moving"][moved]["node_id"]
    fleet.memory_nodes[dead].faults.refuse("The disk is full.")
    fleet.run()
    assert [moved] == [*fleet.drain()["stuck"]]
    fleet.store.nodes.update(dead, {"status": NodeStatus.OFFLINE})

    fleet.now += timedelta(seconds=5)
    fleet.run()

    [there] = {*fleet.others} - {dead}
    assert (there, DrainStatus.DONE) == (
        fleet.store.instances.get(moved)["node_id"],
        fleet.drain()["status"],
    )


@pytest.mark.heavy
def test_an_instance_on_its_way_to_the_node_is_waited_for(fleet):
    """The drain is not done before it arrives, and is moved on."""
    [coming] = fleet.deploy(1)
    target = fleet.others[0]
    transfers.begin(fleet.store, coming, node_id=target, origin=AT_NOON)
    drains.start(fleet.store, target, at_once=1, origin=AT_NOON)
    fleet.draining.turn()
    assert DrainStatus.RUNNING == fleet.store.drains.get(target)["status"]

    fleet.run()

    assert DrainStatus.DONE == fleet.store.drains.get(target)["status"]
    assert target != fleet.store.instances.get(coming)["node_id"]


def test_nowhere_to_go_is_said(fleet):
    """With the reason of each node."""
    [stays] = fleet.deploy(1)
    fleet.store.nodes.update(fleet.others[0], {"status": NodeStatus.OFFLINE})
    fleet.store.nodes.change(fleet.others[1], {"schedulable": False})

    with pytest.raises(NoNodeFits) as refused:
        transfer_targets.begin(fleet.store, stays, node_id="auto", origin=AT_NOON)

    assert {"offline": 1, "maintenance": 1} == refused.value.details["reasons"]
    assert {"n1", "n2"} == {node["name"] for node in refused.value.details["nodes"]}


def test_nothing_is_moved_to_a_node_of_the_same_engine(fleet, memory_nodes):
    """What it leaves on its node would be what it has on the other."""
    [stays] = fleet.deploy(1)
    for node in (fleet.home, *fleet.others):
        report = fleet.store.nodes.get(node)["report"]
        same = {"report": {**report, "engine_id": "one"}, "same_engine_as": "another"}
        fleet.store.nodes.change(node, same)

    with pytest.raises(NoNodeFits) as refused:
        transfer_targets.begin(fleet.store, stays, node_id="auto", origin=AT_NOON)

    assert {"It is the same engine."} == {
        node["message"] for node in refused.value.details["nodes"]
    }


@pytest.mark.heavy
def test_a_worker_drains_nodes(fleet, worker):
    """Beside all that it does."""
    made = fleet.deploy(3)

    drains.start(fleet.store, fleet.home, at_once=3, origin=AT_NOON)

    assert eventually(lambda: fleet.drain()["status"] == DrainStatus.DONE)
    assert {*made} == {*fleet.drain()["moved"]}
