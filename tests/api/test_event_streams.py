"""Events as they happen: all that happens comes once, to those who may know of it."""

import threading
from contextlib import ExitStack, contextmanager
from datetime import timedelta

import pytest

from service import event_hub, keys
from service.api import event_stream, open_answers
from service.api.context import EXTENSION
from service.api.live_answer import DRIVEN
from service.errors import StoreUnavailable
from service.store.admin.migrations import begin_events
from tests.event_writing import writing
from tests.following import read_frames
from tests.support import DEPLOY, NOON, ApiClient, a_body, a_key, a_user, eventually, told

PATH = "/api/events"
STREAM = "text/event-stream"


@pytest.fixture
def writer(store, database):
    """A thread that writes events."""
    begin_events(database)
    with writing(store) as thread:
        yield thread


@contextmanager
def following(api, last_id=None, **query):
    """Follow events; yield the frames as they come, those of events only."""
    headers = {"Accept": STREAM} | ({} if last_id is None else {"Last-Event-ID": last_id})
    answer = api.flask.get(
        PATH,
        headers={"x-api-key": api.key, **headers},
        query_string=query,
        environ_overrides={DRIVEN: True},
    )
    try:
        assert (200, STREAM) == (answer.status_code, answer.mimetype), answer.get_data()
        yield (frame for frame in read_frames(answer.response) if frame.data)
    finally:
        answer.close()


def take(frames, wanted):
    """Read so many events."""
    return [next(frames).told for _ in range(wanted)]


def list_events(api, **query):
    """Read events as a list."""
    return api.get(PATH, query_string=query).json["events"]


def newest(api):
    """Return the id of the newest event."""
    return api.get(PATH).json["next"]


def limited(api, store, scopes=("*",), **limits):
    """Make a client like this one, with a key of these rights."""
    grant = {"scopes": list(scopes), **limits}
    return ApiClient(api.flask, keys.create(store, name="limited", grant=grant, now=NOON)[1])


def make_users(api, store, count):
    """Make users, and wait until all are told; return their ids."""
    ids = [a_user(store)["_id"] for _ in range(count)]
    wanted = {"types": "user.created", "limit": 1000}
    assert eventually(
        lambda: set(ids) <= {event["resourceId"] for event in list_events(api, **wanted)}
    )
    return ids


def test_what_happens_next_comes(api, store, writer):
    """Without a place to begin at that is now."""
    make_users(api, store, 1)
    with following(api, types="user.created") as frames:
        user = a_user(store)
        frame = next(frames)

    assert ("user.created", user["_id"], frame.id) == (
        frame.event,
        frame.told["resourceId"],
        frame.told["id"],
    )


def test_a_stream_and_a_list_tell_the_same(api, store, writer, place):
    """Each event is the very JSON of the list, resource and all."""
    api.post(DEPLOY, a_body(place), headers={"X-Request-Id": "r-1"})
    assert eventually(lambda: "operation.created" in str(list_events(api)))
    listed = list_events(api)
    with following(api, after=str(int(listed[0]["id"]) - 1)) as frames:
        assert listed == take(frames, len(listed))


@pytest.mark.heavy
@pytest.mark.parametrize("kept", [0, 2, 1000])
def test_whoever_comes_back_goes_on_where_he_was(api, store, writer, monkeypatch, kept):
    """Also far behind what the process keeps: nothing is lost, nothing comes twice."""
    monkeypatch.setattr(event_hub, "KEPT", max(1, kept))
    monkeypatch.setattr(event_stream, "PAGE", 3)
    begun = newest(api)
    make_users(api, store, 10)
    with following(api, last_id=begun, types="user.created") as frames:
        first = take(frames, 4)
    with following(api, last_id=first[-1]["id"], types="user.created") as frames:
        rest = take(frames, 6)
        make_users(api, store, 1)
        rest += take(frames, 1)

    expected = list_events(api, after=begun, types="user.created", limit=1000)
    assert expected == first + rest


def test_a_last_event_id_wins(api, store, writer):
    """A browser sends it with the `after` of the first time."""
    begun = newest(api)
    make_users(api, store, 3)
    second = list_events(api, after=begun, types="user.created")[1]
    with following(api, last_id=second["id"], after=begun, types="user.created") as frames:
        [event] = take(frames, 1)

    assert event["id"] > second["id"]


