"""What processes know of keys and nodes, and for how long."""

from copy import copy
from datetime import timedelta

import pytest

from service import keys, users
from service.errors import Forbidden, StoreUnavailable, Unauthorized
from service.store import read_cache
from service.store.keys import Keys
from service.store.nodes import Nodes
from service.store.read_cache import ReadCache
from tests.support import NOON, a_node, a_user


class Clock:
    """A clock that only a pause moves."""

    def __init__(self):
        self.at = 100.0

    def __call__(self):
        """Tell the time."""
        return self.at

    def pause(self, seconds):
        """Let so many seconds pass."""
        self.at += seconds


@pytest.fixture
def clock():
    """The time for all processes."""
    return Clock()


@pytest.fixture
def cache(clock):
    """What one process knows, for a second."""
    return ReadCache(1, clock=clock, pause=clock.pause)


@pytest.fixture
def processes(store, clock):
    """Two stores on one database, as of two processes that know keys for a second."""
    return [with_cache(store, ReadCache(1, clock=clock, pause=clock.pause)) for _ in range(2)]


def with_cache(store, cache):
    """Copy a store for another process."""
    other = copy(store)
    other.keys = Keys(store._database["keys"], cache=cache)
    return other


def is_accepted(store, value):
    """Tell whether a process accepts a key's value."""
    try:
        keys.authenticate(store, value, now=NOON)
    except Unauthorized:
        return False
    return True


def test_a_key_is_read_once_within_its_lifetime(cache, clock):
    """
    It counts from before the database was asked: the answer may be as old as the question.
    """
    asked_at = []

    def ask(digest):
        asked_at.append(clock.at)
        clock.at += 0.5
        return {"_id": digest}

    for _ in range(4):
        cache.find("d", ask)
        clock.at += 0.25

    assert [100.0, 101.0] == asked_at


def test_an_unknown_key_is_looked_for_each_time(cache):
    """
    So one that is made is known at once, and a wrong one is never taken for a right one.
    """
    before = cache.find("d", lambda _: None)

    assert (None, {"_id": "k"}) == (before, cache.find("d", lambda _: {"_id": "k"}))


def test_what_failed_is_not_remembered(cache):
    """
    While the database is away nothing is known that was not before.
    """

    def fail(_):
        raise StoreUnavailable("away")

    with pytest.raises(StoreUnavailable):
        cache.find("d", fail)

    assert cache.find("d", lambda _: None) is None


def test_only_so_many_keys_are_remembered(cache):
    """
    However many are used, one process needs only so much memory for them.
    """
    for number in range(3 * read_cache.MOST):
        cache.find(str(number), lambda digest: {"_id": digest})

    assert len(cache._known) <= read_cache.MOST


def test_only_the_documents_that_lack_are_read_together(cache, clock):
    """
    Those that are known are not asked for, and those that are not to be kept each time.
    """
    asked = []

    def ask(names):
        asked.append(sorted(names))
        return {name: {"_id": name} for name in names if name != "none"}

    for names in ({"a", "never"}, {"a", "b", "never", "none"}, {"a", "b"}):
        found = cache.find_each(names, ask, keeps=lambda document: document["_id"] != "never")
        assert {name: {"_id": name} for name in names - {"none"}} == found

    clock.at += 1
    cache.find_each({"a"}, ask, keeps=bool)
    assert [["a", "never"], ["b", "never", "none"], ["a", "b"]] == asked


@pytest.fixture
def asked():
    """What the database was asked for, in turn."""
    return []


@pytest.fixture
def find(cache, asked):
    """Ask for documents that are all there; return whether they were found."""

    def read(names):
        asked.append(names)
        return {name: {"name": name} for name in names}

    def find(*names):
        found = cache.find_each(set(names), read, keeps=lambda document: True)
        return found == {name: {"name": name} for name in names}

    return find


def test_what_was_asked_for_lately_is_read_with_what_lacks(find, asked, clock):
    """One question is for all whose time has run out, so that nobody else has to ask."""
    assert find("a", "b")
    assert find("c")
    clock.pause(1)

    assert find("a")
    assert find("b")
    assert find("c")

    assert [{"a", "b"}, {"c"}, {"a", "b", "c"}] == asked


def test_it_is_read_again_once_in_a_lifetime(find, asked, clock):
    """What lacks before is read alone: of many threads that lack something one reads the rest."""
    assert find("a", "b")
    clock.pause(0.5)

    assert find("c")

    assert [{"a", "b"}, {"c"}] == asked


def test_what_nobody_asks_for_is_not_read_again_for_long(find, asked, clock):
    """To have been read again is not to have been asked for."""
    assert find("a", "b")
    for _ in range(int(read_cache.LATELY_S) + 1):
        clock.pause(1)
        assert find("a")

    assert [*[{"a", "b"}] * 5, {"a"}, {"a"}] == asked


def test_only_so_many_are_read_again(find, asked, clock, monkeypatch):
    """Those that were asked for last."""
    monkeypatch.setattr(read_cache, "MOST_AGAIN", 1)
    assert find("a")
    clock.pause(0.1)
    assert find("b")
    clock.pause(1)

    assert find("c")

    assert {"b", "c"} == asked[-1]


