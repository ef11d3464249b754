"""What a worker reads and writes when it probes a node on which nothing changed."""

import threading
from contextlib import closing

import pytest

from service import instances, probing
from service.errors import StoreFailure, StoreUnavailable
from service.model.drift import Drift
from service.store import Store
from service.worker import loop
from service.worker.loop import Worker
from tests.support import AT_NOON, FAR, NOON, an_order, eventually, run_due


@pytest.fixture
def commands():
    """The commands that the database got of the worker."""
    return []


@pytest.fixture
def probe(config, store, memory_nodes, node, commands):
    """Probe the node as a worker does, and answer its document afterwards."""
    with closing(
        Store(
            config.mongodb_uri,
            config.database,
            record_command=lambda command, *_: commands.append(command),
        )
    ) as counted:
        worker = Worker(counted, memory_nodes, threads=1, probe_interval_s=30, now=lambda: FAR)

        def probe():
            store.nodes.update(node["_id"], {"probed_at": None})
            commands.clear()
            assert worker.probe_one()
            # Its last write is done, and counted.
            return eventually(lambda: "update" in commands and find_probed(store, node["_id"]))

        yield probe


def find_probed(store, node_id):
    """Find the node when its probe has ended."""
    node = store.nodes.get(node_id)
    return node if node["probing"] is None and node["probed_at"] is not None else None


def test_a_probe_writes_when_the_node_was_seen(probe, store, node):
    """And when it was probed; of a node that is as it was, nothing else."""
    store.nodes.update(node["_id"], {"last_seen_at": NOON})
    before = probe()
    store.nodes.update(node["_id"], {"last_seen_at": NOON})

    after = probe()

    assert FAR == after["last_seen_at"]
    touched = {"probed_at": None, "revision": None, "observations": None}
    assert {**before, **touched} == {**after, **touched}


def test_a_probe_writes_twice(probe, commands):
    """It is claimed, and it ends."""
    probe()

    probe()

    assert ["findAndModify", "update"] == [each for each in commands if each in WRITES]


WRITES = ("findAndModify", "update", "insert", "delete", "commitTransaction")


def test_a_node_that_is_probed_twice_at_once_takes_no_thread_for_good(
    store, memory_nodes, node, monkeypatch
):
    """So it is when the worker stood still for longer than the lease of its first probe."""
    monkeypatch.setattr(loop, "PROBE_THREADS", 2)
    answers = threading.Event()

    def open_slowly(node):
        assert answers.wait(60)
        return memory_nodes(node)

    worker = Worker(store, open_slowly, threads=1, probe_interval_s=30, now=lambda: FAR)
    for _ in range(3):
        answers.clear()
        for _ in range(2):
            store.nodes.update(node["_id"], {"probed_at": None, "probing": None})
            assert eventually(worker.probe_one)
        answers.set()


def test_a_silent_node_was_not_seen(probe, store, memory_nodes, node):
    """What is shown is when it answered the last time."""
    store.nodes.update(node["_id"], {"last_seen_at": NOON})
    memory_nodes[node["_id"]].faults.silence()

    assert ("Offline", NOON) == (probe()["status"], store.nodes.get(node["_id"])["last_seen_at"])


def test_an_index_tells_what_is_compared(store, database, memory_nodes, place, node):
    """No document of an instance is read to find that it is as it was."""
    instances.deploy(store, an_order(*place), origin=AT_NOON)
    run_due(store, memory_nodes)
    query = {
        "find": "instances",
        "filter": {"node_id": node["_id"]},
        "projection": dict.fromkeys(["state", "power", "suspended"], 1),
    }

    plan = database.command("explain", query, verbosity="executionStats")["executionStats"]

    assert (1, 0) == (plan["nReturned"], plan["totalDocsExamined"])


def test_a_due_node_is_found_by_an_index(store, database, memory_nodes, node):
    """Nodes that are not due are not looked at."""
    query = {
        "find": "nodes",
        "filter": {"$expr": {"$lte": ["$probed_at", {"$subtract": ["$$NOW", 30_000]}]}},
        "sort": {"probed_at": 1},
    }

    plan = database.command("explain", query, verbosity="executionStats")["executionStats"]

    assert (1, 1) == (plan["nReturned"], plan["totalDocsExamined"])
    assert "COLLSCAN" not in str(plan)


def test_a_worker_has_nothing_to_do_where_nothing_differs():
    """What waits for somebody to decide is nothing for it."""
    nothing = Drift(orphans=[], unclaimed=[], missing=[], changed=[], deleting=[])

    assert not nothing.concerns_worker


@pytest.mark.parametrize("error", [StoreFailure, StoreUnavailable])
def test_an_error_of_the_database_is_no_word_about_the_node(store, memory_nodes, node, error):
    """A probe in which the database refuses or does not answer leaves the node as it was."""

    def compare(_):
        raise error("The database failed.")

    with pytest.raises(error):
        probing.probe(store, memory_nodes, node, now=NOON, more=compare)

    assert node == store.nodes.get(node["_id"])
