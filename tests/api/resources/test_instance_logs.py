"""What programs print, over the API: lines of a time, and lines as they are printed."""

from contextlib import contextmanager

import pytest

from service import keys, log_followers
from service.api import open_answers
from service.api.context import EXTENSION
from service.api.live_answer import DRIVEN
from service.drivers import log_lines
from service.model.lifecycle import Power
from service.security.masking import MASK
from tests.following import read_frames
from tests.support import DEPLOY, NOON, a_deploy, an_image, eventually, run_due, told

STREAM = "text/event-stream"
PEM = "-begin-\nabc\nxyz\n-end-"


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    """Look often at keys, instances and programs, which are stopped for a moment only."""
    monkeypatch.setattr(open_answers, "CHECK_S", 0.05)
    monkeypatch.setattr(log_followers, "CHECK_S", 0.05)
    monkeypatch.setattr(log_lines, "LOOK_EVERY_S", 0.02)
    monkeypatch.setattr(log_lines, "STOPPED_S", 0.2)


@pytest.fixture
def node(memory_nodes, place):
    """The instance's node."""
    return memory_nodes[place[1]["_id"]]


@pytest.fixture
def container(node, ready):
    """The instance's container, whose program has printed three lines."""
    container = node.containers[ready]
    container.log = "one\ntwo\nthree\n"
    return container


def read(api, instance_id, **query):
    """Read lines."""
    return api.get(f"/api/instances/{instance_id}/logs", query_string=query)


def ask(api, instance_id, *, last_id=None, accept=STREAM, key=None, **query):
    """Ask for lines as they are printed; return the answer."""
    headers = {"x-api-key": key or api.key, "Accept": accept}
    headers |= {} if last_id is None else {"Last-Event-ID": last_id}
    return api.flask.get(
        f"/api/instances/{instance_id}/logs",
        headers=headers,
        query_string=query,
        environ_overrides={DRIVEN: True},
    )


@contextmanager
def following(api, instance_id, **options):
    """Follow a log; yield the frames as they come."""
    answer = ask(api, instance_id, **options)
    try:
        assert (200, STREAM) == (answer.status_code, answer.mimetype), answer.get_data()
        yield read_frames(answer.response)
    finally:
        answer.close()


def take(frames, count):
    """Take so many lines."""
    return [next(frames).told["line"] for _ in range(count)]


@pytest.mark.parametrize(
    ("query", "lines"),
    [
        ({"since": "2026-01-31T12:00:01Z"}, ["two", "three"]),
        ({"since": "2026-01-31T13:00:01+01:00"}, ["two", "three"]),
        ({"since": "1769860801"}, ["two", "three"]),
        ({"since": "1769860801.000000001"}, ["three"]),
        ({"until": "2026-01-31T12:00:01.0Z"}, ["one", "two"]),
        ({"until": "2026-01-31T12:00:01Z", "tail": 1}, ["two"]),
        ({"since": "2026-01-31T12:00:01Z", "until": "2026-01-31T12:00:01Z"}, ["two"]),
        ({"since": "2026-02-01T12:00:01Z"}, []),
    ],
)
def test_lines_of_a_time_are_read(api, ready, container, query, lines):
    """Both ends belong to it, to the nanosecond."""
    assert {"Id": ready, "lines": lines} == read(api, ready, **query).json


def test_lines_bear_their_times(api, ready, container):
    """If those are asked for."""
    answer = read(api, ready, timestamps="true", tail=2)

    assert [
        "2026-01-31T12:00:01.000000000Z two",
        "2026-01-31T12:00:02.000000000Z three",
    ] == answer.json["lines"]


@pytest.mark.parametrize(
    ("query", "fields"),
    [
        ({"since": "yesterday"}, ["since"]),
        ({"since": "2026-13-31T12:00:00Z"}, ["since"]),
        ({"since": "2026-01-31T12:00:00"}, ["since"]),
        ({"since": "-5"}, ["since"]),
        ({"since": "1969-01-31T12:00:00Z"}, ["since"]),
        ({"since": "1769860801.0000000001"}, ["since"]),
        ({"until": "", "since": "x"}, ["since", "until"]),
        ({"since": "2026-01-31T12:00:01Z", "until": "2026-01-31T12:00:00Z"}, ["until"]),
        ({"until": "2026-01-31T12:00:00Z", "follow": "true"}, ["until"]),
        ({"tail": 0}, ["tail"]),
        ({"tail": 1001, "since": "x", "follow": "maybe"}, ["tail", "since", "follow"]),
        ({"timestamps": "maybe"}, ["timestamps"]),
        ({"sinse": "2026-01-31T12:00:00Z"}, ["sinse"]),
    ],
)
def test_what_cannot_be_is_named(api, node, ready, query, fields):
    """One 400 names every parameter, whatever is accepted, and the node is not called."""
    calls = node.calls

    assert (400, "invalid_input", fields) == told(read(api, ready, **query))
    assert 400 == ask(api, ready, **query).status_code
    assert calls == node.calls


