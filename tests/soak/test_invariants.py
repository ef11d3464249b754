"""What the soak looks for is found where it is."""

import pytest

from service import instances
from service.app import utc_now
from service.drivers.process import ProcessRunner
from service.model.container import make_spec
from service.model.lifecycle import Power
from service.model.origin import Origin
from service.model.ports import parse
from tests.soak.arena import open_arena
from tests.soak.clients import LONG, Told
from tests.soak.invariants import Invariants
from tests.soak.machines import find_folder, sum_up
from tests.support import an_order, eventually, run_due

pytestmark = pytest.mark.spawns


@pytest.fixture
def arena():
    """Three nodes, of which the first has an instance that has written its files."""
    with open_arena("process") as made:
        order = an_order(
            made.user, made.nodes[0], made.image, memory_mib=64, cpu_milli=100,
            ports=parse(f"80:{made.ports[0]}"), primary=str(made.ports[0]),
        )  # fmt: skip
        made.instance_id = instances.deploy(made.store, order, origin=Origin(utc_now()))[0]["_id"]
        run_due(made.store, made.open_driver)
        node_id = made.nodes[0]["_id"]
        assert eventually(lambda: sum_up(made.config, node_id, made.instance_id))
        yield made


def test_every_violation_is_found(arena):
    """And none where all is well: each thing that was made wrong is named."""
    name, (here, there, _) = arena.instance_id, arena.nodes
    told = Told(deployed={name}, runs={name: True})
    invariants = Invariants(arena, told)
    assert [] == invariants.list_unsettled() + invariants.find_violations()

    instance = arena.store.instances.get(name)
    elsewhere = ProcessRunner(there["_id"], root=find_folder(arena.config, there["_id"]))
    elsewhere.create(make_spec(instance), checkpoint=lambda: None)
    (find_folder(arena.config, here["_id"]) / name / "data" / "files" / "more").touch()
    arena.store.instances.update(name, {"power": Power.STOPPED, "memory_mib": 32})
    told.deployed.add("i-gone")
    told.kept["i-kept"] = LONG
    told.deleted.add(name)

    found = "\n".join(invariants.find_violations())

    for text in (
        f"{name} is on {there['_id']} too",
        f"{name} had VolumeDigest",
        "should be running, and says stopped",
        "should have 32 MiB",
        "soak-0 promised",
        "doctor: Finding",
        "deployed, but gone: i-gone",
        "kept for 1h, but gone: i-kept",
        f"deleted, but there: {name}",
    ):
        assert text in found
