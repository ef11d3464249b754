"""Nodes that are down, silent or full: what is refused, what waits, and what nobody notices."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace

import pytest

from service import keys, probing
from service.api.wait_slots import WaitSlots
from service.app import create_app
from service.errors import Busy
from service.model.lifecycle import OperationStatus
from tests.support import (
    DEPLOY,
    NOON,
    ApiClient,
    a_body,
    a_deploy,
    a_key,
    a_node,
    an_app,
    eventually,
    get,
    run_due,
    told,
)


@pytest.fixture
def down(store, node, here):
    """Take the node down, and let that be known; a function to bring it back."""

    def take_down():
        here.faults.silence("connection refused")
        store.nodes.update(node["_id"], {"status": "Offline", "probe_error": "refused"})
        return here.faults.behave

    return take_down


# Deploys


def test_a_deploy_on_a_node_that_is_down_leaves_nothing(api, look, place, down):
    """It is refused at once, with nothing stored."""
    down()
    before = look()

    answer = api.post(DEPLOY, a_body(place))

    assert (500, "node_offline", ["nodeId"]) == told(answer)
    assert before == look()


def test_a_queued_deploy_waits_for_its_node(api, store, memory_nodes, place, here, down):
    """With `queue` it is taken on, and nothing is sent to the node."""
    down()
    calls = here.calls

    answer = api.post(DEPLOY, a_body(place, queue=True))
    run_due(store, memory_nodes)

    assert (201, "INSTALLING", calls) == (answer.status, answer.json["state"], here.calls)


@pytest.mark.heavy
def test_a_queued_deploy_is_done_when_the_node_returns(api, place, down, worker):
    """Nobody has to ask again."""
    come_back = down()
    deployed = api.post(DEPLOY, a_body(place, queue=True)).json

    come_back()

    assert eventually(lambda: get(api, deployed["Id"])["InternalState"] == "READY")


def test_nothing_is_queued_for_a_node_that_was_never_enrolled(api, store, place):
    """There is nothing to return."""
    unconfigured = a_node(store, None, driver="skyportd")

    answer = api.post(DEPLOY, a_body((place[0], unconfigured, place[2]), queue=True))

    assert (500, "node_offline", ["nodeId"]) == told(answer)


# Deletions and suspensions


def test_a_deletion_is_accepted_while_the_node_is_down(api, ready, place, down):
    """The instance goes, and keeps its port until it is really gone."""
    down()

    answer = api.delete("/api/instance/delete", {"id": ready})

    assert (201, "DELETING", "DELETING") == (
        answer.status,
        answer.json["state"],
        get(api, ready)["InternalState"],
    )
    taken = api.post(DEPLOY, a_body(place, queue=True))
    assert (409, "port_taken", ["ports", "instanceId"]) == told(taken)


def test_a_suspension_is_accepted_while_the_node_is_down(api, ready, down):
    """What is wanted is shown, and what was last seen."""
    down()

    answer = api.post(f"/api/instances/suspend/{ready}")

    assert (200, True, "running") == (
        answer.status,
        answer.json["suspended"],
        answer.json["power"],
    )


@pytest.mark.heavy
def test_it_all_converges_when_the_node_returns(api, place, here, ready, down, worker):
    """What was deleted is gone, what was suspended is stopped, and the port is free."""
    other = api.post(f"{DEPLOY}?wait=30", a_body(place, ports="81:8081", primary="8081")).json
    come_back = down()
    api.delete("/api/instance/delete", {"id": ready})
    api.post(f"/api/instances/suspend/{other['Id']}")

    come_back()

    assert eventually(lambda: list(here.containers) == [other["Id"]])
    assert eventually(lambda: get(api, other["Id"])["power"] == "stopped")
    assert eventually(lambda: api.post(DEPLOY, a_body(place)).status == 201)


def test_nobody_waits_for_a_node_that_is_known_to_be_down(config, store, memory_nodes, ready, down):
    """A deletion is answered at once, whatever the settings say of waiting."""
    app = an_app(config, store, memory_nodes, wait_s=3600)
    patient = ApiClient(app.test_client(), a_key(store))
    down()

    assert 201 == patient.delete("/api/instance/delete", {"id": ready}).status


# Force


def test_force_forgets_an_instance_at_once(api, store, node, place, ready, down):
    """Its document, port and memory are free, although the node never answers."""
    down()

    answer = api.delete("/api/instance/delete", {"id": ready, "force": True})

    assert (201, "DELETED", []) == (
        answer.status,
        answer.json["state"],
        api.get("/api/instances").json,
    )
    assert 0 == store.nodes.get(node["_id"])["allocated"]["instances"]
    assert 201 == api.post(DEPLOY, a_body(place, queue=True)).status


@pytest.mark.heavy
def test_what_was_forgotten_is_removed_when_the_node_returns(api, here, ready, down, worker):
    """Should the node come back after all, no container is left behind."""
    come_back = down()
    api.delete("/api/instance/delete", {"id": ready, "force": True})

    come_back()

    assert eventually(lambda: here.containers == {})


def test_force_forgets_what_is_on_its_way_out(api, store, ready, down):
    """A deletion that waits for its node gives way to one by force."""
    down()
    waiting = api.delete("/api/instance/delete", {"id": ready}).json["operationId"]

    api.delete("/api/instance/delete", {"id": ready, "force": True})

    assert [] == api.get("/api/instances").json
    assert OperationStatus.SUPERSEDED == store.operations.get(waiting)["status"]


def test_force_needs_an_instance(api):
    """What does not exist is a 400 all the same."""
    answer = api.delete("/api/instance/delete", {"id": "inothing", "force": True})

    assert (400, "instance_not_found", ["id"]) == told(answer)


def test_a_node_with_instances_says_how_many(api, node, ready):
    """Before anything is lost."""
    answer = api.delete("/api/nodes/delete", {"nodeId": node["_id"]})

    assert (400, "node_not_empty", {"nodeId": ["Instances on it: 1."]}) == (
        answer.status,
        answer.json["code"],
        answer.json["details"],
    )


def test_a_node_goes_by_force_with_its_instances(api, node, ready, down):
    """And the answer says how many."""
    down()
    api.delete("/api/instance/delete", {"id": ready})

    answer = api.delete("/api/nodes/delete?force=true", {"nodeId": node["_id"]})

    assert (201, 1, [], []) == (
        answer.status,
        answer.json["instances"],
        api.get("/api/instances").json,
        api.get("/api/nodes").json,
    )


def test_what_a_dead_worker_held_for_a_deleted_node_ends(api, store, memory_nodes, place, node):
    """An operation whose node is gone is not tried for ever."""
    operation = api.post(DEPLOY, a_body(place)).json["operationId"]
    store.claims.take("a dead worker", lease_s=0.001)
    api.delete("/api/nodes/delete?force=true", {"nodeId": node["_id"]})

    assert eventually(lambda: run_due(store, memory_nodes))

    assert OperationStatus.SUPERSEDED == store.operations.get(operation)["status"]


# Workers


def test_a_node_that_is_down_gets_nothing_but_probes(api, store, memory_nodes, here, ready, down):
    """No operation is tried while it is known that nobody is there."""
    down()
    calls = here.calls
    api.delete("/api/instance/delete", {"id": ready})

    run_due(store, memory_nodes)

    assert calls == here.calls


def test_a_silent_node_is_probed_at_once(api, store, memory_nodes, place, node, here):
    """An operation without an answer has the node probed, whenever it was probed last."""
    api.post(DEPLOY, a_body(place))
    here.faults.silence()

    run_due(store, memory_nodes)

    assert store.nodes.get(node["_id"])["probed_at"] is None


def test_a_node_that_returns_is_not_kept_waiting(api, store, memory_nodes, place, node, here, down):
    """What was put off for long is due as soon as the node is back."""
    operation = api.post(DEPLOY, a_body(place)).json["operationId"]
    store.operations._collection.update_one(
        {"_id": operation}, {"$set": {"next_attempt_at": NOON.replace(year=2999)}}
    )
    down()()

    run_a_probe(store, memory_nodes, node)

    assert 1 == run_due(store, memory_nodes)


def run_a_probe(store, open_driver, node):
    """Probe the node as a worker does."""
    probing.probe(store, open_driver, store.nodes.get(node["_id"]), now=NOON)


def test_few_operations_run_on_one_node_at_a_time(api, store, place):
    """The rest of a node's operations waits its turn."""
    for port in range(8080, 8085):
        api.post(DEPLOY, a_body(place, ports=f"80:{port}", primary=port))

    claimed = [store.claims.take(f"{n}", lease_s=30, node_limit=2) for n in range(3)]

    assert [True, True, False] == [operation is not None for operation in claimed]