def test_a_stream_says_at_once_where_it_is(api, store, writer):
    """So that whoever is cut off before the first event misses none."""
    make_users(api, store, 1)
    place = newest(api)
    answer = api.flask.get(
        PATH, headers={"x-api-key": api.key, "Accept": STREAM}, environ_overrides={DRIVEN: True}
    )
    try:
        marked = next(read_frames(answer.response))
    finally:
        answer.close()

    assert (place, "") == (marked.id, marked.data)


def test_who_is_told_little_learns_how_far_it_is(api, store, writer, monkeypatch):
    """Or what it missed would be looked for among all that happened since."""
    monkeypatch.setattr(event_stream, "MARK_S", 0.0)
    with ExitStack() as stack:
        answer = api.flask.get(
            PATH,
            headers={"x-api-key": api.key, "Accept": STREAM},
            query_string={"types": "node.created"},
            environ_overrides={DRIVEN: True},
        )
        stack.callback(answer.close)
        frames = read_frames(answer.response)
        begun = next(frames)
        make_users(api, store, 1)

        assert next(frames).id > begun.id


def test_a_stream_may_begin_before_anything_happened(api, store, writer, monkeypatch):
    """The first event of an installation comes to those who wait for it, however far behind."""
    monkeypatch.setattr(event_hub, "KEPT", 1)
    monkeypatch.setattr(store.events, "read_last_id", lambda: 0)
    with following(api, types="user.created") as frames:
        users = [a_user(store)["_id"] for _ in range(3)]

        assert users == [event["resourceId"] for event in take(frames, 3)]


def test_many_streams_read_each_event_once(api, store, writer, monkeypatch):
    """However many there are: one reads for all."""
    reads = []
    list_after = store.events.list_after

    def count(after, **options):
        found = list_after(after, **options)
        reads.extend(event["_id"] for event in found)
        return found

    hub = api.flask.application.extensions[EXTENSION].event_hub
    before = a_user(store)["_id"]  # whoever comes while that is told reads it by itself
    assert eventually(lambda: before in str(list_events(api)))
    monkeypatch.setattr(hub._store.events, "list_after", count)
    with ExitStack() as stack:
        streams = [stack.enter_context(following(api, types="user.created")) for _ in range(10)]
        user = a_user(store)
        seen = {take(frames, 1)[0]["resourceId"] for frames in streams}

    assert {user["_id"]} == seen
    assert len(reads) == len(set(reads))


@pytest.mark.heavy
def test_a_key_is_told_what_it_may_see(api, store, writer, place):
    """Of others' instances nothing, and of its nodes no address, as in the list."""
    own = limited(api, store, user_id=place[0]["_id"])
    other = a_user(store)
    begun = newest(api)
    api.post(DEPLOY, a_body(place))
    api.post(DEPLOY, a_body((other, *place[1:]), name="other", ports="80:8081", primary="8081"))
    assert eventually(
        lambda: len(list_events(api, after=begun, types="instance.created", limit=100)) == 2
    )
    with following(own, after=begun) as frames:
        expected = list_events(own, after=begun)

        assert expected == take(frames, len(expected))
    users = {event["userId"] for event in expected if event["type"] == "instance.created"}
    assert {place[0]["_id"]} == users


def test_a_revoked_key_is_told_no_more(api, store, writer, monkeypatch):
    """Its stream ends, and a new one is refused."""
    monkeypatch.setattr(open_answers, "CHECK_S", 0.02)
    document, value = keys.create(store, name="mine", now=NOON)
    mine = ApiClient(api.flask, value)
    with following(mine, types="user.created") as frames:
        keys.revoke(store, document["_id"])

        assert [] == list(frames)
    assert 401 == mine.get(PATH, headers={"Accept": STREAM}).status


@pytest.mark.heavy
def test_a_database_that_is_away_ends_no_stream(api, store, writer, monkeypatch):
    """What happened meanwhile comes when it is back."""
    hub = api.flask.application.extensions[EXTENSION].event_hub
    list_after, is_away, was_away = store.events.list_after, threading.Event(), threading.Event()

    def list_or_fail(after, **options):
        if is_away.is_set():
            was_away.set()
            raise StoreUnavailable("of the test")
        return list_after(after, **options)

    with following(api, types="user.created") as frames:
        a_user(store)
        take(frames, 1)
        monkeypatch.setattr(hub._store.events, "list_after", list_or_fail)
        is_away.set()
        user = a_user(store)
        assert was_away.wait(20)
        is_away.clear()

        assert [user["_id"]] == [event["resourceId"] for event in take(frames, 1)]


