"""Every change is an event once it is committed: in order, once, whoever writes and dies."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from pymongo.errors import OperationFailure

from service import deletions, instances, keys
from service.model.events import TYPES
from service.model.lifecycle import NodeStatus, Power
from service.store.admin.migrations import begin_events
from service.store.cause import caused_by
from tests.event_writing import writing
from tests.support import AT_NOON, NOON, a_key, a_node, a_user, an_image, an_order, eventually

ANY = ("instance", "operation", "node", "user", "image", "key", "log")


@pytest.fixture(autouse=True)
def _begun(database):
    begin_events(database)


def list_events(store, **options):
    """List all events there are."""
    return store.events.list_after(0, **{"kinds": ANY, "wanted": {}, "limit": 10_000, **options})


def await_events(store, *types):
    """Wait until there are events of these types, and list all there are then."""
    eventually(lambda: set(types) <= {event["type"] for event in list_events(store)})
    return list_events(store)


def test_changes_are_told_in_their_order(store, place):
    """What was committed first has the lower id."""
    with writing(store):
        instances.deploy(store, an_order(*place), origin=AT_NOON)
        found = await_events(store, "node.allocated")

    assert [
        "user.created", "node.created", "image.created",
        "instance.created", "operation.created", "node.allocated",
    ] == sorted(
        [event["type"] for event in found],
        key=["user.created", "node.created", "image.created", "instance.created",
             "operation.created", "node.allocated"].index,
    )  # fmt: skip
    assert sorted(event["_id"] for event in found) == [event["_id"] for event in found]


@pytest.mark.heavy
def test_a_deletion_that_is_undone(store, place):
    """To who follows, it is gone and comes back; its purge is told by its operation alone."""
    with writing(store):
        instance_id = instances.deploy(store, an_order(*place), origin=AT_NOON)[0]["_id"]
        instances.delete(store, instance_id, keep_s=60, origin=AT_NOON)
        with caused_by("k1", "r1"):
            deletions.restore(store, instance_id, {}, origin=AT_NOON)
        await_events(store, "instance.restored")
        instances.delete(store, instance_id, keep_s=60, origin=AT_NOON)
        operation = instances.delete(store, instance_id, purges=True, origin=AT_NOON)
        eventually(lambda: operation["_id"] in {e["resource_id"] for e in list_events(store)})
        found = [event for event in list_events(store) if event["kind"] == "instance"]

    assert [
        "instance.created", "instance.deleted", "instance.restored", "instance.updated",
        "instance.deleted",
    ] == [event["type"] for event in found]  # fmt: skip
    assert "k1" == found[2]["cause"]["key_id"]


def test_an_event_names_what_it_is_of(store, place):
    """The instance, its owner and its node, by which events are found."""
    with writing(store):
        instance, operation = instances.deploy(store, an_order(*place), origin=AT_NOON)
        found = await_events(store, "operation.created")
    [event] = [event for event in found if event["type"] == "operation.created"]

    names = ("resource_id", "instance_id", "user_id", "node_id")
    ids = (operation["_id"], instance["_id"], instance["user_id"], instance["node_id"])
    assert ids == tuple(event[name] for name in names)


def test_an_event_says_who_caused_it(store):
    """The key and the request are those of the write."""
    with writing(store):
        with caused_by("k1", "r1"):
            user = a_user(store)
        store.users.change(user["_id"], {"email": "a@example.org"})
        found = await_events(store, "user.updated")

    assert [{"key_id": "k1", "request_id": "r1"}, None] == [event["cause"] for event in found]


def test_what_the_same_cause_writes_again_has_it_too(store):
    """A cause that stays the same is no change of the document, and still known."""
    with writing(store), caused_by("k1", "r1"):
        user = a_user(store)
        store.users.change(user["_id"], {"email": "a@example.org"})
        found = await_events(store, "user.updated")

    assert 2 * [{"key_id": "k1", "request_id": "r1"}] == [event["cause"] for event in found]


def test_what_is_deleted_is_told_as_it_was(store):
    """The event has the document, without what is secret."""
    with writing(store):
        user = a_user(store)
        store.transaction(lambda session: store.users.remove(user["_id"], session=session))
        found = await_events(store, "user.deleted")

    last = found[-1]["last"]
    assert (user["username"], None) == (last["username"], last["password_hash"])


def test_a_removal_that_was_told_is_forgotten(store, database):
    """Nothing is left in the database of what is gone but its event."""
    with writing(store):
        a_key(store)
        [key] = store.keys.all()
        keys.revoke(store, key["_id"])
        await_events(store, "key.deleted")

    assert 0 == database["removals"].count_documents({})


def test_a_change_that_is_rolled_back_is_no_event(store):
    """Only what is committed happened."""

    def write(session):
        store.users.change(user["_id"], {"email": "never@example.org"}, session=session)
        raise ZeroDivisionError

    with writing(store):
        user = a_user(store)
        with pytest.raises(ZeroDivisionError):
            store.transaction(write)
        store.users.change(user["_id"], {"email": "b@example.org"})
        found = await_events(store, "user.updated")

    assert ["user.created", "user.updated"] == [event["type"] for event in found]


def test_what_workers_keep_for_themselves_is_no_event(store, memory_nodes):
    """A probe that finds nothing new tells nobody anything."""
    with writing(store):
        node = a_node(store, memory_nodes)
        store.probes.claim("p", interval_s=-1, lease_s=30)
        store.probes.end(node["_id"], "p", seen_at=NOON)
        store.nodes.update(node["_id"], {"status": NodeStatus.OFFLINE})
        found = await_events(store, "node.offline")

    assert ["node.created", "node.offline"] == [
        event["type"] for event in found if event["kind"] == "node"
    ]


def test_what_happens_while_nobody_writes_is_told_later(store):
    """The next writer goes on where the last one was, and neither skips nor repeats anything."""
    with writing(store, "first"):
        user = a_user(store)
        await_events(store, "user.created")
    store.users.change(user["_id"], {"email": "c@example.org"})
    with writing(store, "second"):
        found = await_events(store, "user.updated")

    assert ["user.created", "user.updated"] == [event["type"] for event in found]


def test_what_happened_before_the_first_writer_is_told(store):
    """A change from before any worker ran is not lost."""
    a_user(store)
    with writing(store):
        found = await_events(store, "user.created")

    assert ["user.created"] == [event["type"] for event in found]


def test_only_one_writes(store):
    """Whoever has no lease gets none while it lasts."""
    with writing(store, "first"):
        assert not store.event_log.take("second", lease_s=30)


def test_who_lost_the_lease_writes_nothing(store, database):
    """A writer that comes back late ends, and what it would have written is the other's."""
    with writing(store, "first") as writer:
        database["meta"].update_one({"_id": "events"}, {"$set": {"lease.token": "second"}})
        a_user(store)
        writer.join(20)
        assert not writer.is_alive()
    assert [] == list_events(store)
    with writing(store, "second"):
        found = await_events(store, "user.created")

    assert ["user.created"] == [event["type"] for event in found]


