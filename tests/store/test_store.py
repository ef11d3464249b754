"""The store: errors translated, and what single documents promise. Races are in test_races.py."""

import subprocess
from contextlib import closing
from dataclasses import asdict
from datetime import timedelta

import pymongo.errors as mongo
import pytest
from pymongo.monitoring import CommandListener

from service import instances
from service.app import make_store
from service.errors import Conflict, NotFound, StoreFailure, StoreUnavailable
from service.model.documents import new_operation
from service.model.lifecycle import (
    ENDED,
    OPERATION_MOVES,
    InstanceState,
    OperationKind,
    OperationStatus,
)
from service.model.ports import parse
from service.operations import draft
from service.serving.embedded_mongod.program import find_mongod
from service.serving.embedded_mongod.replica_set import REPLICA_SET
from service.store import CALL_TIMEOUT_S, Store, transactions
from service.store.collection import translate
from tests.support import AT_NOON, NOON, a_node, a_user, an_image, an_order, eventually, free_port


def every_error():
    """Walk the tree of pymongo's errors."""
    found, waiting = [], [mongo.PyMongoError]
    while waiting:
        kind = waiting.pop()
        found.append(kind)
        waiting.extend(kind.__subclasses__())
    return sorted(set(found), key=lambda kind: kind.__name__)


def make(kind):
    """Make an error of this class, some of which take more than a message."""
    cause = ValueError("said")
    arguments = {
        "BulkWriteError": ({},),
        "ClientBulkWriteException": ({"error": cause}, False),
        "EncryptedCollectionError": (cause, {}),
        "EncryptionError": (cause,),
    }
    return kind(*arguments.get(kind.__name__, ("said",)))


@pytest.mark.parametrize("kind", every_error(), ids=lambda kind: kind.__name__)
def test_every_error_of_pymongo_becomes_one_of_ours(kind):
    """Where there was no answer, asking again may help; what else pymongo raises is our mistake."""
    error = make(kind)

    away = issubclass(kind, mongo.ConnectionFailure) or error.timeout
    assert (StoreUnavailable if away else StoreFailure) is type(translate(error))


def test_a_transient_error_may_be_asked_again():
    """An error that pymongo itself would retry is not final."""
    error = mongo.OperationFailure("x", 11600)
    error._add_error_label("RetryableWriteError")

    assert StoreUnavailable is type(translate(error))


@pytest.mark.heavy
def test_a_database_that_is_away_is_unavailable():
    """Nobody listens: the answer is StoreUnavailable, within the bound."""
    store = Store(f"mongodb://127.0.0.1:{free_port()}/?serverSelectionTimeoutMS=200", "x")

    with pytest.raises(StoreUnavailable):
        store.ping()

    store.close()


def test_a_node_is_looked_up_in_a_database_that_is_away():
    """By a name or an id: StoreUnavailable, and no error of pymongo."""
    store = Store(f"mongodb://127.0.0.1:{free_port()}", "x")

    with store.bounded(0.2), pytest.raises(StoreUnavailable):
        store.nodes.get_by_reference("helsinki-1")

    store.close()


def test_an_address_that_is_none_is_refused():
    """What is no MongoDB address is refused before anything connects."""
    with pytest.raises(StoreFailure, match="cannot be used"):
        Store("http://127.0.0.1", "x")


@pytest.mark.spawns
def test_a_server_without_a_replica_set_is_named(tmp_path):
    """A MongoDB that runs alone has no transactions; it is said how to change that."""
    port = free_port()
    command = [find_mongod(), "--dbpath", tmp_path, "--port", str(port), "--bind_ip", "127.0.0.1",
               "--nounixsocket", "--logpath", tmp_path / "log"]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as alone:
        store = Store(f"mongodb://127.0.0.1:{port}", "x")
        problem = eventually(store.check_server)
        store.close()
        alone.terminate()

    assert "replica set" in problem


@pytest.mark.fresh_database
def test_preparing_twice_is_harmless(store):
    """The indexes may be asked for by every process at its start."""
    store.prepare()

    assert store.users.all() == []


def test_a_name_is_taken_in_any_letter_case(store):
    """Ada and ada are one name."""
    a_user(store, username="Ada")

    with pytest.raises(Conflict) as caught:
        a_user(store, username="aDA", email="other@example.org")

    assert {"username": ["Taken already."]} == caught.value.details


def test_what_does_not_exist_cannot_be_got(store):
    """`get` raises NotFound, which names the field."""
    with pytest.raises(NotFound) as caught:
        store.nodes.get("nope", field="nodeId")

    assert ["nodeId"] == list(caught.value.details)


@pytest.fixture
def deployed(store, memory_nodes):
    """An instance that was taken on."""
    node = a_node(store, memory_nodes)
    return instances.deploy(store, an_order(a_user(store), node, an_image(store)), origin=AT_NOON)


def test_an_instance_moves_only_as_allowed(store, deployed):
    """What is being deleted never becomes READY."""
    instance, _ = deployed
    store.instances.move(instance["_id"], InstanceState.DELETING, now=NOON)

    moved = store.instances.move(instance["_id"], InstanceState.READY, now=NOON)

    assert (False, InstanceState.DELETING) == (
        moved,
        store.instances.get(instance["_id"])["state"],
    )


