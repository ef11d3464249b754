"""What instances use is sampled by one worker at a time, within bounds, and kept for charts."""

import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from datetime import timedelta

import pytest

from service import instances
from service.app import make_store, utc_now
from service.drivers.memory_usage import SAMPLE
from service.model.driver_traits import MEMORY
from service.model.lifecycle import NodeStatus, Power
from service.model.ports import parse
from service.worker import sampler, sampling
from service.worker.sampler import THREADS, Pace, Sampler
from tests.support import AT_NOON, NOON, a_node, an_order, eventually, run_due

NOW = utc_now().replace(microsecond=0)
"""Samples of long ago are removed by the database."""


class Clock:
    """A clock that goes on only when somebody waits."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        """Return the time."""
        return self.now

    def wait(self, seconds):
        """Let so much time pass."""
        self.now += seconds


@pytest.fixture
def running(store, memory_nodes, place):
    """An instance that runs."""
    instance, _ = instances.deploy(store, an_order(*place), origin=AT_NOON)
    run_due(store, memory_nodes)
    return store.instances.get(instance["_id"])


@pytest.fixture
def container(memory_nodes, running):
    """Its container."""
    return memory_nodes[running["node_id"]].containers[running["_id"]]


def make_due(store, database):
    """Let the time pass until every node is due."""
    store.sampling.sync(now=NOON)
    database["sampling"].update_many({}, {"$set": {"due_at": NOON}})


@pytest.fixture
def sample(store, database, memory_nodes):
    """Sample one node, at a time."""

    def sample(now=NOW, *, go_on=lambda: True, clock=lambda: 0.0):
        make_due(store, database)
        claimed = store.sampling.claim("t", lease_s=30)
        sampling.sample_node(
            store, memory_nodes, claimed, token="t", go_on=go_on, interval_s=15, now=lambda: now,
            clock=clock,
        )  # fmt: skip
        return database["sampling"].find_one({"_id": claimed["_id"]})

    return sample


def test_a_sample_is_kept(store, database, running, sample):
    """What it uses is there for charts, and as its last."""
    last = sample()["last"][running["_id"]]

    [kept] = database["samples"].find({}, {"_id": 0})
    of = {"instance": running["_id"], "node": running["node_id"]}
    at = NOW.replace(tzinfo=None)
    assert {"at": at, "of": of, "memory_bytes": 32 * 2**20, "disk_bytes": 4096} == kept
    assert (SAMPLE.cpu_ms, at) == (last["cpu_ms"], last["at"])


def test_two_samples_make_rates(database, running, container, sample):
    """By the node's own clock: 3 s of processor time in 15 s are 0.2 cores."""
    sample(NOW)
    container.sample = replace(
        SAMPLE, measured_at=SAMPLE.measured_at + timedelta(seconds=15), cpu_ms=SAMPLE.cpu_ms + 3000,
        received_bytes=SAMPLE.received_bytes + 1500, sent_bytes=SAMPLE.sent_bytes,
    )  # fmt: skip

    sample(NOW + timedelta(seconds=16))

    *_, second = database["samples"].find(sort=[("at", 1)])
    assert (200, 100, 0) == tuple(second[n] for n in ("cpu_milli", "received_rate", "sent_rate"))


def test_a_counter_that_went_back_began_anew(running, container, sample):
    """The program was started again in between."""
    sample()
    container.sample = replace(
        SAMPLE, measured_at=SAMPLE.measured_at + timedelta(seconds=10), cpu_ms=1000
    )

    assert 100 == sample()["last"][running["_id"]]["cpu_milli"]


def test_what_does_not_run_has_no_samples(store, database, running, container, sample):
    """Whether that is known already, or the node says so."""
    sample()
    container.power = Power.STOPPED

    assert {} == sample()["last"]
    assert 1 == database["samples"].count_documents({})


