"""What somebody may see is told with and without the database alike."""

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service import keys, rights
from service.events import list_kinds
from service.model.access import GRANTS
from service.model.documents import new_key
from service.model.events import TYPES
from service.store.matching import matches
from tests.support import NOON

USERS, NODES, INSTANCES = ["u1", "u2"], ["n1", "n2"], ["i1", "i2", "i3"]


def maybe(values):
    """Any of these, or none."""
    return st.none() | st.sampled_from(values)


def some(values):
    """Some of these, or no limit."""
    return st.none() | st.lists(st.sampled_from(values), unique=True, max_size=2)


@st.composite
def an_event(draw):
    """An event of any type, of anything."""
    name = draw(st.sampled_from(sorted(TYPES)))
    event = {
        "type": name,
        "at": NOON,
        "kind": name.partition(".")[0],
        "resource_id": draw(maybe(INSTANCES)),
        "instance_id": draw(maybe(INSTANCES)),
        "user_id": draw(maybe(USERS)),
        "node_id": draw(maybe(NODES)),
        "cause": None,
        "expires_at": NOON + timedelta(days=3650),
    }
    if draw(st.booleans()):
        event["last"] = {"_id": event["resource_id"]}
    return event


@st.composite
def a_reader(draw):
    """A key with its limits, and what it asks for."""
    key = new_key(
        "k", digest="d", prefix="p", name="n", now=NOON,
        scopes=draw(st.lists(st.sampled_from(GRANTS), min_size=1, max_size=4)),
        user_id=draw(maybe(USERS)),
        instance_ids=draw(some(INSTANCES)),
        node_ids=draw(some(NODES)),
    )  # fmt: skip
    acts_for = draw(maybe(USERS))
    types = draw(st.none() | st.lists(st.sampled_from(sorted(TYPES)), max_size=5))
    wanted = {
        name: value
        for name, values in (("instance_id", INSTANCES), ("user_id", USERS), ("node_id", NODES))
        if (value := draw(maybe(values))) is not None
    }
    return key, acts_for, types, wanted


@pytest.mark.slow
@settings(max_examples=150)
@given(
    events=st.lists(an_event(), min_size=1, max_size=12),
    readers=st.lists(a_reader(), min_size=1, max_size=6),
)
def test_an_event_is_told_exactly_where_the_query_finds_it(shared_store, events, readers):
    """
    For each key, with each filter: the events that the stream tells are those that a list has.
    """
    collection = shared_store._database["events"]
    collection.delete_many({})
    stored = [{"_id": 1 + n, **event} for n, event in enumerate(events)]
    collection.insert_many(stored)

    for key, acts_for, types, wanted in readers:
        seen = rights.limit(shared_store, key, acts_for=acts_for)
        kinds = list_kinds(keys.access_of(key), None)
        found = seen.events.list_after(0, kinds=kinds, types=types, wanted=wanted, limit=100)
        is_told = seen.events.make_test(kinds=kinds, types=types, wanted=wanted)

        assert [e["_id"] for e in found] == [e["_id"] for e in stored if is_told(e)]


@pytest.mark.slow
@settings(max_examples=100)
@given(reader=a_reader(), event=an_event())
def test_a_document_is_seen_exactly_where_a_read_finds_it(shared_store, reader, event):
    """
    Whatever a key's limits are: what an event is about is shown where a GET would find it.
    """
    seen = rights.limit(shared_store, reader[0], acts_for=None)
    documents = {
        "users": {"_id": event["user_id"] or "u0"},
        "nodes": {"_id": event["node_id"] or "n0"},
        "instances": {
            "_id": event["instance_id"] or "i0",
            "user_id": event["user_id"],
            "node_id": event["node_id"],
        },
        "operations": {
            "_id": "o",
            "instance_id": event["instance_id"],
            "user_id": event["user_id"],
            "node_id": event["node_id"],
        },
    }
    for name, document in documents.items():
        raw = shared_store._database.get_collection(name)
        raw.delete_many({})
        shared_store._database.command(
            "insert", name, documents=[document], bypassDocumentValidation=True
        )
        collection = getattr(seen, name)

        assert [document["_id"]] * collection.sees(document) == [
            each["_id"] for each in collection.list_by_ids([document["_id"]])
        ]
        raw.delete_many({})


@pytest.mark.parametrize("query", [{"a": {"$gt": 1}}, {"$nor": []}, {"a": {"$in": [1], "$ne": 2}}])
def test_what_cannot_be_told_is_refused(query):
    """
    A new kind of limit is an error here, and never passed over.
    """
    with pytest.raises(ValueError, match="Cannot tell"):
        matches({"a": 1}, query)
