"""Streams of events from a real `skyquay serve`: processes die and are replaced, none is lost."""

import os
import signal
import threading
from contextlib import suppress

import pytest
import requests

from tests.following import read_frames
from tests.serving.test_supervisor import (  # noqa: F401 - a fixture
    KEY,
    PROCESSES,
    has_ended,
    serve,
    wait_for_all,
)
from tests.support import eventually

pytestmark = pytest.mark.spawns

TIMEOUT_S = 120


class Follower:
    """A client that follows users as they are made, and comes back whenever it is cut off."""

    def __init__(self, served, after, key=KEY):
        self.seen = []
        self.connections = 0
        self.refused = 0
        self._served, self._last_id, self._key = served, after, key
        self._is_over = threading.Event()
        self._answer = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def stop(self):
        """Leave."""
        self._is_over.set()
        self._thread.join(TIMEOUT_S)

    def _run(self):
        while not self._is_over.is_set():
            with suppress(requests.RequestException):
                self._follow()

    def _follow(self):
        headers = {"x-api-key": self._key, "Accept": "text/event-stream"}
        with requests.get(
            f"{self._served.url}/api/events",
            params={"types": "user.created"},
            headers={**headers, "Last-Event-ID": self._last_id},
            stream=True,
            timeout=TIMEOUT_S,
        ) as answer:
            if answer.status_code != 200:
                self.refused += 1
                return
            self.connections += 1
            for frame in read_frames(answer.iter_content(None)):
                self._last_id = frame.id or self._last_id
                if frame.data:
                    self.seen.append(frame.told["resource"]["username"])
                if self._is_over.is_set():
                    return


def make_users(served, names):
    """Make users; one that was not answered is made again, and may be there already."""
    for name in names:
        assert eventually(lambda name=name: make_user(served, name), timeout_s=TIMEOUT_S)


def make_user(served, name):
    """Make a user. Return whether it is there."""
    body = {"username": name, "email": f"{name}@example.org", "password": "sesame sesame"}
    with suppress(requests.RequestException):
        answer = requests.post(
            f"{served.url}/api/users", json=body, headers={"x-api-key": KEY}, timeout=20
        )
        return answer.status_code in (201, 409)
    return False


def list_newest(served):
    """Ask for the newest events."""
    return requests.get(f"{served.url}/api/events", headers={"x-api-key": KEY}, timeout=20)


@pytest.fixture
def served(serve):  # noqa: F811
    """Two processes that serve, and a worker that writes events."""
    served = serve()
    wait_for_all(served)
    return served


@pytest.fixture
def followers(served):
    """Clients that follow, as many as reach both processes.

    What other tests did in this database is told before, with users that are there no more.
    """
    make_users(served, ["the-first"])
    assert eventually(lambda: "the-first" in list_newest(served).text, timeout_s=TIMEOUT_S)
    newest = list_newest(served).json()["next"]
    followers = [Follower(served, newest) for _ in range(8)]
    yield followers
    for follower in followers:
        follower._is_over.set()
    make_user(served, "the-last")  # wakes them
    for follower in followers:
        follower.stop()


def have_seen(followers, names):
    """Return whether each has seen these, in this order, each once."""
    return all(follower.seen == names for follower in followers)


@pytest.mark.slow
def test_none_is_lost_and_none_comes_twice_when_processes_are_killed(served, followers):
    """Each client goes on after the last id that it read."""
    names = []
    for turn in range(2):
        before = sum(follower.connections for follower in followers)
        made = [f"user-{turn}-{n}" for n in range(5)]
        make_users(served, made[:3])
        for child in served.list_children():
            os.kill(child.pid, signal.SIGKILL)
        make_users(served, made[3:])
        names += made

        assert eventually(lambda names=names: have_seen(followers, names), timeout_s=TIMEOUT_S)
        assert before < sum(follower.connections for follower in followers)


@pytest.mark.slow
def test_a_reload_cuts_streams_off_in_time(served, followers):
    """The old processes end although streams were open, and each client goes on with the new."""
    old = served.list_children()
    make_users(served, ["before"])
    assert eventually(lambda: have_seen(followers, ["before"]), timeout_s=TIMEOUT_S)
    connections = [follower.connections for follower in followers]

    os.kill(served.process.pid, signal.SIGHUP)
    assert eventually(
        lambda: all(
            follower.connections > before
            for follower, before in zip(followers, connections, strict=True)
        ),
        timeout_s=TIMEOUT_S,
    )
    make_users(served, ["after"])

    assert eventually(lambda: have_seen(followers, ["before", "after"]), timeout_s=TIMEOUT_S)
    assert eventually(lambda: all(map(has_ended, old)), timeout_s=TIMEOUT_S)


@pytest.mark.slow
def test_a_stop_waits_for_no_stream(served, followers):
    """All is over although nobody closes anything."""
    make_users(served, ["before"])
    assert eventually(lambda: have_seen(followers, ["before"]), timeout_s=TIMEOUT_S)

    served.process.terminate()

    assert 0 == served.process.wait(TIMEOUT_S)
    assert "killed" not in served.log.read_text().lower()


def test_a_revoked_key_ends_its_streams_in_each_process(served, followers):
    """Whichever process revokes it; and no more is told to it."""
    own = requests.post(
        f"{served.url}/api/keys",
        json={"name": "own", "scopes": ["*"]},
        headers={"x-api-key": KEY},
        timeout=20,
    ).json()
    theirs = [Follower(served, "9" * 17, own["key"]) for _ in range(2 * PROCESSES)]
    try:
        assert eventually(lambda: all(each.connections for each in theirs))
        assert (
            200
            == requests.delete(
                f"{served.url}/api/keys/{own['id']}", headers={"x-api-key": KEY}, timeout=20
            ).status_code
        )

        assert eventually(lambda: all(each.refused for each in theirs))
    finally:
        for each in theirs:
            each.stop()