def test_the_volumes_are_added_up_every_ten_minutes(store, database, running, memory_nodes, sample):
    """And what they had is a part of each sample."""
    memory = memory_nodes[running["node_id"]]
    sample()
    calls = memory.calls

    again = sample()

    assert (calls + 1, 4096) == (memory.calls, again["last"][running["_id"]]["disk_bytes"])
    long_ago = again["disk_at"] - timedelta(minutes=10)
    database["sampling"].update_one({}, {"$set": {"disk_at": long_ago}})
    sample()
    assert calls + 3 == memory.calls


def test_samples_change_no_document(store, running, sample):
    """Neither an instance nor a node has another revision, or an event."""
    before = store.instances.get(running["_id"]), store.nodes.get(running["node_id"])

    sample()

    assert before == (store.instances.get(running["_id"]), store.nodes.get(running["node_id"]))


def test_a_silent_node_is_skipped_and_said(running, memory_nodes, sample):
    """What was known stays, and it is asked less and less often."""
    sample()
    memory_nodes[running["node_id"]].faults.silence()

    first, second = sample(), sample()

    assert (sampling.SILENT, True, 1, 2) == (
        first["skipped"], first["slow"], first["failures"], second["failures"]
    )  # fmt: skip
    assert timedelta(seconds=60) == second["due_at"] - second["began_at"]
    assert [running["_id"]] == list(second["last"])


def test_a_node_that_is_back_is_as_before(running, memory_nodes, sample):
    """One round that ends well is enough."""
    memory_nodes[running["node_id"]].faults.silence()
    sample()
    memory_nodes[running["node_id"]].faults.behave()

    after = sample()

    assert (None, 0, False) == (after["skipped"], after["failures"], after["slow"])
    assert timedelta(seconds=15) == after["due_at"] - after["began_at"]


def test_a_slow_node_is_left_and_the_next_round_goes_on(
    store, memory_nodes, running, place, sample, monkeypatch
):
    """Those that had no turn come first then, and it is said how many rounds it takes."""
    instances.deploy(
        store, an_order(*place, ports=parse("80:8081"), primary="8081"), origin=AT_NOON
    )
    run_due(store, memory_nodes)
    monkeypatch.setattr(sampling, "traits_of", lambda _: replace(MEMORY, sample_size=1))
    ticks = iter(range(0, 10_000, 11))

    first = sample(NOW, clock=lambda: 2 * next(ticks))
    second = sample(NOW + timedelta(seconds=40), clock=lambda: 2 * next(ticks))

    assert (sampling.UNFINISHED, 2, True) == (first["skipped"], first["rounds"], first["slow"])
    assert (1, 2) == (len(first["last"]), len(second["last"]))


def test_who_lost_the_lease_writes_nothing(store, database, running, sample):
    """Another samples the node already."""

    def lose():
        database["sampling"].update_one({}, {"$set": {"lease.token": "another"}})
        return True

    after = sample(go_on=lose)

    assert ({}, 0) == (after["last"], database["samples"].count_documents({}))


def test_an_offline_node_is_not_asked(store, database, running, memory_nodes):
    """Nor is it claimed any more."""
    store.sampling.sync(now=NOON)
    store.nodes.update(running["node_id"], {"status": NodeStatus.OFFLINE})
    store.sampling.sync(now=NOON)

    assert store.sampling.claim("t", lease_s=30) is None


def test_slow_nodes_get_a_part_of_the_threads(store, database, running):
    """Whoever has enough of them leaves them to others."""
    make_due(store, database)
    database["sampling"].update_one({}, {"$set": {"slow": True}})

    assert store.sampling.claim("t", lease_s=30, slow_too=False) is None
    assert store.sampling.claim("t", lease_s=30) is not None


def test_calls_are_spaced_whoever_makes_them():
    """In no second are there more than 50, and none waits for longer than it must."""
    clock = Clock()
    pace = Pace(50, wait=clock.wait, clock=clock)
    calls = []
    for _ in range(500):
        pace.take()
        calls.append(clock())

    assert all(calls[n + 50] - calls[n] >= 1 - 1e-9 for n in range(450))
    assert 499 / 50 == pytest.approx(calls[-1])