def test_what_is_followed_has_no_end(api, ready):
    """Also where only the header says that lines are followed."""
    answer = ask(api, ready, until="2026-01-31T12:00:00Z")

    assert (400, ["until"]) == (answer.status_code, list(answer.json["details"]))


def test_an_id_that_is_none_is_a_400(api, ready):
    """It names the header."""
    answer = ask(api, ready, last_id="one")

    assert (400, ["Last-Event-ID"]) == (answer.status_code, list(answer.json["details"]))


@pytest.mark.parametrize(
    "query", [{"since": "1769860801"}, {"timestamps": "1"}, {"follow": "1", "since": "1769860801"}]
)
def test_times_that_a_node_does_not_tell_are_not_supported(api, store, place, ready, query):
    """Rather than lines of another time."""
    store.nodes._collection.update_one({"_id": place[1]["_id"]}, {"$set": {"driver": "process"}})

    assert (400, "not_supported") == told(read(api, ready, **query))[:2]


@pytest.mark.parametrize("how", [{"follow": "true", "accept": "*/*"}, {}])
def test_lines_are_followed(api, ready, container, how):
    """By the parameter or by the header: the last ones first, and then each that is printed."""
    with following(api, ready, tail=2, **how) as frames:
        before = take(frames, 2)
        container.log += "four\nfi"
        after = take(frames, 1)
        container.log += "ve\n"
        after += take(frames, 1)

    assert (["two", "three"], ["four", "five"]) == (before, after)


def test_who_wants_no_stream_gets_none(api, ready, container):
    """The parameter wins over the header."""
    answer = ask(api, ready, follow="false")

    assert ["one", "two", "three"] == answer.json["lines"]


def test_a_followed_line_says_what_is_known_of_it(api, ready, container):
    """Where it was printed, and with `timestamps` when."""
    with following(api, ready, tail=1, timestamps="true") as frames:
        line = next(frames)

    assert {
        "line": "three",
        "stream": "stdout",
        "time": "2026-01-31T12:00:02.000000000Z",
    } == line.told


def test_whoever_comes_back_goes_on_where_he_was(api, ready, container):
    """Nothing is lost, and nothing comes twice, whatever else is asked for."""
    with following(api, ready) as frames:
        [first] = [next(frames)]
    container.log += "four\n"

    with following(api, ready, last_id=first.id, tail=1, since="2026-01-31T12:00:03Z") as frames:
        assert ["two", "three", "four"] == take(frames, 3)


def test_a_stream_goes_on_over_a_restart(api, ready, container):
    """Of the same container."""
    with following(api, ready) as frames:
        lines = take(frames, 3)
        container.power = Power.STOPPED
        container.power = Power.RUNNING
        container.log += "four\n"
        lines += take(frames, 1)

    assert ["one", "two", "three", "four"] == lines


def end_of(frames):
    """Read to the end; return its reason."""
    last = list(frames)[-1]
    assert "end" == last.event
    return last.told["reason"]


def test_a_stream_ends_with_its_program(api, ready, container):
    """It says why."""
    with following(api, ready) as frames:
        take(frames, 3)
        container.power = Power.STOPPED

        assert "stopped" == end_of(frames)


def test_a_stream_ends_with_its_container(api, ready, container, node):
    """It says why."""
    with following(api, ready) as frames:
        take(frames, 3)
        del node.containers[ready]

        assert "gone" == end_of(frames)


def test_a_stream_ends_when_its_instance_is_deleted(api, store, memory_nodes, ready, container):
    """Before its container goes."""
    with following(api, ready) as frames:
        take(frames, 3)
        api.delete("/api/instance/delete", {"id": ready}, query_string={"wait": 0})

        assert "deleted" == end_of(frames)


def test_a_stream_ends_when_its_instance_is_suspended(api, ready, container):
    """Its last lines can still be read."""
    with following(api, ready) as frames:
        take(frames, 3)
        api.post(f"/api/instances/suspend/{ready}", query_string={"wait": 0})

        assert "suspended" == end_of(frames)
    with following(api, ready) as frames:
        assert ["one", "two", "three"] == take(frames, 3)


def test_a_stream_ends_with_its_key(api, store, ready, container):
    """Within seconds after that was revoked."""
    key, value = keys.create(store, name="reader", grant={"scopes": ["instances:read"]}, now=NOON)
    with following(api, ready, key=value) as frames:
        take(frames, 3)
        api.delete(f"/api/keys/{key['_id']}")

        assert [] == list(frames)


def test_who_may_not_see_an_instance_does_not_follow_it(api, store, ready):
    """It is unknown to him."""
    _, value = keys.create(
        store, name="no", grant={"scopes": ["*"], "instance_ids": ["another"]}, now=NOON
    )

    assert 400 == ask(api, ready, key=value).status_code


