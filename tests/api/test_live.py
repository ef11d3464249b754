"""Live answers over the API, on a server that has to wait for them in a thread."""

import time
from contextlib import ExitStack, contextmanager
from threading import Event

import pytest

from service import keys
from service.api import live_answer, open_answers
from service.api.context import EXTENSION
from service.api.live import answer_live, make_frame
from service.api.live_answer import DRIVEN
from service.errors import StoreUnavailable
from tests.feeds import Feed
from tests.support import NOON, a_user, an_app, eventually

PATH = "/live"
BEGINNING = b"retry: 1000\n\n"
ONE = b"data: 1\n\n"


class Opened:
    """An app with a live answer for each of its requests."""

    def __init__(self, config, store, memory_nodes):
        self.flask = an_app(config, store, memory_nodes, has_own_routes=True)
        self.feeds = []
        self.flask.add_url_rule(PATH, view_func=self._answer)
        self.context = self.flask.extensions[EXTENSION]

    def _answer(self):
        return answer_live(self._open)

    def _open(self):
        self.feeds.append(Feed())
        return self.feeds[-1]

    @contextmanager
    def get(self, key, *, is_driven=True, **headers):
        """Ask; yield the answer."""
        answer = self.flask.test_client().get(
            PATH,
            headers={"x-api-key": key, **headers},
            environ_overrides={DRIVEN: True} if is_driven else {},
        )
        try:
            yield answer
        finally:
            answer.close()


@pytest.fixture
def opened(config, store, memory_nodes, monkeypatch):
    """The app, which looks at keys often."""
    monkeypatch.setattr(open_answers, "CHECK_S", 0.02)
    return Opened(config, store, memory_nodes)


@pytest.fixture
def key(store):
    """A key that may do everything, and its document."""
    return keys.create(store, name="k", now=NOON)


def ends(pieces):
    """Read until the answer is over."""
    return b"".join(pieces)


def test_what_is_sent_is_an_event_stream(opened, key):
    """Nobody keeps it, nobody holds it back, and it begins at once."""
    with opened.get(key[1], **{"Accept-Encoding": "gzip"}) as answer:
        headers = answer.headers

        assert BEGINNING == next(answer.response)
    assert ("text/event-stream; charset=utf-8", "no-store", "no", None) == (
        headers["Content-Type"],
        headers["Cache-Control"],
        headers["X-Accel-Buffering"],
        headers.get("Content-Encoding"),
    )


def test_a_piece_that_comes_later_is_waited_for(opened, key):
    """Whoever iterates sleeps until there is one."""
    with opened.get(key[1]) as answer:
        next(answer.response)
        opened.feeds[0].put(ONE)

        assert ONE == next(answer.response)


def test_silence_is_broken_by_a_comment(opened, key, monkeypatch):
    """Also where nobody drives it."""
    monkeypatch.setattr(live_answer, "COMMENT_S", 0.05)
    with opened.get(key[1]) as answer:
        assert [BEGINNING, b":\n\n", b":\n\n"] == [next(answer.response) for _ in range(3)]


def test_who_closes_lets_go(opened, key):
    """The source is closed, and the place is free."""
    with opened.get(key[1]):
        assert 1 == len(opened.context.live)

    assert (True, 0) == (opened.feeds[0].closed.is_set(), len(opened.context.live))


def test_a_head_request_leaves_nothing_open(opened, key):
    """It has the headers, and no source."""
    answer = opened.flask.test_client().head(PATH, headers={"x-api-key": key[1]})
    answer.close()

    assert (200, 0) == (answer.status_code, len(opened.context.live))


def revoke(store, document):
    """Revoke the key."""
    keys.revoke(store, document["_id"])


def rotate(store, document):
    """Give the key another value at once."""
    keys.rotate(store, document, overlap_s=0, now=NOON)


def limit(store, document):
    """Let the key see less."""
    store._database["keys"].update_one({"_id": document["_id"]}, {"$set": {"node_ids": ["n"]}})


def expire(store, document):
    """Let the key's time be over."""
    store._database["keys"].update_one({"_id": document["_id"]}, {"$set": {"expires_at": NOON}})


@pytest.mark.parametrize("change", [revoke, rotate, limit, expire])
def test_a_key_that_may_no_more_ends_its_answers(opened, store, key, change):
    """And no other's."""
    other = keys.create(store, name="other", now=NOON)
    with opened.get(key[1]) as answer, opened.get(other[1]) as others:
        change(store, key[0])

        assert BEGINNING == ends(answer.response)
        opened.feeds[1].put(ONE)
        assert [BEGINNING, ONE] == [next(others.response), next(others.response)]