@pytest.mark.heavy
def test_a_stuck_node_does_not_hold_up_others(api, store, memory_nodes, place, node, here, worker):
    """With one node swallowing all that it gets, another's operations are done."""
    other = a_node(store, memory_nodes, name="other")
    here.faults.stall()
    for port in range(8080, 8090):
        api.post(DEPLOY, a_body(place, ports=f"80:{port}", primary=port))
    assert here.faults.await_stalled()

    deployed = api.post(DEPLOY, a_deploy(place[0], other, place[2])).json

    assert eventually(lambda: get(api, deployed["Id"])["InternalState"] == "READY")
    here.faults.release()


# Requests that wait


@pytest.fixture
def waiting(config, api, store, memory_nodes, place, ready):
    """An app with four threads, of which two may wait; and two keys that wait, with its context."""
    others = [
        api.post(DEPLOY, a_body(place, ports=f"80:{port}", primary=port)).json["Id"]
        for port in (9081, 9082)
    ]
    run_due(store, memory_nodes)
    app = create_app(replace(config, threads=4), store, memory_nodes)
    key = a_key(store)
    with ThreadPoolExecutor(2) as threads:
        answers = [
            threads.submit(
                ApiClient(app.test_client(), each).post, f"/api/instances/suspend/{other}?wait=60"
            )
            for each, other in zip((key, a_key(store)), others, strict=True)
        ]
        context = app.extensions["skyquay"]
        assert eventually(lambda: context.wait_slots._free == 0)
        yield ApiClient(app.test_client(), key), context, answers
        context.stopping.set()


