"""What wakes those who wait for operations, on a real change stream."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from copy import copy

import pytest
from pymongo.errors import OperationFailure

from service import instances, operations
from service.model.lifecycle import NodeStatus, OperationStatus
from service.model.ports import parse
from service.store.changes import Changes, retry_in_s
from tests.support import AT_NOON, an_order, eventually, run_due

LONG_S = 3600.0
"""As good as never: nobody who is tested looks by itself."""

SOON_S = 20.0


@pytest.fixture
def changes(store, database):
    """What happens in the test's database, on a stream of its own."""
    with closing(Changes(store._database)) as changes:
        yield changes


@pytest.fixture
def woken(changes):
    """An event that is set whenever an operation may be claimed. The stream is open."""
    event = threading.Event()
    changes.subscribe(event.set)
    assert event.wait(SOON_S)
    event.clear()
    return event


@pytest.fixture
def operation(store, place):
    """An operation that waits."""
    return instances.deploy(store, an_order(*place), origin=AT_NOON)[1]


def kill_streams(database):
    """Have the server end all change streams of the database; answer how many there were."""
    found = database.client.admin.aggregate([{"$currentOp": {"idleCursors": True}}])
    ids = [
        each["cursor"]["cursorId"]
        for each in found
        if "cursor" in each and each["ns"].startswith(f"{database.name}.$cmd")
    ]
    database.command("killCursors", "$cmd.aggregate", cursors=ids)
    return len(ids)


def test_a_new_operation_wakes(store, place, woken):
    """Whoever may claim it need not look for it."""
    instances.deploy(store, an_order(*place), origin=AT_NOON)

    assert woken.wait(SOON_S)


@pytest.mark.parametrize(
    "free",
    [
        lambda store, node: store.nodes.update(node["_id"], {"status": NodeStatus.ONLINE}),
        lambda store, node: store.nodes.reset_unanswered(node["_id"]),
        lambda store, node: store.nodes.unlock_deploy(node["_id"], operation_id="one"),
        lambda store, _: store.operations._collection.update_one(
            {}, {"$set": {"status": "failed"}}
        ),
        lambda store, _: store.operations._retry_now({}),
    ],
)
def test_what_lets_another_be_claimed_wakes(store, node, operation, changes, free):
    """A node is there, trusted or free again; an operation ended, or is due at once."""
    store.nodes.update(node["_id"], {"status": NodeStatus.OFFLINE, "unanswered": 3})
    store.nodes.lock_deploy(node["_id"], operation_id="one", instance_id="i", hold_s=30)
    store.operations._collection.update_one({}, {"$set": {"next_attempt_at": AT_NOON.now}})
    event = threading.Event()
    changes.subscribe(event.set)
    assert event.wait(SOON_S)
    event.clear()

    free(store, node)

    assert event.wait(SOON_S)


def test_a_claim_and_a_probe_wake_nobody(store, place, node, operation, changes, woken):
    """They let nobody claim another operation."""
    wakes = []
    changes.subscribe(lambda: wakes.append("woken"))
    store.nodes.update(node["_id"], {"probed_at": None})
    assert store.probes.claim("token", interval_s=30, lease_s=30)
    store.claims.take("token", lease_s=30)

    store.operations.retry_now(operation["_id"])  # does nothing to what runs
    order = an_order(*place, ports=parse("80:8081"), primary="8081")
    instances.deploy(store, order, origin=AT_NOON)

    assert woken.wait(SOON_S)
    assert ["woken"] == wakes


def test_who_waits_is_woken_by_the_end(store, memory_nodes, operation):
    """Without looking at the operation again and again."""
    with ThreadPoolExecutor(1) as threads:
        ended = threads.submit(
            operations.wait, store, operation, timeout_s=LONG_S, look_again_s=LONG_S
        )
        assert eventually(lambda: operation["_id"] in store.changes._followed)

        run_due(store, memory_nodes)

        assert OperationStatus.SUCCEEDED == ended.result(SOON_S)["status"]
    assert {} == store.changes._followed


def test_who_waits_needs_no_stream(store, memory_nodes, operation):
    """A user of the database without the right to one waits all the same."""
    lonely = copy(store)
    lonely.changes = Changes(Streamless())
    with ThreadPoolExecutor(1) as threads:
        ended = threads.submit(
            operations.wait, lonely, operation, timeout_s=LONG_S, look_again_s=0.05
        )
        assert eventually(lambda: lonely.changes._followed)
        run_due(store, memory_nodes)

        assert OperationStatus.SUCCEEDED == ended.result(SOON_S)["status"]
    lonely.changes.close()


class Streamless:
    """A database that lets nobody watch it."""

    def __init__(self):
        self.asked = 0

    def watch(self, *_, **__):
        """Refuse."""
        self.asked += 1
        raise OperationFailure("not authorized", code=13)


class Forgetful(Streamless):
    """A database whose streams end: their place is no longer in the oplog."""

    alive = True

    @contextmanager
    def watch(self, *_, **__):
        """Yield a stream of which one change can be read."""
        self.asked += 1
        self._left = ["the change"]
        yield self

    def try_next(self):
        """Return a change, and end after it."""
        if self._left:
            return {"operationType": "insert", "documentKey": {"_id": self._left.pop()}}
        raise OperationFailure("resume point may no longer be in the oplog", code=286)


@pytest.mark.parametrize("database", [Streamless, Forgetful])
def test_streams_that_do_not_last_are_logged_once(database, logged):
    """However often one is opened; nor is any called restored."""
    odd = database()
    with closing(Changes(odd)) as changes:
        changes.subscribe(lambda: None)

        assert eventually(lambda: odd.asked >= 3)

    assert (1, 0) == tuple(logged.getvalue().count(f"changes.{what}") for what in ("lost", "rest"))


def test_a_stream_that_lasts_is_restored(logged):
    """The next that ends is logged again."""
    with closing(Changes(Forgetful(), steady_s=0)) as changes:
        changes.subscribe(lambda: None)

        assert eventually(lambda: logged.getvalue().count("changes.lost") >= 2)

    assert "changes.restored" in logged.getvalue()


def test_pauses_grow():
    """A stream that does not last is opened anew later and later, up to twice a minute."""
    assert [0.1, 0.2, 0.4, 0.8, 25.6, 30.0, 30.0] == [
        retry_in_s(failed) for failed in (0, 1, 2, 3, 8, 9, 100_000)
    ]


def test_a_stream_that_ends_is_replaced(store, place, database, woken):
    """Who waits is woken, because nobody was told of what happened meanwhile; and later again."""
    # One that is killed in the middle of a question may be resumed by the client, without an end.
    assert eventually(lambda: kill_streams(database) and woken.wait(2))

    woken.clear()
    instances.deploy(store, an_order(*place), origin=AT_NOON)
    assert woken.wait(SOON_S)


def test_the_thread_ends(changes, woken):
    """At a stop nothing goes on, and nothing begins anew."""
    thread = changes._thread

    changes.close()

    assert not thread.is_alive()
    with changes.follow("an operation"):
        assert thread is changes._thread


def test_a_stream_is_opened_when_somebody_waits(changes):
    """A process in which nobody waits has no thread for it."""
    assert changes._thread is None
