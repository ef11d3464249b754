"""Keys that are revoked or rotated over the API, while other processes know them."""

from copy import copy

import pytest

from service import keys
from service.api.wait_slots import WaitSlots
from service.store.keys import Keys
from service.store.read_cache import ReadCache
from tests.support import NOON, ApiClient, a_key, an_app

MINE = {"name": "k", "scopes": ["instances:read"]}


class Clock:
    """A clock that only a pause moves."""

    at = 100.0

    def __call__(self):
        """Tell the time."""
        return self.at

    def pause(self, seconds):
        """Let so many seconds pass."""
        self.at += seconds


@pytest.fixture
def clients(config, store, memory_nodes):
    """Clients of two apps, as of two processes that know keys for a second; with one key."""
    clock, value = Clock(), a_key(store)
    made = []
    for _ in range(2):
        own = copy(store)
        own.keys = Keys(store._database["keys"], cache=ReadCache(1, clock=clock, pause=clock.pause))
        made.append(ApiClient(an_app(config, own, memory_nodes).test_client(), value))
    return made


def use(clients, value):
    """Tell what each process answers to the bearer of a value."""
    return [
        client.flask.get("/api/name", headers={"x-api-key": value}).status_code
        for client in clients
    ]


def test_a_revoked_key_is_refused_by_each_process_at_once(clients):
    """
    From the answer on, also by a process that had just accepted it.
    """
    made = clients[0].post("/api/keys", MINE).json
    before = use(clients, made["key"])

    answer = clients[0].delete(f"/api/keys/{made['id']}")

    assert ([200, 200], 200) == (before, answer.status)
    assert [401, 401] == use(clients, made["key"])


def test_a_rotated_key_is_refused_by_each_process_at_once(clients):
    """
    Without overlap, from the answer on.
    """
    made = clients[0].post("/api/keys", MINE).json
    before = use(clients, made["key"])

    new = clients[0].post(f"/api/keys/{made['id']}/rotate", {"overlap": 0}).json["key"]

    assert [200, 200] == before
    assert [401, 401] == use(clients, made["key"])
    assert [200, 200] == use(clients, new)


@pytest.mark.parametrize(("limits", "status"), [((), 200), (("user_id",), 503)])
def test_only_limited_keys_need_a_slot_to_revoke(
    config, store, memory_nodes, place, limits, status
):
    """
    Their holders cannot hold all threads; whoever has all rights revokes whatever others wait for.
    """
    user_id = place[0]["_id"]
    grant = dict.fromkeys(limits, user_id)
    value = keys.create(store, name="k", grant=grant, now=NOON)[1]
    slots = WaitSlots(4)
    app = an_app(config, store, memory_nodes, wait_slots=slots)
    api = ApiClient(app.test_client(), value)
    made = api.post("/api/keys", MINE).json

    with slots.slot("a"), slots.slot("b"):
        answer = api.delete(f"/api/keys/{made['id']}")

    assert status == answer.status
    assert (status == 503) == (store.keys.find(made["id"]) is not None)