@pytest.mark.heavy
def test_at_most_half_of_the_threads_wait(waiting, ready):
    """Whoever comes when they all wait is answered at once, as without `wait`."""
    client, _, answers = waiting

    answer = client.post(f"/api/instances/suspend/{ready}?wait=60")

    assert [False, False] == [each.done() for each in answers]
    assert (200, True, "running") == (
        answer.status,
        answer.json["suspended"],
        answer.json["power"],
    )


@pytest.mark.heavy
def test_who_calls_a_node_is_told_to_come_back(waiting, ready):
    """A look at a node is no answer without the node: 503, with the time to ask again."""
    client, _, _ = waiting

    answer = client.get(f"/api/instances/{ready}/logs")

    assert (503, "busy", []) == told(answer)
    assert "1" == answer.headers["Retry-After"]


@pytest.mark.heavy
def test_who_waits_is_answered_when_the_process_ends(waiting):
    """A stop does not wait for a minute."""
    _, context, answers = waiting

    context.stopping.set()

    assert [200, 200] == [answer.result(timeout=10).status for answer in answers]


def test_a_slot_is_given_back():
    """Whatever happens to who had it."""
    slots = WaitSlots(threads=2)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), slots.slot("key"):
            raise ZeroDivisionError

    with slots.slot("key"), pytest.raises(Busy), slots.slot("other"):
        raise AssertionError("there was a second slot")