def test_who_may_see_only_an_instance_follows_it(api, store, ready, container):
    """To its end."""
    grant = {"scopes": ["instances:read"], "instance_ids": [ready]}
    _, value = keys.create(store, name="one", grant=grant, now=NOON)
    with following(api, ready, key=value) as frames:
        take(frames, 3)
        api.post(f"/api/instances/suspend/{ready}", query_string={"wait": 0})

        assert "suspended" == end_of(frames)


def test_a_node_that_fails_ends_the_stream(api, node, ready, container):
    """With the code of the error, as its last event."""
    node.faults.silence("no answer")
    with following(api, ready) as frames:
        assert "node_unreachable" == end_of(frames)


def test_a_node_that_is_down_is_not_called(api, store, place, ready):
    """It is an error at once."""
    store.nodes._collection.update_one({"_id": place[1]["_id"]}, {"$set": {"status": "Offline"}})

    answer = ask(api, ready)

    assert (500, "node_offline") == (answer.status_code, answer.json["code"])


def test_so_many_logs_are_followed_and_no_more(api, ready, container):
    """One more is a 503; whoever leaves makes room."""
    context = api.flask.application.extensions[EXTENSION]
    object.__setattr__(context, "log_followers", log_followers.LogFollowers(1))
    with following(api, ready) as frames:
        take(frames, 1)
        busy = ask(api, ready)

    assert (503, "busy") == (busy.status_code, busy.json["code"])
    assert eventually(lambda: 200 == ask_once(api, ready))


def ask_once(api, instance_id):
    """Ask, and leave."""
    answer = ask(api, instance_id)
    answer.close()
    return answer.status_code


@pytest.mark.heavy
def test_what_waits_for_a_client_is_bounded(api, store, place, ready, container, memory_nodes):
    """Whoever reads nothing holds no more than that, and misses nothing when he goes on."""
    count = 20_000
    container.log = "".join(f"{number:0100d}\n" for number in range(count))
    context = api.flask.application.extensions[EXTENSION]
    answer = ask(api, ready, last_id="another:0")
    try:
        [live] = context.live._open
        follower = live._source
        most = log_followers.MOST_WAITING_BYTES
        assert eventually(lambda: follower._waiting_bytes >= most)
        assert follower._waiting_bytes < most + 1000

        lines = take(read_frames(answer.response), count)
    finally:
        answer.close()

    assert [f"{number:0100d}" for number in range(count)] == lines


@pytest.fixture
def secretive(api, store, place, memory_nodes):
    """An instance with secrets; its id and its container."""
    secret = {"type": "text", "default": "", "required": False, "secret": True}
    user, node, _ = place
    image = an_image(store, variables={"PASSWORD": secret, "KEY": secret})
    body = a_deploy(user, node, image, variables={"PASSWORD": "hunter2", "KEY": PEM})
    instance_id = api.post(DEPLOY, body).json["Id"]
    run_due(store, memory_nodes)
    return instance_id, memory_nodes(node).containers[instance_id]


def test_secrets_are_hidden_in_lines_of_a_time(api, secretive):
    """A secret of several lines becomes one."""
    instance_id, container = secretive
    container.log = f"it is hunter2\n{PEM}\nend\n"

    lines = read(api, instance_id, since="2026-01-31T12:00:00Z").json["lines"]

    assert [f"it is {MASK}", MASK, "end"] == lines


def test_secrets_are_hidden_in_a_stream(api, secretive):
    """However they are printed, in whatever time."""
    instance_id, container = secretive
    shown = []
    with following(api, instance_id) as frames:
        for piece in ("it is hun", "ter2\n", "-begin-\n", "abc\nx", "yz\n-en", "d-\n", "end\n"):
            container.log += piece
        shown = take(frames, 3)

    assert [f"it is {MASK}", MASK, "end"] == shown


def test_what_may_be_a_secret_comes_after_a_while(api, secretive, monkeypatch):
    """Replaced, as nobody knows what follows."""
    instance_id, container = secretive
    with following(api, instance_id) as frames:
        container.log += "-begin-\nabc\n"
        first = take(frames, 1)
        container.log += "xyz\n-end-\nend\n"
        rest = take(frames, 2)

    assert ([MASK], [MASK, "end"]) == (first, rest)


def test_whoever_comes_back_in_the_middle_of_a_secret_sees_none_of_it(api, secretive):
    """The first lines after a line may be the rest of one."""
    instance_id, container = secretive
    container.log = f"{PEM}\nend\n"

    with following(api, instance_id, last_id="memory-:1769860800000000000") as frames:
        assert [MASK, "end"] == take(frames, 2)


def test_a_browser_follows_with_a_ticket(api, ready, container):
    """Once, without a key."""
    ticket = api.post("/api/events/ticket").json["ticket"]
    opened = [
        api.flask.get(
            f"/api/instances/{ready}/logs",
            headers={"Accept": STREAM},
            query_string={"ticket": ticket},
            environ_overrides={DRIVEN: True},
        )
        for _ in range(2)
    ]
    try:
        lines = take(read_frames(opened[0].response), 3)
    finally:
        opened[0].close()

    assert (["one", "two", "three"], 401) == (lines, opened[1].status_code)
