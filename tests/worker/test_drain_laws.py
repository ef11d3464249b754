"""Laws of drains: whatever happens in whatever order, a few are on their way, and none is lost."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from copy import copy
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service import drains, instances
from service.drivers.memory import MemoryNodes
from service.errors import CapacityExceeded, NoDrain, NotFound, WrongStatus
from service.model.drains import DrainStatus
from service.model.lifecycle import NodeStatus
from service.worker.draining import Draining
from tests.draining import BY_KEY, Crash, Fleet
from tests.support import AT_NOON, NOON

pytestmark = pytest.mark.heavy

ACTS = st.lists(
    st.sampled_from(
        ["start", "pause", "resume", "undo", "move back", "turn", "turn", "stale turn",
         "die before", "die after", "arrive", "fail", "refuse", "allow", "down", "up", "wait",
         "delete"]
    ),
    max_size=20,
)  # fmt: skip


@pytest.mark.slow
@given(acts=ACTS)
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_drain_ends_whatever_happens(store, database, acts):
    """Never more than two are on their way, and all that is known is true; then it is done."""
    database["meta"].delete_one({"_id": "drains"})
    fleet = Fleet(store, MemoryNodes())
    made = fleet.deploy(5)
    fleet.start()
    stale = fleet.drain()

    for act in acts:
        with suppress(Crash, NoDrain, NotFound, WrongStatus):
            do(fleet, made, stale, act)
        assert fleet.drain()["moving"].keys() >= {
            operation["instance_id"] for operation in fleet.list_open()
        }
        assert len(fleet.list_open()) <= 2

    do(fleet, made, stale, "up")
    do(fleet, made, stale, "allow")
    for _ in range(3):  # what was undone moves back first, and may be stuck for a while
        fleet.now += timedelta(seconds=60)
        fleet.run()
    fleet.start()
    with suppress(WrongStatus):
        drains.resume(store, fleet.home, origin=BY_KEY)
    fleet.run()
    assert (0, DrainStatus.DONE) == (fleet.count_home(), fleet.status())
    assert {*made} == {each["_id"] for each in store.instances.list_owned(fleet.user["_id"])}
    held = [node["allocated"]["instances"] for node in store.nodes.list_by_ids(fleet.nodes)]
    assert len(made) == sum(held)


def do(fleet, made, stale, act):  # noqa: PLR0912 - a line or two for each act
    """Do one act."""
    store, home = fleet.store, fleet.home
    match act:
        case "start":
            fleet.start()
        case "pause":
            drains.pause(store, home, origin=BY_KEY)
        case "resume":
            drains.resume(store, home, origin=BY_KEY)
        case "undo" | "move back":
            drains.undo(store, home, move_back=act == "move back", origin=BY_KEY)
        case "turn":
            fleet.worker().take_turn(fleet.drain())
        case "stale turn":
            fleet.worker("late").take_turn(stale)
        case "die before" | "die after":
            fleet.crash_at = act.removeprefix("die ")
            try:
                fleet.worker().take_turn(fleet.drain())
            finally:
                fleet.crash_at = None
        case "arrive" | "fail":
            for operation in fleet.list_open()[:1]:
                fleet.end(operation, error="No." if act == "fail" else None)
        case "refuse":
            fleet.refusals = dict.fromkeys([made[0], fleet.nodes[1]], CapacityExceeded("Full."))
        case "allow":
            fleet.refusals = {}
        case "down" | "up":
            status = NodeStatus.OFFLINE if act == "down" else NodeStatus.ONLINE
            store.nodes.update(home, {"status": status})
        case "wait":
            fleet.now += timedelta(seconds=60)
        case "delete":
            busy = {operation["instance_id"] for operation in fleet.list_open()}
            free = [instance_id for instance_id in made if instance_id not in busy]
            if len(made) > 3 and free:
                instances.delete_by_force(store, free[0], origin=AT_NOON)
                made.remove(free[0])
                fleet.remove_all()


def test_many_workers_at_once_keep_the_bound(store, database, memory_nodes):
    """Those that lost the duty and do not know it begin none twice, and not one too many."""
    fleet = Fleet(store, memory_nodes)
    fleet.deploy(12)
    fleet.start(at_once=3)

    while fleet.status() != DrainStatus.DONE:
        read = fleet.drain()
        with ThreadPoolExecutor(4) as pool:
            turns = [pool.submit(fleet.worker(f"w{n}").take_turn, read) for n in range(4)]
            for turn in turns:
                turn.result()
        assert len(fleet.list_open()) <= 3
        fleet.end_all()

    assert (0, 12) == (fleet.count_home(), len(fleet.drain()["moved"]))


def test_nothing_is_begun_once_a_pause_is_answered(store, database, memory_nodes):
    """Workers are in the middle of their turns then."""
    fleet = Fleet(store, memory_nodes)
    fleet.deploy(6)
    fleet.start(at_once=6)
    read = fleet.drain()

    with ThreadPoolExecutor(4) as pool:
        turns = [pool.submit(fleet.worker(f"w{n}").take_turn, read) for n in range(3)]
        drains.pause(store, fleet.home, origin=BY_KEY)
        paused = len(fleet.list_open())
        for turn in turns:
            turn.result()

    assert paused == len(fleet.list_open())


class Dying:
    """The drains of a store, for a worker that dies at one of its calls: before it, or after."""

    def __init__(self, drains_, *, at, after):
        self._drains, self._left, self._after = drains_, at, after

    def __getattr__(self, name):
        method = getattr(self._drains, name)

        def call(*args, **kwargs):
            self._left -= 1
            if self._left == 0 and not self._after:
                raise Crash
            result = method(*args, **kwargs)
            if self._left == 0:
                raise Crash
            return result

        return call


@pytest.mark.slow
@pytest.mark.parametrize("after", [False, True])
def test_a_worker_may_die_at_any_moment(store, database, memory_nodes, after):
    """The next one moves each instance once, and counts each; one is stuck and then is not."""
    died, moment = True, 0
    while died:
        died, moment = False, moment + 1
        fleet = Fleet(store, memory_nodes)
        stuck, *_ = made = fleet.deploy(3)
        fleet.refusals[stuck] = CapacityExceeded("Full.")
        fleet.start()
        dying = copy(store)
        dying.drains = Dying(store.drains, at=moment, after=after)
        worker = Draining(dying, "w", begin=fleet.begin, rank=fleet.rank, now=lambda: NOON)
        try:
            while fleet.status() != DrainStatus.BLOCKED:
                worker.take_turn(fleet.drain())
                fleet.end_all()
        except Crash:
            died = True

        while fleet.status() != DrainStatus.BLOCKED:
            fleet.worker().take_turn(fleet.drain())
            fleet.end_all()
        assert ([stuck], {*made} - {stuck}) == (
            [*fleet.drain()["stuck"]],
            {*fleet.drain()["moved"]},
        )
        owned = [each["instance_id"] for each in store.operations.all()
                 if each["instance_id"] in made and each["kind"] == "restart"]  # fmt: skip
        assert sorted({*made} - {stuck}) == sorted(owned)
    assert moment > 10