@pytest.mark.heavy
def test_changes_of_many_are_each_told_once(store, database):
    """Of changes at once none is lost or told twice, though writers change in between."""
    users = [a_user(store) for _ in range(4)]

    def change(user):
        for n in range(25):
            store.users.change(user["_id"], {"email": f"{n}@example.org"})

    with ThreadPoolExecutor(4) as pool:
        done = [pool.submit(change, user) for user in users]
        for token in ("a", "b", "c"):
            with writing(store, token):
                seen = len(list_events(store))
                eventually(lambda seen=seen: len(list_events(store)) > min(seen, 103))
        for each in done:
            each.result()
    with writing(store, "last"):
        eventually(lambda: len(list_events(store)) >= 104)
        store.users.change(users[0]["_id"], {"username": "the end"})
        eventually(lambda: len(list_events(store)) >= 105)

    assert 105 == len(list_events(store))


@pytest.mark.heavy
def test_who_reads_on_skips_nothing(store):
    """Whoever asks again and again after the last id it saw gets every event."""
    seen = []

    def read():
        found = store.events.list_after(
            seen[-1]["_id"] if seen else 0, kinds=ANY, wanted={}, limit=7
        )
        seen.extend(found)
        return len(seen) >= 61

    with writing(store):
        user = a_user(store)
        changing = threading.Thread(
            target=lambda: [
                store.users.change(user["_id"], {"email": f"{n}@example.org"}) for n in range(60)
            ]
        )
        changing.start()
        eventually(read)
        changing.join()

    assert [event["_id"] for event in list_events(store)] == [event["_id"] for event in seen]
    assert 61 == len(seen)


def test_a_stream_that_cannot_go_on_says_so(store, monkeypatch):
    """Where the oplog no longer has what comes next, an event says that some may be missing."""

    def read(database, begin, found, *, await_s):
        found.put(OperationFailure("The resume point is no longer in the oplog.", 286))

    user = a_user(store)
    store.transaction(lambda session: store.users.remove(user["_id"], session=session))
    with monkeypatch.context() as patched:
        patched.setattr("service.store.event_log.read", read)
        with writing(store, "first") as writer:
            writer.join(20)
    with writing(store, "second"):
        a_user(store)
        found = await_events(store, "user.created")

    assert ["log.gap", "user.deleted", "user.created"] == [event["type"] for event in found]


def test_a_bug_of_the_reader_ends_the_writer(store, monkeypatch):
    """Else it would keep the lease, and no event would be written by anybody."""

    def watch(*args, **options):
        raise ValueError("a bug")

    monkeypatch.setattr(store.event_log._database.__class__, "watch", watch)
    assert store.event_log.take("t", lease_s=30)

    with pytest.raises(ValueError, match="a bug"):
        store.event_log.follow("t", lease_s=30, stopping=threading.Event())


def test_events_are_forgotten_in_time(store, database):
    """An event has the time at which MongoDB deletes it."""
    with writing(store):
        a_user(store)
        await_events(store, "user.created")
    event = database["events"].find_one()

    assert 7 * 86400 == (event["expires_at"] - event["at"]).total_seconds()


def test_power_is_told(store, place, memory_nodes):
    """What is seen of a container is an event, with the instance it belongs to."""
    with writing(store):
        instance, _ = instances.deploy(store, an_order(*place), origin=AT_NOON)
        store.instances.update(instance["_id"], {"power": Power.RUNNING})
        found = await_events(store, "instance.power")

    assert instance["_id"] == found[-1]["resource_id"]


def test_every_event_has_a_known_type(store, place, memory_nodes):
    """What is written is in the catalogue."""
    with writing(store):
        an_image(store)
        instances.deploy(store, an_order(*place), origin=AT_NOON)
        found = await_events(store, "operation.created")

    assert set() == {event["type"] for event in found} - TYPES.keys()
