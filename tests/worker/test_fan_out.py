"""Each event that a webhook is told of becomes one delivery, whoever makes them and dies."""

import random
import subprocess
import sys
import threading
from contextlib import contextmanager

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pymongo.monitoring import CommandListener

from service import keys, webhook_matching
from service.app import make_store, utc_now
from service.model.access import Access
from service.store.events import limit_to
from service.worker import fan_out
from service.worker.deliveries import Sender
from tests.receivers import a_webhook, an_event, make_deliveries, receiving, send_due, settings
from tests.support import NOON, a_user, eventually


@pytest.fixture(autouse=True)
def _begun(database):
    begin = {"$set": {"place": 0, "lease": None}}
    database["meta"].update_one({"_id": "webhooks"}, begin, upsert=True)
    yield
    database["meta"].update_one({"_id": "webhooks"}, begin)


@contextmanager
def spreading(store, token="t"):
    """Have a thread make deliveries meanwhile, as a worker does."""
    stopping = threading.Event()
    thread = threading.Thread(
        target=fan_out.fan_out,
        args=(store, token),
        kwargs={"lease_s": 10.0, "stopping": stopping, "made": lambda: None, "now": lambda: NOON},
    )
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        store.changes.wake_followers()
        thread.join()


def list_told(store):
    """List the events of all deliveries, in their order."""
    return sorted(delivery["event_id"] for delivery in store.deliveries.all())


def test_events_become_deliveries(store, database):
    """Those that happened before, and those that come."""
    a_webhook(store, "http://192.0.2.1/")
    database["events"].insert_one(an_event(1))
    with spreading(store):
        assert eventually(lambda: list_told(store) == [1])
        database["events"].insert_one(an_event(2))

        assert eventually(lambda: list_told(store) == [1, 2])


@pytest.mark.heavy
def test_the_place_is_passed_on(store, database):
    """Another worker goes on where the one before was."""
    a_webhook(store, "http://192.0.2.1/")
    for number in (1, 2, 3):
        database["events"].insert_one(an_event(number))
        with spreading(store, token=f"t{number}"):
            assert eventually(lambda n=number: list_told(store) == list(range(1, n + 1)))


def test_whoever_lost_the_lease_makes_nothing(store, database):
    """Neither deliveries nor the place are written."""
    webhook, _ = a_webhook(store, "http://192.0.2.1/")
    event = an_event(1)
    made = webhook_matching.make_deliveries(store, [event], now=NOON)
    store.fan_out.take("another", lease_s=30)

    assert not store.fan_out.move("t", 1, made, lease_s=30)
    assert (0, []) == (store.fan_out.read_place(), store.deliveries.all())
    assert webhook["enabled"]


@pytest.mark.heavy
def test_any_number_of_webhooks_takes_the_same_queries(store, database, config):
    """A hundred that are told of nothing cost no query each."""
    sent = []

    class Counting(CommandListener):
        def started(self, event):
            sent.append(event.command_name)

        def succeeded(self, event):
            pass

        def failed(self, event):
            pass

    def count(store_):
        webhook_matching.make_deliveries(store_, [an_event(1)], now=NOON)  # it connects
        sent.clear()
        webhook_matching.make_deliveries(store_, [an_event(1)], now=NOON)
        return len(sent)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("service.store.CommandTimes", lambda _: Counting())
        watched = make_store(config)
    try:
        a_webhook(store, "http://192.0.2.1/", types=["node.offline"])
        one = count(watched)
        key = store.keys.all()[0]
        for _ in range(40):
            a_webhook(store, "http://192.0.2.1/", key=key, types=["node.offline"])

        assert one == count(watched)
    finally:
        watched.close()


ids = st.sampled_from([None, "a", "b"])
limits = st.none() | st.frozensets(st.sampled_from(["a", "b"]), min_size=1)
made_events = st.builds(
    dict,
    kind=st.sampled_from(["instance", "operation", "node", "user", "image", "key", "webhook",
                          "log"]),
    instance_id=ids,
    user_id=ids,
    node_id=ids,
)  # fmt: skip


@pytest.mark.heavy
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(found=st.lists(made_events, min_size=1, max_size=12), user=ids, instances=limits,
       nodes=limits)  # fmt: skip