def test_the_interval_stretches_with_the_instances(
    store, database, memory_nodes, place, running, monkeypatch
):
    """With 50 calls a second 1,000 instances of a node that has one call for each take 20 s."""
    node = store.nodes.get(running["node_id"])
    template = database["instances"].find_one({"_id": running["_id"]})
    memory = memory_nodes[node["_id"]]
    database["instances"].insert_many(
        [{**template, "_id": f"x{n}", "ports": [], "container_id": f"c{n}"} for n in range(999)]
    )
    for n in range(999):
        memory.containers[f"x{n}"] = memory.containers[running["_id"]]
    monkeypatch.setattr(sampling, "traits_of", lambda _: replace(MEMORY, sample_size=1))
    clock = Clock()
    pace = Pace(50, wait=clock.wait, clock=clock)
    sampling_ = Sampler(store, memory_nodes, now=lambda: NOON, pace=pace, clock=clock)

    assert sampling_.claim_one()

    assert eventually(lambda: database["samples"].count_documents({}) == 1000)
    assert 20 == pytest.approx(clock(), abs=0.5)


@pytest.mark.heavy
def test_two_workers_share_the_nodes(config, store, database, memory_nodes, running):
    """Each node is sampled by one of them, and none twice."""
    for n in range(20):
        a_node(store, memory_nodes, name=f"n{n}")
    with closing(make_store(config)) as other:
        both = [Sampler(each, memory_nodes, now=utc_now) for each in (store, other)]
        for each in both:
            each.start()
        assert eventually(
            lambda: (
                database["sampling"].count_documents({"began_at": None}) == 0
                and database["sampling"].count_documents({"lease": {"$ne": None}}) == 0
                and database["sampling"].count_documents({}) == 21
            )
        )
        for each in both:
            each.stop()

    assert 1 == database["samples"].count_documents({})
    assert 0 == database["sampling"].count_documents({"interval_ms": {"$ne": None}})


def test_what_a_killed_worker_had_is_sampled_by_another(store, database, memory_nodes, running):
    """When its lease runs out: nobody gives it back."""
    make_due(store, database)
    dead = store.sampling.claim("dead", lease_s=30)
    survivor = Sampler(store, memory_nodes, now=utc_now)
    assert not survivor.claim_one()
    database["sampling"].update_one({}, {"$set": {"lease.until": NOON}})

    assert survivor.claim_one()

    assert eventually(lambda: database["samples"].count_documents({}) == 1)
    assert not store.sampling.finish(dead["_id"], "dead", {"skipped": "by a ghost"})


DYING = """
import sys, time
from service.app import make_store, utc_now
from service.config import Config
from service.drivers.memory import MemoryNodes
from service.worker.sampler import Sampler

uri, database, node_id = sys.argv[1:]
nodes = MemoryNodes()
nodes[node_id].faults.stall()
store = make_store(Config(mongodb_uri=uri, database=database))
Sampler(store, nodes, now=utc_now, lease_s=1).start()
time.sleep(600)
"""
"""A worker whose node does not answer."""


@pytest.mark.spawns
def test_a_worker_that_is_killed_in_a_round_holds_up_nobody(
    config, store, database, memory_nodes, running
):
    """Kill -9: its node is another's when the lease has run out."""
    arguments = [config.mongodb_uri, config.database, running["node_id"]]
    process = subprocess.Popen([sys.executable, "-c", DYING, *arguments])
    try:
        assert eventually(lambda: database["sampling"].find_one({"lease": {"$ne": None}}))
    finally:
        process.kill()
        process.wait()
    survivor = Sampler(store, memory_nodes, now=utc_now)
    survivor.start()

    assert eventually(lambda: database["samples"].count_documents({}) == 1)
    survivor.stop()


def test_a_stop_waits_for_what_is_under_way(store, memory_nodes, running):
    """No thread is left that uses the store."""
    stopped = Sampler(store, memory_nodes, now=utc_now)
    stopped.start()
    stopped.stop()

    assert all(not stopped._free.acquire(blocking=False) for _ in range(THREADS))
    assert sampler.SLOW_THREADS < THREADS
