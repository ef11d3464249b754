"""Nodes that answer probes and swallow everything else: their trouble costs only themselves."""

from itertools import count

import pytest

from service import instances
from service.app import make_worker
from service.drivers.docker.engine import DockerEngine
from service.model.lifecycle import InstanceState, Lane, OperationKind, OperationStatus, Power
from service.model.ports import parse
from service.store.due import SLOW_S, Limits, Room
from service.store.nodes import TRIAL_AFTER
from service.worker.job import claim
from service.worker.slots import HELD, Begun, find_room, is_held
from tests.sick_engines import SickEngines
from tests.support import AT_NOON, NOON, a_node, a_user, an_image, an_order, eventually, run_due

ALL = frozenset(Lane)
PORTS = count(10_000)


@pytest.fixture
def owner(store):
    """A user and an image."""
    return a_user(store), an_image(store)


def take_on(store, owner, node):
    """Take on an instance; answer it and its operation."""
    user, image = owner
    port = next(PORTS)
    order = an_order(user, node, image, ports=parse(f"80:{port}"), primary=port)
    return instances.deploy(store, order, origin=AT_NOON)


def state(store, instance):
    """Return the state of an instance."""
    return store.instances.get(instance["_id"])["state"]


# The whole


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("sick", "waiting"),
    [
        (4, 8),
        pytest.param(20, 6, marks=pytest.mark.slow),
        pytest.param(100, 2, marks=pytest.mark.slow),
    ],
)
def test_a_deploy_on_a_healthy_node_does_not_wait_for_sick_ones(
    config, store, memory_nodes, owner, sick, waiting
):
    """It is READY while the calls of all sick nodes hang."""

    def open_driver(node, **options):
        if node["driver"] == "memory":
            return memory_nodes(node, **options)
        url = f"tcp://{node['address']}:{node['port']}"
        return DockerEngine(node["_id"], base_url=url, read_timeout_s=600, **options)

    healthy = a_node(store, memory_nodes, name="healthy")
    with SickEngines(sick) as engines:
        nodes = [
            a_node(store, memory_nodes, driver="docker", address="127.0.0.1", port=port)
            for port in engines.ports
        ]
        worker = make_worker(config, store, open_driver)
        worker.start()
        try:
            for node in nodes:
                for _ in range(waiting):
                    take_on(store, owner, node)
            assert eventually(lambda: len(engines.holding) == sick, timeout_s=120)
            instance, _ = take_on(store, owner, healthy)

            assert eventually(lambda: state(store, instance) == InstanceState.READY)
            assert sick == len(engines.holding)
        finally:
            worker.stop(timeout_s=0)


@pytest.fixture
def pulling(store, memory_nodes, owner, worker):
    """A node on which an instance runs, and as many pulls as it may have at a time."""
    node = a_node(store, memory_nodes)
    ready, _ = take_on(store, owner, node)
    assert eventually(lambda: state(store, ready) == InstanceState.READY)
    here = memory_nodes[node["_id"]]
    here.pulls = True
    here.faults.hold_pulls()
    for _ in range(6):
        take_on(store, owner, node)
    assert eventually(lambda: store.operations.count_by("status").get("running") == 4)
    yield ready, here
    here.faults.release()


@pytest.mark.heavy
def test_a_suspension_does_not_wait_for_pulls_of_its_node(store, pulling):
    """Deploys that fill their lane leave the other to what is short."""
    ready, here = pulling

    instances.suspend(store, ready["_id"], origin=AT_NOON)

    assert eventually(lambda: here.containers[ready["_id"]].power == Power.STOPPED)


@pytest.mark.heavy
def test_a_deletion_does_not_wait_for_pulls_of_its_node(store, pulling):
    """The same for a deletion."""
    ready, _ = pulling

    instances.delete(store, ready["_id"], origin=AT_NOON)

    assert eventually(lambda: store.instances.find(ready["_id"]) is None)


# Trials


@pytest.fixture
def node(store, memory_nodes):
    """A node that is Online."""
    return a_node(store, memory_nodes)


def claim_all(store, **options):
    """Claim until nothing is given any more; answer what was claimed."""
    claimed = []
    while operation := store.claims.take(f"{len(claimed)}", lease_s=30, **options):
        claimed.append(operation)
    return claimed


def leave_unanswered(store, memory_nodes, node, times):
    """Have the node leave operations without an answer."""
    memory_nodes[node["_id"]].faults.silence()
    for _ in range(times):
        assert run_due(store, memory_nodes)
        store.operations.retry_now_on_node(node["_id"])


def test_a_node_that_answers_nothing_is_on_trial(store, memory_nodes, owner, node):
    """After some operations without an answer it gets one at a time; it says so."""
    operation = take_on(store, owner, node)[1]
    leave_unanswered(store, memory_nodes, node, TRIAL_AFTER)
    for _ in range(3):
        take_on(store, owner, node)

    on_trial = store.nodes.find_limits().on_trial

    assert [node["_id"]] == on_trial
    assert [operation["_id"]] == [
        one["_id"] for one in claim_all(store, limits=Limits(on_trial=on_trial))
    ]