def test_a_transaction_happens_wholly_or_not_at_all(store, deployed):
    """An error in a transaction leaves nothing of it."""
    instance, _ = deployed

    def work(session):
        store.instances.remove(instance["_id"], session=session)
        raise Conflict("changed my mind")

    with pytest.raises(Conflict):
        store.transaction(work)

    assert instance["_id"] == store.instances.get(instance["_id"])["_id"]


HELD = {"token": "t", "until": NOON}
"""A lease that has run out, so that another may claim what is under it."""

WRITES = [
    lambda store: store.claims.take("another", lease_s=30),
    lambda store: store.claims.renew("o", "t", lease_s=30),
    lambda store: store.claims.begin_step("o", "t", "create", now=NOON),
    lambda store: store.claims.end_step("o", "t", now=NOON),
    *(lambda store, end=end: store.claims.finish("o", "t", end, now=NOON) for end in sorted(ENDED)),
    lambda store: store.claims.postpone("o", "t", delay_s=0),
    lambda store: store.operations.retry_now("o"),
    lambda store: store.operations.retry_now_on_node("n"),
    *(
        lambda store, write=write: store.transaction(lambda session: write(store, session))
        for write in (
            lambda store, s: store.operations.supersede_waiting("i", now=NOON, session=s),
            lambda store, s: store.operations.supersede_on("n", now=NOON, session=s),
            lambda store, s: store.operations.cancel_waiting("o", now=NOON, session=s),
            lambda store, s: store.operations.request_cancel("o", session=s),
        )
    ),
]
"""Everything that changes an operation which is there."""


@pytest.mark.parametrize("before", OperationStatus)
def test_an_operation_moves_only_as_allowed(store, mongo_client, config, before):
    """
    Of each status, all writes together lead to those of the table, and to no other: so none leaves
    its end, and what runs can be taken over, put off and ended.
    """
    lease = HELD if before == OperationStatus.RUNNING else None
    document = {**new_operation(OperationKind.DEPLOY, "i", "n", origin=AT_NOON), "_id": "o",
                "status": before, "lease": lease}  # fmt: skip
    after = set()
    for write in WRITES:
        store.operations.add(document)
        write(store)
        after.add(OperationStatus(store.operations.get("o")["status"]))
        mongo_client[config.database]["operations"].delete_one({"_id": "o"})

    assert OPERATION_MOVES[before] | {before} == after


def test_one_operation_of_an_instance_waits(store, deployed):
    """A second waiting operation of an instance is refused by the database itself."""
    instance, _ = deployed
    second = draft(OperationKind.SUSPEND, instance, origin=AT_NOON)

    with pytest.raises(Conflict):
        store.operations.add(second)


def test_an_operation_is_claimed_once(store, deployed):
    """What one worker has, another does not get."""
    store.claims.take("one", lease_s=30)

    assert store.claims.take("two", lease_s=30) is None


def test_what_was_put_off_is_not_due(store, deployed):
    """An operation that waits for its next attempt is not claimed before its time."""
    _, operation = deployed
    store.claims.take("one", lease_s=30)
    store.claims.postpone(operation["_id"], "one", delay_s=3600, error="$later")

    after = store.operations.get(operation["_id"])
    assert store.claims.take("two", lease_s=30) is None
    assert (OperationStatus.PENDING, "$later") == (after["status"], after["error"])


def test_a_probe_is_claimed_once_for_each_interval(store, memory_nodes):
    """Of many processes one probes a node."""
    node = a_node(store, memory_nodes)
    store.nodes.update(node["_id"], {"probed_at": None})

    claims = [store.probes.claim("t", interval_s=30, lease_s=30) for _ in range(3)]

    assert [node["_id"], None, None] == [claim and claim["_id"] for claim in claims]


@pytest.fixture
def probed(store, memory_nodes):
    """The id of a node that a worker began to probe, and that is due again by now."""
    node_id = a_node(store, memory_nodes)["_id"]
    store.nodes.update(node_id, {"probed_at": None})
    store.probes.claim("a worker", interval_s=30, lease_s=30)
    store.nodes.update(node_id, {"probed_at": None})
    return node_id


def test_a_node_that_is_being_probed_is_not_probed(store, probed):
    """However long a probe takes, nobody begins another one."""
    assert store.probes.claim("another", interval_s=30, lease_s=30) is None


def test_a_probe_that_ended_makes_room(store, probed):
    """What is due is done afterwards."""
    store.probes.end(probed, "a worker", seen_at=NOON)

    assert probed == store.probes.claim("another", interval_s=30, lease_s=30)["_id"]


def test_who_lost_a_probe_does_not_end_it(store, probed):
    """A worker that comes late ends and renews only what is its own."""
    store.probes.end(probed, "another", seen_at=NOON)
    store.probes.renew([probed], "another", lease_s=0.001)

    assert store.probes.claim("another", interval_s=30, lease_s=30) is None


