"""How it is seen that programs are ready, on nodes in memory and a real database."""

import threading
import time
from contextlib import contextmanager

import pytest

from service import instances
from service.app import utc_now
from service.model.lifecycle import NodeStatus, NotReady, OperationKind, Phase, Power, PowerAction
from service.model.ports import parse
from service.worker import phases
from service.worker.phases import LOOKS, NODE_LOOKS, PhaseWatch
from service.worker.reconcile import reconcile
from tests.support import AT_NOON, NOON, a_node, an_image, an_order, eventually, run_due

TIMEOUT_S = 300


@pytest.fixture(autouse=True)
def nobody_looks(database):
    """No worker has the duty, before and afterwards."""
    database["meta"].delete_one({"_id": "phases"})
    yield
    database["meta"].delete_one({"_id": "phases"})


def a_check(kind, value=""):
    """Make what an image says."""
    return {"kind": kind, "value": value, "timeout_s": TIMEOUT_S}


LOG = a_check("log", "Done (")


@pytest.fixture
def start(store, memory_nodes, place):
    """Return a function that deploys an instance of an image that says when it is ready."""
    ports = iter(range(8080, 9000))

    def start(check=LOG, node=place[1]):
        port = next(ports)
        image = an_image(store, ready=check)
        order = an_order(place[0], node, image, ports=parse(f"80:{port}"), primary=str(port))
        instance, _ = instances.deploy(store, order, origin=AT_NOON)
        run_due(store, memory_nodes)
        return instance["_id"]

    return start


@pytest.fixture
def watch(store, memory_nodes):
    """What a worker that has the duty knows."""
    return PhaseWatch(store, memory_nodes, "t", now=lambda: NOON)


def look(watch, store, instance_id):
    """Look at all once, and return how far the instance is then."""
    watch.read()
    for begun in watch._starts.values():
        begun.look_at = 0.0
    watch.look()
    assert eventually(lambda: not watch._looking)
    return phase(store, instance_id)


def phase(store, instance_id):
    """Return how far the instance is, and why it is not ready."""
    instance = store.instances.get(instance_id)
    return instance["phase"], instance["not_ready"]


@contextmanager
def keeping(watch, store):
    """Have a thread keep the duty."""
    stopping = threading.Event()
    thread = threading.Thread(target=watch.keep, args=(stopping,))
    store.changes.subscribe_to_phases(watch.wake)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        watch.wake()
        thread.join()
        store.changes.unsubscribe(watch.wake)


STARTING, READY = (Phase.STARTING, None), (Phase.READY, None)


@pytest.mark.parametrize(
    ("check", "printed"),
    [
        (LOG, "[12:00:00] Done (3.2s)! For help, type help\n"),
        (LOG, "Done ("),
        (a_check("pattern", r"Done \(\d+"), "Loading\nDone (17s)\n"),
    ],
)
def test_it_is_ready_when_it_prints_that(store, watch, start, here, check, printed):
    """Also in a line that has no end yet."""
    instance = start(check)
    assert STARTING == look(watch, store, instance)
    here.containers[instance].log = "Loading, not Done yet\n"
    assert STARTING == look(watch, store, instance)

    here.containers[instance].log += printed

    assert READY == look(watch, store, instance)
    assert NOON == store.instances.get(instance)["ready_at"]


def test_it_is_ready_when_its_port_is_served(store, watch, start, here):
    """Its primary host port."""
    instance = start(a_check("port"))
    here.served[8081] = {}
    assert STARTING == look(watch, store, instance)

    here.served[8080] = {}

    assert READY == look(watch, store, instance)


def test_it_is_ready_when_it_answers_well(store, watch, start, here):
    """An error is no answer that counts."""
    instance = start(a_check("http", "/health"))
    here.served[8080] = {"/health": 503, "/": 200}
    assert STARTING == look(watch, store, instance)

    here.served[8080] = {"/health": 204}

    assert READY == look(watch, store, instance)


def test_what_was_printed_by_the_start_before_does_not_count(
    store, memory_nodes, watch, start, here, place
):
    """A restart is ready when it says so itself."""
    instance = start()
    here.containers[instance].log = "Done (1s)\n"
    assert READY == look(watch, store, instance)

    instances.change_power(store, instance, OperationKind.RESTART, origin=AT_NOON)
    run_due(store, memory_nodes)

    assert STARTING == look(watch, store, instance)
    here.containers[instance].log += "Done (2s)\n"
    assert READY == look(watch, store, instance)


@pytest.fixture
def held(watch, start, here):
    """An instance that is being looked at, until its node is released."""
    instance = start()
    here.containers[instance].log = "Done (1s)\n"
    here.faults.stall()
    watch.read()
    watch.look()
    assert here.faults.await_stalled()
    return instance


def let_go(watch, here):
    """Have the look come to its end."""
    here.faults.release()
    assert eventually(lambda: not watch._looking)


def test_a_late_look_says_nothing_of_a_newer_start(store, watch, here, held):
    """It was started again while it was looked at."""
    store.instances.update(held, {"power": Power.STOPPED})
    store.instances.update(held, {"power": Power.RUNNING})

    let_go(watch, here)

    assert STARTING == phase(store, held)


def test_a_late_look_says_nothing_of_what_was_stopped(store, watch, here, held):
    """It was suspended while it was looked at."""
    store.instances.update(held, {"power": Power.STOPPED})

    let_go(watch, here)

    assert (None, NotReady.STOPPED) == phase(store, held)