def test_a_reader_far_behind_waits_for_the_database(api, store, writer, monkeypatch):
    """A page that cannot be read is read again."""
    monkeypatch.setattr(event_hub, "KEPT", 1)
    monkeypatch.setattr(event_stream, "TRY_AGAIN_S", 0.01)
    begun = newest(api)
    make_users(api, store, 3)
    look, failures = event_stream.events.look, [1, 2]

    def look_or_fail(*args):
        if failures:
            failures.pop()
            raise StoreUnavailable("of the test")
        return look(*args)

    monkeypatch.setattr(event_stream.events, "look", look_or_fail)
    with following(api, after=begun, types="user.created") as frames:
        assert 3 == len(take(frames, 3))


@pytest.mark.parametrize(
    ("headers", "query", "status", "code", "named"),
    [
        ({"Last-Event-ID": "x"}, {}, 400, "invalid_input", "Last-Event-ID"),
        ({}, {"after": "x"}, 400, "invalid_input", "after"),
        ({}, {"types": "user.raedy"}, 400, "invalid_input", "types"),
        ({"Last-Event-ID": "5"}, {}, 410, "cursor_too_old", "oldest"),
        ({}, {"after": "5"}, 410, "cursor_too_old", "oldest"),
    ],
)
def test_what_is_wrong_is_answered_in_json(api, writer, headers, query, status, code, named):
    """No stream begins that cannot be what was asked for."""
    answer = api.get(PATH, query_string=query, headers={"Accept": STREAM, **headers})

    assert (status, code, [named]) == told(answer)


def test_a_reader_that_falls_behind_what_is_kept_is_cut_off(api, store, writer, monkeypatch):
    """It comes back to be told where to begin; nothing is passed over in silence."""
    monkeypatch.setattr(event_hub, "KEPT", 1)
    begun = newest(api)
    make_users(api, store, 3)
    context = api.flask.application.extensions[EXTENSION]
    now = context.now
    answer = api.flask.get(
        PATH,
        headers={"x-api-key": api.key, "Accept": STREAM},
        query_string={"after": begun},
        environ_overrides={DRIVEN: True},
    )
    try:
        later = timedelta(days=context.config.events_days + 1)
        monkeypatch.setattr(type(context), "now", property(lambda self: lambda: now() + later))
        assert [] == [frame for frame in read_frames(answer.response) if frame.data]
    finally:
        answer.close()


def test_types_beyond_the_scopes_are_refused(api, store):
    """As in the list."""
    reader = limited(api, store, scopes=["nodes:read"])
    answer = reader.get(PATH, query_string={"types": "user.created"}, headers={"Accept": STREAM})

    assert (403, "forbidden") == (answer.status, answer.json["code"])


@pytest.mark.parametrize("accept", [None, "*/*", "application/json", "application/json, */*"])
def test_whoever_asks_for_no_stream_gets_json(api, accept):
    """And caches are told why."""
    answer = api.get(PATH, headers={} if accept is None else {"Accept": accept})

    assert ("application/json", True) == (
        answer.headers["Content-Type"],
        "Accept" in [each.strip() for each in answer.headers["Vary"].split(",")],
    )


def test_a_gap_is_told(api, store, database, writer):
    """Whoever follows reads again what it shows."""
    a_key(store)
    with following(api, types="log.gap") as frames:
        last = eventually(lambda: database["events"].find_one(sort=[("_id", -1)]))
        gap = {
            **last, "_id": last["_id"] + 10**6, "type": "log.gap", "kind": "log",
            "resource_id": None, "instance_id": None, "user_id": None, "node_id": None,
        }  # fmt: skip
        database["events"].insert_one(gap)

        [event] = take(frames, 1)
    assert ("log.gap", None) == (event["type"], event["resource"])


def test_what_is_kept_is_bounded(store):
    """By number and by size; the newest stays, however large."""

    class Item:
        def __init__(self, event_id, size):
            self.event, self.size = {"_id": event_id}, size

    kept = event_hub._Kept(0, [], [])
    many = event_hub._join(kept, [Item(n, 1) for n in range(1, event_hub.KEPT + 11)])
    large = event_hub._join(many, [Item(5000, event_hub.KEPT_BYTES * 2)])

    assert (10, 11, event_hub.KEPT) == (many.since, many.ids[0], len(many.ids))
    assert (event_hub.KEPT + 10, [5000]) == (large.since, large.ids)