def test_a_trial_does_not_hold_up_what_is_short(store, memory_nodes, owner, node):
    """A node on trial gets one deploy, and one of the others."""
    ready, _ = take_on(store, owner, node)
    run_due(store, memory_nodes)
    for _ in range(2):
        take_on(store, owner, node)
    instances.suspend(store, ready["_id"], origin=AT_NOON)

    claimed = claim_all(store, limits=Limits(on_trial=[node["_id"]]))

    assert [OperationKind.DEPLOY, OperationKind.SUSPEND] == [one["kind"] for one in claimed]


@pytest.mark.heavy
def test_one_that_finishes_something_is_trusted_again(store, memory_nodes, owner, node):
    """And what had been put off is due at once."""
    for _ in range(3):
        take_on(store, owner, node)
    leave_unanswered(store, memory_nodes, node, TRIAL_AFTER)
    memory_nodes[node["_id"]].faults.behave()

    run_due(store, memory_nodes)

    assert [] == store.nodes.find_limits().on_trial
    assert {"succeeded": 3} == store.operations.count_by("status")


def test_a_refusal_is_an_answer(store, memory_nodes, owner, node):
    """A node that says no does not hang."""
    take_on(store, owner, node)
    leave_unanswered(store, memory_nodes, node, 1)
    memory_nodes[node["_id"]].faults.behave()
    memory_nodes[node["_id"]].faults.refuse()

    run_due(store, memory_nodes)

    assert 0 == store.nodes.get(node["_id"])["unanswered"]


# Whose turn it is


def test_each_node_gets_a_thread_before_any_gets_another(store, memory_nodes, owner, node):
    """What waits longest on a busy node comes after what waits on an idle one."""
    for _ in range(3):
        take_on(store, owner, node)
    other = a_node(store, memory_nodes, name="other")
    take_on(store, owner, other)

    claimed = claim_all(store)

    first, second, *_ = [one["node_id"] for one in claimed]
    assert {node["_id"], other["_id"]} == {first, second}


def test_a_node_that_keeps_us_waiting_gets_no_thread_of_the_others(store, owner, node):
    """Where there is room only for nodes that are prompt, nothing more of it is taken."""
    take_on(store, owner, node)
    take_on(store, owner, node)
    running = store.claims.take("slow", lease_s=30)
    long_ago = {"$set": {"claimed_at": NOON.replace(year=2000)}}
    store.operations._collection.update_one({"_id": running["_id"]}, long_ago)

    prompt = store.claims.take("a", lease_s=30, room=Room(slow=frozenset()))
    slow = store.claims.take("b", lease_s=30, room=Room(prompt=frozenset()))

    assert (None, OperationStatus.RUNNING) == (prompt, slow["status"])


def begun(number, *, lane=Lane.DEPLOY, age_s=0.0, slow_node=False):
    """Make operations that began so many seconds before 100."""
    return [Begun(lane, "node", 100.0 - age_s, slow_node)] * number


@pytest.mark.parametrize(
    ("operations", "prompt", "slow", "further"),
    [
        ([], ALL, ALL, ALL),
        (begun(11), ALL, ALL, ALL),
        (begun(12), {Lane.SHORT}, ALL, ALL),
        (begun(12) + begun(4, lane=Lane.SHORT), set(), ALL, ALL),
        (begun(HELD // 4 - 1, age_s=SLOW_S), ALL, ALL, ALL),
        (begun(HELD // 4, age_s=SLOW_S), ALL, ALL, {Lane.SHORT}),
        (begun(HELD // 2, age_s=SLOW_S), ALL, {Lane.SHORT}, {Lane.SHORT}),
        (begun(HELD + 12, age_s=SLOW_S), {Lane.SHORT}, {Lane.SHORT}, {Lane.SHORT}),
        (begun(8, slow_node=True), ALL, {Lane.SHORT}, ALL),
    ],
)
def test_threads_are_shared_out(operations, prompt, slow, further):
    """What is held no longer counts, deploys leave some to what is short, and all is bounded."""
    room = find_room(operations, threads=16, at=100.0)

    assert (prompt, slow, further) == (room.prompt, room.slow, room.further)


def test_a_node_has_one_operation_where_there_is_no_room_for_further_ones(store, owner, node):
    """So many nodes that hang leave threads to those that do not."""
    for _ in range(3):
        take_on(store, owner, node)

    claimed = claim_all(store, room=Room(further=frozenset()))

    assert 1 == len(claimed)


@pytest.mark.parametrize(("age_s", "expected"), [(0, False), (SLOW_S, True)])
def test_a_node_is_known_to_hold_an_operation(age_s, expected):
    """After a while, in which most operations end."""
    assert expected == is_held("node", begun(1, age_s=age_s), at=100.0)


@pytest.mark.parametrize("missing", [1, 0])
def test_a_claim_tells_that_its_node_is_on_trial(store, owner, node, missing):
    """Its operation gets none of the threads of nodes that answer."""
    take_on(store, owner, node)
    for _ in range(TRIAL_AFTER - missing):
        store.nodes.count_unanswered(node["_id"])

    look = store.claims.look()
    job = claim(store, look, node_operations=4, lease_s=30, now=lambda: NOON)

    assert (missing == 0) == job.node_on_trial