def test_a_worker_that_died_blocks_no_node(store, probed):
    """Its probe counts until its lease runs out."""
    store.probes.renew([probed], "a worker", lease_s=0.001)

    taken = eventually(lambda: store.probes.claim("another", interval_s=30, lease_s=30))
    assert probed == taken["_id"]


def test_a_report_is_stored_as_documents_say(store, memory_nodes):
    """What a probe found is stored field by field."""
    node = a_node(store, memory_nodes)

    assert asdict(memory_nodes[node["_id"]].probe()) == store.nodes.get(node["_id"])["report"]


def test_the_embedded_database_can_be_used(mongod_uri):
    """The private mongod is new enough, and a replica set."""
    store = Store(mongod_uri, "x")
    problem = store.check_server()
    store.close()

    assert problem is None
    assert REPLICA_SET in mongod_uri


@pytest.fixture
def waiting(store, memory_nodes):
    """Two operations that are due, the older one first."""
    node, image = a_node(store, memory_nodes), an_image(store)
    orders = [
        an_order(a_user(store), node, image, ports=parse(f"80:{port}"), primary=str(port))
        for port in (8080, 8081)
    ]
    return [instances.deploy(store, order, origin=AT_NOON)[1]["_id"] for order in orders]


def list_transactions(mongo_client):
    """List the transactions that are open on the server."""
    sessions = mongo_client.admin.aggregate(
        [
            {"$currentOp": {"idleSessions": True, "allUsers": True}},
            {"$match": {"transaction": {"$exists": True}}},
        ]
    )
    return list(sessions)


def test_a_locked_operation_does_not_hold_up_the_others(store, mongo_client, config, waiting):
    """What a process that died left in an open transaction is passed over until it is free."""
    collection = mongo_client[config.database].operations
    with mongo_client.start_session() as dead:
        dead.start_transaction()
        collection.update_one({"_id": waiting[0]}, {"$set": {"error": "locked"}}, session=dead)

        claimed = store.claims.take("a-token", lease_s=30)

        dead.abort_transaction()
    assert waiting[1] == claimed["_id"]
    assert waiting[0] == store.claims.take("a-token", lease_s=30)["_id"]


@pytest.mark.heavy
def test_a_transaction_that_took_too_long_holds_nothing(store, mongo_client, monkeypatch):
    """Whoever comes after it need not wait until the server gives it up."""
    user_id = a_user(store)
    monkeypatch.setattr(transactions, "TIMEOUT_S", 0.2)

    def work(session):
        store.suspensions.mark(user_id, session=session)
        while True:
            store.users.find(user_id, session=session)

    with pytest.raises(StoreUnavailable):
        store.transaction(work)

    assert [] == list_transactions(mongo_client)


def test_a_step_of_a_dead_worker_has_an_end(store, waiting):
    """Who takes over ends the step that somebody began and never ended."""
    store.claims.take("dead", lease_s=-1)  # ran out as it was given
    store.claims.begin_step(waiting[0], "dead", "create", now=NOON)

    taken = store.claims.take("alive", lease_s=30)

    [step] = taken["steps"]
    assert ("create", "The worker that did it went away.", True) == (
        step["name"],
        step["error"],
        step["ended_at"] > NOON,
    )


@pytest.mark.parametrize("end", ["finish", "supersede", "cancel"])
def test_operations_that_ended_expire(store, mongo_client, config, waiting, end):
    """They are forgotten after a month, by the database itself."""
    match end:
        case "finish":
            store.claims.take("a-token", lease_s=30)
            store.claims.finish(waiting[0], "a-token", OperationStatus.SUCCEEDED, now=NOON)
        case "supersede":
            instance_id = store.operations.get(waiting[0])["instance_id"]
            store.transaction(
                lambda session: store.operations.supersede_waiting(
                    instance_id, now=NOON, session=session
                )
            )
        case "cancel":
            store.transaction(
                lambda session: store.operations.cancel_waiting(
                    waiting[0], now=NOON, session=session
                )
            )

    left = store.operations.get(waiting[0])["expires_at"] - store.server_time()
    indexes = mongo_client[config.database].operations.index_information()
    assert 30 == round(left / timedelta(days=1))
    assert 0 == indexes["expires_at_1"]["expireAfterSeconds"]


def test_what_is_open_does_not_expire(store, waiting):
    """However long it waits."""
    assert "expires_at" not in store.operations.get(waiting[0])


def test_indexes_of_large_collections_may_take_their_time(config, monkeypatch):
    """To make one of a million documents takes longer than a request may wait."""
    asked = []

    class Watching(CommandListener):
        """Keeps how long the server has for indexes."""

        def started(self, event):
            """Keep it."""
            if event.command_name == "createIndexes":
                asked.append(event.command["maxTimeMS"] / 1000)

        def succeeded(self, event):
            """Do nothing."""

        def failed(self, event):
            """Do nothing."""

    monkeypatch.setattr("service.store.CommandTimes", lambda _: Watching())
    with closing(make_store(config)) as store:
        store.prepare()

    assert min(asked) > 1000 * CALL_TIMEOUT_S