def test_a_process_knows_a_key_for_a_while(processes, clock):
    """
    Which is what the other tests here stand on: without a pause it is accepted a second more.
    """
    here, there = processes
    key, value = keys.create(here, name="k", now=NOON)
    accepted = [is_accepted(there, value)]
    here.keys.remove(key["_id"])

    accepted.append(is_accepted(there, value))
    clock.at += 1
    assert [True, True, False] == [*accepted, is_accepted(there, value)]


def test_a_revoked_key_is_refused_by_all_processes_once_that_is_answered(processes):
    """
    Also by one that has just read it.
    """
    here = processes[0]
    key, value = keys.create(here, name="k", now=NOON)
    before = [is_accepted(store, value) for store in processes]

    keys.revoke(here, key["_id"])

    assert [True, True] == before
    assert [False, False] == [is_accepted(store, value) for store in processes]


def test_revoking_nothing_waits_for_nothing(processes, clock):
    """
    There is nothing that a process could know.
    """
    keys.revoke(processes[0], "nothing")

    assert clock.at == 100.0


def test_a_key_rotated_without_overlap_is_refused_by_all_processes(processes):
    """
    The old value works nowhere, and the new one everywhere.
    """
    here = processes[0]
    key, value = keys.create(here, name="k", now=NOON)
    before = [is_accepted(store, value) for store in processes]

    _, new = keys.rotate(here, key, overlap_s=0, now=NOON)

    assert [True, True] == before
    assert [False, False] == [is_accepted(store, value) for store in processes]
    assert [True, True] == [is_accepted(store, new) for store in processes]


def test_a_value_before_the_last_is_refused_by_all_processes(processes):
    """
    A rotation ends the overlap of the rotation before.
    """
    here, there = processes
    key, value = keys.create(here, name="k", now=NOON)
    key, _ = keys.rotate(here, key, overlap_s=3600, now=NOON)
    before = is_accepted(there, value)

    keys.rotate(here, key, overlap_s=3600, now=NOON)

    assert (True, False) == (before, is_accepted(there, value))


def test_a_value_that_was_rotated_makes_no_keys_in_any_process(processes):
    """
    From the rotation's answer on, while it still works for other things.
    """
    here, there = processes
    key, value = keys.create(here, name="k", now=NOON)
    before = keys.authenticate(there, value, now=NOON)["scopes"]

    keys.rotate(here, key, overlap_s=3600, now=NOON)

    after = keys.authenticate(there, value, now=NOON)["scopes"]
    assert (["*"], False) == (before, "*" in after or "keys:write" in after)


def test_the_keys_of_a_deleted_user_are_refused_by_all_processes(processes):
    """
    They are revoked with the user.
    """
    here, there = processes
    user_id = a_user(here)["_id"]
    _, value = keys.create(here, name="k", grant={"user_id": user_id}, now=NOON)
    before = is_accepted(there, value)

    users.delete(here, user_id)

    assert (True, False) == (before, is_accepted(there, value))


def test_a_known_key_expires_in_time(processes):
    """
    That is looked at in each request.
    """
    there = processes[1]
    expires_at = NOON + timedelta(seconds=1)
    _, value = keys.create(there, name="k", grant={"expires_at": expires_at}, now=NOON)
    keys.authenticate(there, value, now=NOON)

    with pytest.raises(Unauthorized, match="expired"):
        keys.authenticate(there, value, now=expires_at)


def test_the_overlap_of_a_known_key_ends_in_time(processes):
    """
    That is looked at in each request, too.
    """
    there = processes[1]
    key, value = keys.create(there, name="k", now=NOON)
    keys.rotate(there, key, overlap_s=60, now=NOON)
    keys.authenticate(there, value, now=NOON)

    with pytest.raises(Unauthorized, match="rotated"):
        keys.authenticate(there, value, now=NOON + timedelta(seconds=60))


def test_a_known_key_is_refused_from_other_networks(processes):
    """
    That is looked at in each request, as well.
    """
    there = processes[1]
    _, value = keys.create(there, name="k", grant={"networks": ["10.0.0.0/8"]}, now=NOON)
    keys.authenticate(there, value, now=NOON, address="10.0.0.1")

    with pytest.raises(Forbidden):
        keys.authenticate(there, value, now=NOON, address="192.168.0.1")


def test_the_use_of_a_known_key_is_noted_each_minute(processes):
    """
    Once a minute, by whichever request is the first.
    """
    there = processes[1]
    key, value = keys.create(there, name="k", now=NOON)
    noted = []
    for seconds in (0, 30, 60, 90):
        keys.authenticate(there, value, now=NOON + timedelta(seconds=seconds))
        used_at = there.keys.get(key["_id"])["last_used_at"]
        noted.append((used_at - NOON).total_seconds())

    assert [0, 0, 60, 60] == noted


def test_a_node_that_is_not_enrolled_is_read_each_time(store, memory_nodes, clock):
    """
    Its status is changed by a request, which must see that.
    """
    nodes = Nodes(store._database["nodes"], cache=ReadCache(1, clock=clock))
    waiting, other = (a_node(store, memory_nodes)["_id"] for _ in range(2))
    store.nodes.update(waiting, {"status": "Unconfigured"})
    nodes.find_known({waiting, other})
    for node_id in (waiting, other):
        store.nodes.update(node_id, {"status": "Offline"})

    found = nodes.find_known({waiting, other})

    assert ("Offline", "Online") == (found[waiting]["status"], found[other]["status"])