def test_what_a_key_may_see_is_what_the_store_finds(store, database, found, user, instances, nodes):
    """One rule, in words of Python and of MongoDB, for all events and limits."""
    access = Access(frozenset(), user_id=user, instance_ids=instances, node_ids=nodes)
    database["events"].delete_many({})
    stored = [an_event(number, **each) for number, each in enumerate(found)]
    database["events"].insert_many(stored)
    of = {"user_id": user, "_id": instances and {"$in": sorted(instances)},
          "node_id": nodes and {"$in": sorted(nodes)}}  # fmt: skip
    only = {name: value for name, value in of.items() if value is not None}
    query = limit_to(only, user_id=user, node_ids=of["node_id"]) if access.is_limited else {}

    seen = {each["_id"] for each in database["events"].find(query)}

    part = store.within(user_id=user, instance_ids=instances, node_ids=nodes)
    kinds = {each["kind"] for each in stored}
    is_seen = (part if access.is_limited else store).events.make_test(kinds=kinds, wanted={})
    assert seen == {each["_id"] for each in stored if is_seen(each)}


@contextmanager
def killable(config):
    """Run a worker of webhooks as a process, which is killed in the end."""
    environ = {"SKYQUAY_MONGODB_URI": config.mongodb_uri, "SKYQUAY_DATABASE": config.database,
               "SKYQUAY_SECRET_KEY": config.secret_key}  # fmt: skip
    with subprocess.Popen(
        [sys.executable, "-m", "tests.webhook_worker"], env=environ, stdout=subprocess.PIPE
    ) as process:
        try:
            assert process.stdout.readline()
            yield process
        finally:
            process.kill()


@pytest.mark.slow
@pytest.mark.spawns
def test_kills_lose_nothing_and_double_no_delivery(store, database, config):
    """Workers are killed again and again: each event is one delivery, and arrives."""
    lots = random.Random(1)
    with receiving() as receiver:
        a_webhook(store, receiver.url)
        total = 0
        for _ in range(4):
            with killable(config):
                for _ in range(40):
                    total += 1
                    resource = str(lots.randrange(5))
                    database["events"].insert_one(an_event(total, resource_id=resource))
                enough = len(set(receiver.ids)) + lots.randrange(5, 30)
                assert eventually(lambda n=enough: len(set(receiver.ids)) >= n)
            database["deliveries"].update_many(
                {"lease": {"$ne": None}}, {"$set": {"lease.until": NOON.replace(year=2000)}}
            )
        with killable(config):
            assert eventually(lambda: len(set(receiver.ids)) == total)
            done = {"status": "succeeded"}
            assert eventually(lambda: database["deliveries"].count_documents(done) == total)
        arrived = receiver.events()

    assert list(range(1, total + 1)) == list_told(store)
    for resource in range(5):
        of = [int(each["id"]) for each in arrived if each["resourceId"] == str(resource)]
        assert sorted(of) == of  # what came twice came before what is after it


@pytest.mark.spawns
def test_a_worker_that_is_killed_while_it_sends(store, database, config):
    """The next one sends the same under the same id."""
    with receiving(hangs=threading.Event()) as receiver:
        a_webhook(store, receiver.url)
        database["events"].insert_one(an_event(1))
        with killable(config):
            assert eventually(lambda: receiver.ids)
        receiver.hangs.set()
        receiver.hangs = None
        sender = Sender(store, settings(), now=utc_now)
        assert [] == send_due(store, sender)  # the lease of the dead holds
        database["deliveries"].update_one({}, {"$set": {"lease.until": NOON.replace(year=2000)}})

        assert ["succeeded"] == send_due(store, sender)
    assert 2 == len(receiver.ids) == 1 + len(set(receiver.ids))


def test_a_key_that_acts_for_a_user_is_told_of_both(store, database):
    """What it gets is narrowed to the user, unless that is an administrator."""
    user, admin = a_user(store), a_user(store, admin=True)
    key, _ = keys.create(store, name="k", now=NOON)
    for acts_for in (user["_id"], admin["_id"]):
        a_webhook(store, "http://192.0.2.1/", key=key, acts_for=acts_for)

    made = make_deliveries(
        store, database,
        an_event(1, kind="instance", user_id="another"),
        an_event(2, kind="instance", user_id=user["_id"]),
    )  # fmt: skip

    assert [1, 2, 2] == [each["event_id"] for each in made]
