"""A real database hangs and comes back, while clients go on asking."""

import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace

import pytest
import requests
from waitress.server import create_server

from service.app import create_app
from service.serving import embedded_mongod
from service.store import Store
from tests.serving.test_server import served
from tests.support import ApiClient, a_key, eventually

pytestmark = pytest.mark.spawns

FULL_S = 10.0
BRIEF_S = 5.0
"""More than the second that requests wait for a database that is away, and less than the ten."""


@pytest.fixture(scope="module")
def mongod(tmp_path_factory):
    """A mongod of these tests' own."""
    with embedded_mongod.start(tmp_path_factory.mktemp("mongod")) as mongod:
        yield mongod


@pytest.fixture
def own_config(config, mongod):
    """Settings for that mongod."""
    return replace(config, mongodb_uri=mongod.uri)


@pytest.fixture
def own_store(own_config):
    """A store in that mongod."""
    store = Store(own_config.mongodb_uri, own_config.database)
    store.prepare()
    yield store
    store.close()


@pytest.fixture
def client(own_config, own_store, memory_nodes):
    """A client of an app on that mongod, which has asked once."""
    app = create_app(own_config, own_store, memory_nodes)
    client = ApiClient(app.test_client(), a_key(own_store))
    assert 200 == client.get("/api/users").status
    return client


@contextmanager
def away(mongod):
    """Let the database answer nothing inside."""
    mongod.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        mongod.process.send_signal(signal.SIGCONT)


def ask(client):
    """Ask for what is in the database; return the status and the seconds that it took."""
    began = time.monotonic()
    status = client.get("/api/users").status
    return status, time.monotonic() - began


def test_only_the_first_waits_long(client, mongod):
    """
    Who comes when the database is known to be away is told so soon, time after time.
    """
    with away(mongod):
        first, first_s = ask(client)
        others, others_s = zip(*(ask(client) for _ in range(2)), strict=True)

    assert (503, {503}) == (first, set(others))
    assert (True, True) == (first_s > FULL_S - 1, max(others_s) < BRIEF_S)


def test_after_its_return_requests_wait_again(client, mongod):
    """
    A request that comes at the beginning of the next outage outlives one of some seconds.
    """
    with away(mongod):
        ask(client)
    assert eventually(lambda: ask(client)[0] == 200)
    with away(mongod):
        timer = threading.Timer(3.0, mongod.process.send_signal, [signal.SIGCONT])
        timer.start()
        status, took_s = ask(client)
        timer.join()

    assert (200, True) == (status, took_s > 2.5)


def test_health_is_told_while_many_wait(own_config, own_store, memory_nodes, mongod):
    """
    More clients than threads go on asking, and the process still tells that it runs.
    """
    app = create_app(own_config, own_store, memory_nodes)
    server = create_server(app, host="127.0.0.1", port=0, threads=2, ident=None)
    url = f"http://127.0.0.1:{server.effective_port}"
    headers = {"x-api-key": a_key(own_store)}
    over = threading.Event()
    failed = threading.Event()

    def ask_on():
        while not over.is_set():
            if requests.get(f"{url}/api/users", headers=headers, timeout=60).status_code == 503:
                failed.set()

    serving = threading.Thread(target=server.run, daemon=True)
    serving.start()
    with ThreadPoolExecutor(4) as threads, away(mongod):
        for _ in range(4):
            threads.submit(ask_on)
        try:
            assert failed.wait(FULL_S * 3)
            # Whoever came before anybody knew may still be waiting.
            assert 200 == requests.get(f"{url}/healthz", timeout=FULL_S * 3).status_code
            statuses = {
                requests.get(f"{url}/healthz", timeout=BRIEF_S).status_code for _ in range(3)
            }
        finally:
            over.set()
    with suppress(OSError):
        server.trigger.pull_trigger(server.close)
    serving.join(timeout=10)
    server.task_dispatcher.shutdown()

    assert {200} == statuses


def test_health_is_told_from_the_first_moment_on(own_config, own_store, memory_nodes, mongod):
    """
    Where all threads wait for a database that has just gone away, the process says at once that it
    runs, and soon that it is not ready.
    """
    config = replace(own_config, threads=2)
    app = create_app(config, own_store, memory_nodes)
    headers = {"x-api-key": a_key(own_store)}

    with served(app, config) as port, away(mongod), ThreadPoolExecutor(8) as clients:
        url = f"http://127.0.0.1:{port}"
        waiting = [
            clients.submit(requests.get, f"{url}/api/users", headers=headers, timeout=FULL_S * 6)
            for _ in range(8)
        ]
        health = requests.get(f"{url}/healthz", timeout=BRIEF_S).status_code
        ready = requests.get(f"{url}/readyz", timeout=BRIEF_S).status_code
        statuses = {each.result().status_code for each in waiting}

    assert (200, 503, {503}) == (health, ready, statuses)