def test_an_answer_for_a_user_ends_with_the_user(opened, store, key):
    """As requests that act for somebody who is gone are refused."""
    user = a_user(store)
    with opened.get(key[1], **{"Act-As": user["_id"]}) as answer:
        store._database["users"].delete_one({"_id": user["_id"]})

        assert BEGINNING == ends(answer.response)


def test_what_cannot_be_checked_is_held(opened, store, key, monkeypatch):
    """While the database does not say whose key it is nothing is sent; then it goes on."""
    is_away = Event()
    read = store.keys.map_by_digests

    def read_or_fail(digests):
        if is_away.is_set():
            raise StoreUnavailable("of the test")
        return read(digests)

    monkeypatch.setattr(live_answer, "CHECKED_S", 0.3)
    monkeypatch.setattr(live_answer, "COMMENT_S", 0.4)
    monkeypatch.setattr(store.keys, "map_by_digests", read_or_fail)
    with opened.get(key[1]) as answer:
        next(answer.response)
        is_away.set()
        [live] = opened.context.live._open
        assert eventually(lambda: is_held(live))
        opened.feeds[0].put(ONE)
        held = next(answer.response)
        is_away.clear()
        sent = next(answer.response)

        assert b":\n\n" == held
        assert ONE == (sent if sent != held else next(answer.response))


def is_held(live):
    """Return whether nothing of the source is sent."""
    return time.monotonic() - live._valid_at > live_answer.CHECKED_S


def test_a_process_that_leaves_ends_all(opened, key):
    """Whoever comes after that is answered, and let go at once."""
    with opened.get(key[1]) as answer:
        next(answer.response)
        opened.context.stopping.set()

        assert b"" == ends(answer.response)
    with opened.get(key[1]) as answer:
        assert b"" == ends(answer.response)


def test_there_are_only_so_many(opened, store, monkeypatch):
    """One more is refused, until one of them ends."""
    monkeypatch.setattr(open_answers, "MOST", 1)
    mine, others = (keys.create(store, name="k", now=NOON)[1] for _ in range(2))
    with opened.get(mine), opened.get(others) as refused:
        assert (503, "busy", 1) == (
            refused.status_code,
            refused.json["code"],
            len(opened.feeds),
        )
    with opened.get(others) as answer:
        assert 200 == answer.status_code


def test_one_key_has_only_so_many(opened, store, key, monkeypatch):
    """Another has as many."""
    monkeypatch.setattr(open_answers, "MOST_OF_FAMILY", 1)
    other = keys.create(store, name="other", now=NOON)[1]
    with opened.get(key[1]), opened.get(key[1]) as refused, opened.get(other) as answer:
        assert [503, 200] == [refused.status_code, answer.status_code]


def test_threads_that_wait_are_left_for_others(config, opened, key):
    """A server that needs a thread for each has few."""
    most = max(1, config.threads // 4)
    with ExitStack() as stack:
        answers = [
            stack.enter_context(opened.get(key[1], is_driven=False)) for _ in range(most + 1)
        ]

    assert [200] * most + [503] == [answer.status_code for answer in answers]


def test_a_source_that_cannot_be_opened_takes_no_place(opened, store, key):
    """The request is answered with what it raised."""

    def fail():
        raise StoreUnavailable("of the test")

    opened._open = fail
    with opened.get(key[1]) as answer:
        assert 503 == answer.status_code
    assert not opened.context.live._of_family


@pytest.mark.parametrize(
    ("data", "frame"),
    [
        ("a", b"id: 1\nevent: e\ndata: a\n\n"),
        ("a\nb\r\nc\rd", b"id: 1\nevent: e\ndata: a\ndata: b\ndata: c\ndata: d\n\n"),
        ("a\u2028b\x0cc", "id: 1\nevent: e\ndata: a\u2028b\x0cc\n\n".encode()),
        ("", b"id: 1\nevent: e\ndata: \n\n"),
    ],
)
def test_frames_are_as_the_standard_says(data, frame):
    """Each line of the data has a line, whatever ends it."""
    assert frame == make_frame(data, event="e", event_id="1")


def test_a_client_of_the_api_is_told_why(opened):
    """A request without a key opens nothing."""
    answer = opened.flask.test_client().get(PATH)

    assert (401, []) == (answer.status_code, opened.feeds)
