"""Events over HTTP: what happened, what happens next, and who may know."""

import threading

import pytest

from service import keys
from service.store.admin.migrations import begin_events
from tests.event_writing import writing
from tests.support import DEPLOY, NOON, ApiClient, a_body, a_key, a_user, eventually, run_due, told

PATH = "/api/events"


@pytest.fixture
def writer(store, database):
    """A thread that writes events."""
    begin_events(database)
    with writing(store) as thread:
        yield thread


@pytest.fixture
def deployed(api, writer, place):
    """The answer to a deploy, once that is told."""
    answer = api.post(DEPLOY, a_body(place), headers={"X-Request-Id": "r-1"})
    assert eventually(lambda: "operation.created" in types(api))
    return answer.json


def events(api, **query):
    """Read events."""
    answer = api.get(PATH, query_string=query)
    assert 200 == answer.status, answer.json
    return answer.json["events"]


def types(api, **query):
    """Read the types of events."""
    return [event["type"] for event in events(api, **query)]


def limited(api, store, scopes=("*",), **limits):
    """Make a client like this one, with a key of these rights."""
    grant = {"scopes": list(scopes), **limits}
    return ApiClient(api.flask, keys.create(store, name="limited", grant=grant, now=NOON)[1])


def test_a_deploy_is_told(api, deployed):
    """The event has what the instance is now, and who caused it in which request."""
    [event] = events(api, types="instance.created")

    assert (deployed["Id"], "INSTALLING", "r-1") == (
        event["resourceId"],
        event["resource"]["InternalState"],
        event["requestId"],
    )


@pytest.mark.heavy
def test_the_resource_is_as_it_is_now(api, store, memory_nodes, deployed):
    """An old event has the newest state."""
    run_due(store, memory_nodes)
    [event] = events(api, types="instance.created")

    assert "READY" == event["resource"]["InternalState"]


def test_what_is_gone_is_as_it_was_last(api, writer, store):
    """The event of a deletion has what was deleted."""
    user = a_user(store)
    api.delete(f"/api/users/{user['_id']}")
    assert eventually(lambda: "user.deleted" in types(api))
    [event] = events(api, types="user.deleted")

    assert user["username"] == event["resource"]["username"]


def test_what_comes_next_is_found_by_next(api, deployed):
    """Page by page every event comes once, in its order."""
    every, found, after = events(api), [], "0"
    after = str(int(every[0]["id"]) - 1)
    while page := api.get(PATH, query_string={"after": after, "limit": 2}).json:
        found += page["events"]
        after = page["next"]
        if not page["events"]:
            break

    assert [event["id"] for event in every] == [event["id"] for event in found]


def test_without_after_the_newest_come(api, deployed):
    """As many as asked for, the newest last."""
    assert events(api)[-2:] == events(api, limit=2)


@pytest.mark.parametrize("name", ["instance", "user", "node"])
def test_events_are_found_by_what_they_are_of(api, store, deployed, place, name):
    """An instance's, a user's and a node's events are those of it and of what belongs to it."""
    other = a_user(store)
    assert eventually(lambda: other["_id"] in [event["resourceId"] for event in events(api)])
    wanted = {"instance": deployed["Id"], "user": place[0]["_id"], "node": place[1]["_id"]}[name]

    found = events(api, **{name: wanted})

    assert {wanted} == {event[f"{name}Id"] for event in found}
    assert {"instance.created", "operation.created"} <= {event["type"] for event in found}


def test_who_waits_is_told_at_once(api, deployed, store):
    """A request that waits is answered with the first event that it asks for."""
    after = api.get(PATH).json["next"]
    timer = threading.Timer(0.3, a_user, (store,))
    timer.start()

    found = types(api, after=after, wait=20, types="user.created")

    timer.join()
    assert ["user.created"] == found


def test_a_process_that_stops_answers_who_waits(api, deployed):
    """Nobody keeps a process from ending."""
    from service.api.context import EXTENSION

    after = api.get(PATH).json["next"]
    threading.Timer(0.3, api.flask.application.extensions[EXTENSION].stopping.set).start()

    assert [] == events(api, after=after, wait=60)


def test_an_unknown_type_is_refused(api):
    """The field is named, and what may have been meant."""
    answer = api.get(PATH, query_string={"types": "instance.raedy,user.created"})

    assert (400, "invalid_input", ["types"]) == told(answer)
    assert "instance.ready" in answer.json["details"]["types"][0]


@pytest.mark.parametrize(
    ("name", "value"),
    [("after", "x"), ("after", "-1"), ("limit", "0"), ("wait", "61"), ("wait", "soon")],
)
def test_a_value_that_is_none_is_refused(api, name, value):
    """The field is named."""
    assert (400, "invalid_input", [name]) == told(api.get(PATH, query_string={name: value}))


def test_a_cursor_that_is_too_old_says_where_to_begin(api):
    """What was forgotten is not passed over in silence."""
    answer = api.get(PATH, query_string={"after": "5"})

    assert (410, "cursor_too_old", ["oldest"]) == told(answer)
    assert 200 == api.get(PATH, query_string={"after": answer.json["details"]["oldest"]}).status


@pytest.mark.heavy
def test_a_key_of_a_user_is_told_what_is_his(api, store, deployed, place):
    """The instance, its operation and the node, but no other user and no other's."""
    own = limited(api, store, user_id=place[0]["_id"])
    other = limited(api, store, user_id=a_user(store)["_id"])

    assert {"instance.created", "operation.created", "user.created"} <= set(types(own))
    assert set() == {name for name in types(other) if name.startswith(("instance", "operation"))}
    assert {place[0]["_id"]} == {
        event["resourceId"] for event in events(own) if event["type"] == "user.created"
    }


def test_a_key_of_a_user_sees_no_management_address(api, store, deployed, place):
    """The node in an event is what a GET answers that key."""
    own = limited(api, store, user_id=place[0]["_id"])
    [event] = events(own, types="node.created")
    node = own.get(f"/api/nodes/{place[1]['_id']}").json

    assert node.keys() == event["resource"].keys()
    assert node["address"] == event["resource"]["address"]


def test_a_key_of_another_node_is_told_nothing_of_this(api, store, deployed):
    """Limits to nodes hold as well."""
    other = limited(api, store, node_ids=["elsewhere"])

    assert set() == {name for name in types(other) if name.startswith(("instance", "node"))}


def test_a_key_is_told_what_its_scopes_let_it_read(api, store, deployed):
    """Of what it may not read it is told nothing."""
    reader = limited(api, store, scopes=["nodes:read"])

    assert {"node"} == {name.partition(".")[0] for name in types(reader)}


def test_types_beyond_the_scopes_are_refused(api, store):
    """Who asks for what it may not know learns why it gets nothing."""
    reader = limited(api, store, scopes=["nodes:read"])
    answer = reader.get(PATH, query_string={"types": "user.created"})

    assert (403, "forbidden") == (answer.status, answer.json["code"])
    assert ["users:read"] == answer.json["details"]["scope"]


def test_keys_are_told_to_who_may_do_everything(api, store, writer):
    """An event of a key could be of one that may do more than the reader's."""
    a_key(store)
    assert eventually(lambda: "key.created" in types(api))
    reader = limited(api, store, scopes=["keys:read", "users:read"])

    assert "key.created" not in types(reader)