def test_one_key_holds_at_most_half_of_the_slots():
    """Others find a slot, however many requests of one key would wait."""
    slots = WaitSlots(threads=16)
    with ExitStack() as held:
        own = [held.enter_context(slots.try_slot("greedy")) for _ in range(8)]
        others = [held.enter_context(slots.try_slot(f"key {n}")) for n in range(5)]

    assert [True] * 4 + [False] * 4 == own
    assert [True] * 4 + [False] == others
    with slots.slot("greedy"):
        assert not slots._held["other"]


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_there_is_a_slot_for_everybody(threads):
    """Also where there are few threads."""
    with WaitSlots(threads).slot("key"):
        pass


def test_keys_that_a_key_made_share_its_slots(config, store, memory_nodes, ready):
    """A limited key gets no more slots by making keys; others have theirs."""
    app = create_app(replace(config, threads=8), store, memory_nodes)
    owner = store.instances.get(ready)["user_id"]
    document, value = keys.create(store, name="k", grant={"user_id": owner}, now=NOON)
    first = ApiClient(app.test_client(), value)
    child = first.post("/api/keys", {"name": "c", "scopes": ["*"]}).json["key"]
    slots, logs = app.extensions["skyquay"].wait_slots, f"/api/instances/{ready}/logs"

    with slots.slot(document["_id"]), slots.slot(document["_id"]):
        answers = [replace(first, key=key).get(logs) for key in (child, a_key(store))]

    assert [503, 200] == [answer.status for answer in answers]


# Capacity


CAPACITIES = [
    ({"ram": "1"}, (1024, None), []),
    ({"ram": "1", "memoryOverallocate": 50}, (1536, None), []),
    ({"ram": "1", "memoryOverallocate": -1}, (None, None), []),
    ({"ram": "plenty"}, (None, None), ["ram 'plenty' is no amount like 32 GB"]),
    ({"ram": "1", "processor": "4"}, (1024, None), []),
    ({"ram": "1", "processor": "4", "cpuOverallocate": 0}, (1024, 4), []),
    ({"ram": "1", "processor": "4 cores", "cpuOverallocate": "25"}, (1024, 5), []),
    ({"ram": "1", "processor": "4", "cpuOverallocate": -1}, (1024, None), []),
    (
        {"ram": "1", "processor": "Ryzen 7", "cpuOverallocate": 0},
        (1024, None),
        ["processor 'Ryzen 7' is no number of cores"],
    ),
]


@pytest.mark.parametrize(("fields", "capacity", "warnings"), CAPACITIES)
def test_capacity_is_read(api, fields, capacity, warnings):
    """What a node may give, and a warning for what cannot be read."""
    body = {"name": "n", "driver": "docker", "address": "unix:///nowhere.sock", **fields}

    created = api.post("/api/nodes/create", body).json

    assert capacity == (created["memoryMib"], created["cpu"])
    assert len(warnings) == len(created["warnings"])
    assert all(part in text for part, text in zip(warnings, created["warnings"], strict=True))


@pytest.mark.parametrize("over", ["much", -2, 1.5, "-1%"])
def test_a_wrong_overallocation_is_named(api, over):
    """What is no percentage is a 400."""
    body = {"name": "n", "driver": "docker", "address": "unix:///x", "cpuOverallocate": over}

    answer = api.post("/api/nodes/create", body)

    assert (400, "invalid_input", ["cpuOverallocate"]) == told(answer)


def test_cores_are_not_given_twice(api, store, memory_nodes, place):
    """A deploy beyond the cores of a node is a 409 with the numbers."""
    node = a_node(store, memory_nodes, ram="8", processor="2", cpu_overallocate=0)
    order = a_deploy(place[0], node, place[2], cpu=2)
    api.post(DEPLOY, order)

    answer = api.post(DEPLOY, {**order, "ports": "80:8081", "primary": 8081, "cpu": "0.5"})

    assert (409, {"requestedCpu": 0.5, "allocatedCpu": 2.0, "capacityCpu": 2.0}) == (
        answer.status,
        answer.json["details"],
    )