def test_a_late_look_says_nothing_of_another_image(store, watch, here, held):
    """It was changed while it was looked at."""
    changed = {"power": Power.RUNNING, "ready": a_check("log", "Up")}
    store.instances.update(held, changed)

    let_go(watch, here)

    assert STARTING == phase(store, held)


def test_a_late_look_makes_nothing_of_what_was_deleted(store, watch, here, held):
    """It is gone."""
    store.transaction(lambda session: store.instances.remove(held, session=session))

    let_go(watch, here)

    assert store.instances.find(held) is None


def test_its_time_is_over(store, watch, start, here):
    """Nobody looks at it from then on."""
    instance = start()
    look(watch, store, instance)
    store.instances.update(instance, {"ready_by": NOON})

    assert (Phase.STARTING, NotReady.TIMEOUT) == look(watch, store, instance)
    here.containers[instance].log = "Done (1s)\n"
    assert (Phase.STARTING, NotReady.TIMEOUT) == look(watch, store, instance)


def test_a_node_that_is_down_is_not_asked(store, watch, start, here, node):
    """What starts there is looked at when it is back."""
    instance = start()
    here.containers[instance].log = "Done (1s)\n"
    store.nodes.update(node["_id"], {"status": NodeStatus.OFFLINE})
    calls = here.calls

    assert STARTING == look(watch, store, instance)
    assert calls == here.calls
    store.nodes.update(node["_id"], {"status": NodeStatus.ONLINE})
    assert READY == look(watch, store, instance)


def test_a_node_that_does_not_answer_is_left_alone_for_a_while(store, watch, start, here, node):
    """And asked once then."""
    first, _ = start(), start()
    here.faults.silence()
    look(watch, store, first)
    calls = here.calls

    again = watch.look()
    assert calls == here.calls
    assert again > time.monotonic() + phases.MAX_PAUSE_S
    watch._silent_until[node["_id"]] = 0.0
    here.faults.behave()
    here.faults.stall()
    for begun in watch._starts.values():
        begun.look_at = 0.0
    watch.look()
    assert 1 == watch._looking[node["_id"]]
    let_go(watch, here)


@pytest.mark.heavy
def test_a_node_that_hangs_holds_up_no_other(store, memory_nodes, watch, start, here, node):
    """And gets a few looks at a time, whatever number of programs start there."""
    other = a_node(store, memory_nodes, name="other")
    for _ in range(NODE_LOOKS + 2):
        start()
    elsewhere = start(node=other)
    memory_nodes[other["_id"]].containers[elsewhere].log = "Done (1s)\n"
    here.faults.stall()

    watch.read()
    watch.look()

    assert eventually(lambda: phase(store, elsewhere) == READY)
    assert NODE_LOOKS == watch._looking[node["_id"]]
    assert NODE_LOOKS < LOOKS
    let_go(watch, here)


def test_each_pause_is_longer(store, watch, start):
    """Up to a second."""
    instance = start()
    for _ in range(8):
        look(watch, store, instance)

    assert phases.MAX_PAUSE_S == watch._starts[instance].pause_s


def test_who_has_the_duty_is_woken(store, memory_nodes, start, here):
    """What starts is looked at as soon as it does, by one that never reads by itself."""
    watch = PhaseWatch(store, memory_nodes, "t", read_again_s=3600.0, now=utc_now)
    with keeping(watch, store):
        instance = start()
        assert eventually(lambda: watch._starts)
        here.containers[instance].log = "Done (1s)\n"

        assert eventually(lambda: phase(store, instance) == READY)
        assert eventually(lambda: not watch._starts)


def test_another_worker_goes_on(store, memory_nodes, start, here):
    """When the one that had the duty fell silent."""
    silent = PhaseWatch(store, memory_nodes, "silent", now=utc_now)
    instance = start()
    assert store.phase_duty.take("silent", lease_s=0)
    silent.read()
    here.containers[instance].log = "Done (1s)\n"

    with keeping(PhaseWatch(store, memory_nodes, "next", now=utc_now), store):
        assert eventually(lambda: phase(store, instance) == READY)


def test_only_one_worker_looks(store, memory_nodes, watch, start, here):
    """The others stand by."""
    start()
    assert store.phase_duty.take("another", lease_s=30)
    calls = here.calls

    assert watch.keep(threading.Event()) is False
    assert calls == here.calls


def test_who_stops_hands_the_duty_over(store, watch):
    """At once."""
    assert store.phase_duty.take("t", lease_s=30)
    with keeping(watch, store):
        assert not store.phase_duty.take("next", lease_s=30)

    assert store.phase_duty.take("next", lease_s=30)


@pytest.mark.heavy
def test_a_worker_does_all_that(store, start, here, worker):
    """With its other work, and without a word of anybody."""
    instance = start()
    assert eventually(lambda: phase(store, instance) == STARTING)

    here.containers[instance].log = "Done (1s)\n"

    assert eventually(lambda: phase(store, instance) == READY)


def test_a_program_that_ends_before_it_is_ready_says_so(store, memory_nodes, place, start, here):
    """With what is seen after a probe."""
    instance = start()
    here.containers[instance].reason = "It ended by itself."
    here.power(instance, PowerAction.KILL)

    reconcile(store, memory_nodes, place[1], now=NOON)

    assert (None, NotReady.EXITED) == phase(store, instance)
