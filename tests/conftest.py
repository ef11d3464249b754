"""Fixtures for the whole suite: one real mongod, a database for each test, and the app on it."""

import gc
import io
import logging
import os
import signal
import subprocess
import threading
from contextlib import ExitStack, closing, suppress
from copy import copy
from dataclasses import dataclass
from functools import partial
from uuid import uuid4

import hypothesis
import pytest
from pymongo import MongoClient, monitoring
from waitress import wasyncore
from waitress.server import create_server

from service import app
from service.config import Config
from service.drivers.memory import MemoryNodes
from service.model.lifecycle import InstanceState
from service.store import read_cache
from service.store.changes import Changes
from service.store.event_log import EventLog
from service.telemetry import logs
from tests import quick, spawning
from tests.cheap import brief_reads, cheap_apps, cheap_hashes, poll_soon  # noqa: F401 - fixtures
from tests.left_threads import no_thread_is_left  # noqa: F401 - a fixture
from tests.own_databases import OwnDatabases
from tests.shared_mongod import run_mongod
from tests.support import (
    DEPLOY,
    ApiClient,
    a_body,
    a_key,
    a_node,
    a_user,
    an_app,
    an_image,
    empty,
    eventually,
    list_collections,
    run_due,
    skip_changes,
)

SLOW_S = 900
"""How long a test may take that is marked slow."""

TARGETS = {"alone", "browser", "fleet", "matrix", "podman", "slow"}
"""Marks with a target of their own in the Makefile; a test has one of them at the most."""

hypothesis.settings.register_profile("random", deadline=None)
hypothesis.settings.register_profile("fixed", derandomize=True, deadline=None)
hypothesis.settings.register_profile("few", derandomize=True, deadline=None, max_examples=20)
hypothesis.settings.load_profile("random" if "SKYQUAY_FUZZ_SEED" in os.environ else "fixed")


def pytest_addoption(parser):
    """Make what `make quick` does an option, which also serves for one folder or one file."""
    parser.addoption("--quick", action="store_true", help="Leave out what takes long.")


def pytest_xdist_auto_num_workers():
    """Run three times as many workers as there are cores: many tests wait for processes."""
    return 3 * len(os.sched_getaffinity(0))


def pytest_itemcollected(item):
    """Let what computes for long have its time on a busy machine, unless it says another.

    Each test runs in one target of the Makefile.
    """
    if len(targets := TARGETS.intersection(mark.name for mark in item.iter_markers())) > 1:
        raise pytest.UsageError(f"{item.nodeid} has several targets: {sorted(targets)}")
    if item.get_closest_marker("slow") and not item.get_closest_marker("timeout"):
        item.add_marker(pytest.mark.timeout(SLOW_S))


gc.disable()  # until all is collected, a quarter of which it would be to look for garbage


def pytest_collection_finish():
    """Look for garbage among what tests leave, and seldom: what was collected stays to the end."""
    gc.collect()
    gc.freeze()
    gc.enable()
    gc.set_threshold(10_000, 20, 10)


def pytest_configure(config):
    """Watch for processes, but where coverage is counted: two threads that trace would collide."""
    if not config.getoption("cov_source", None):
        spawning.install()
    if config.getoption("quick"):
        hypothesis.settings.load_profile("few")
        config.pluginmanager.register(quick.Selection(quick.LEFT_OUT | TARGETS))
        limit = quick.CommandLimit()
        monitoring.register(limit)  # before there are clients: only later ones know it
        config.pluginmanager.register(limit)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    """Let no test start processes that is not marked so: `make quick` leaves those out."""
    spawning.watch(None if item.get_closest_marker("spawns") else item.nodeid)
    return (yield)


@pytest.fixture(scope="session")
def mongod_uri():
    """The address of a mongod that all tests share. It is primary, and gone after the session."""
    with ExitStack() as stack:
        with spawning.allowed():
            uri = stack.enter_context(run_mongod())
        yield uri


@pytest.fixture(scope="session")
def mongo_client(mongod_uri):
    """A client of the shared mongod, for looking around and cleaning up."""
    with MongoClient(mongod_uri) as client:
        # A dropped database keeps its files open for 5 minutes, and is gone at the checkpoint after
        # that: thousands of tests would have more files open than a process may. Backups read what
        # was a moment ago, so there must be some of that.
        client.admin.command("setParameter", 1, minSnapshotHistoryWindowInSeconds=30)
        client.admin.command("setParameter", 1, syncdelay=5)
        # A write of the majority is then one in memory: the only member is never killed.
        members = client.admin.command("replSetGetConfig")["config"]
        members |= {"writeConcernMajorityJournalDefault": False, "version": members["version"] + 1}
        client.admin.command("replSetReconfig", members)
        yield client


@pytest.fixture(scope="session", autouse=True)
def nobody_is_logged_in(tmp_path_factory):
    """Have commands find no login of whoever runs the tests."""
    before = os.environ.get("XDG_CONFIG_HOME")
    os.environ["XDG_CONFIG_HOME"] = str(tmp_path_factory.mktemp("config"))
    yield
    if before is None:
        del os.environ["XDG_CONFIG_HOME"]
    else:
        os.environ["XDG_CONFIG_HOME"] = before


@pytest.fixture(scope="session", autouse=True)
def documents_read_each_time():
    """Remember no documents, so that no revocation waits: tests of that bring a cache."""
    before = read_cache.LIFETIME_S
    read_cache.LIFETIME_S = 0
    yield
    read_cache.LIFETIME_S = before


@pytest.fixture(scope="session", autouse=True)
def hanging_up():
    """Have programs that tests start end at SIGHUP, also where the tests themselves run on."""
    before = signal.getsignal(signal.SIGHUP)
    if before == signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda *_: None)  # which no program inherits
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.fixture(scope="session")
def shared_store(mongod_uri, mongo_client):
    """A store on a database with its indexes and validators, which tests have in turn.

    Who changes more than documents there would disturb all others: `fresh_database` is for that.
    """
    with closing(app.make_store(Config(mongodb_uri=mongod_uri, database="shared"))) as store:
        store.prepare()
        yield store
        assert [] == store.list_missing_indexes() + store.list_stale_validators()


@pytest.fixture(scope="session")
def emptied(shared_store, mongo_client):
    """The collections of the shared database but for those of the database itself.

    Its schema and its installation stay. No test makes another collection there.
    """
    database = mongo_client[shared_store._database.name]
    names = set(database.list_collection_names())
    yield set(list_collections(database)) - {"meta", "settings"}
    assert names == set(database.list_collection_names())


@pytest.fixture(scope="session")
def own_databases(mongo_client):
    """What tests that are marked `fresh_database` have in turn, with its indexes and validators."""
    databases = OwnDatabases(mongo_client)
    yield databases
    databases.drop()


@pytest.fixture
def database_name(request, mongo_client):
    """The name of an empty database that is this test's own while it runs.

    Its indexes and validators are there, but for a test that is marked `fresh_database`: that has a
    database of its own, which has nothing until its store is made.
    """
    if request.node.get_closest_marker("fresh_database") is None:
        name = request.getfixturevalue("shared_store")._database.name
        empty(mongo_client[name], request.getfixturevalue("emptied"))
        skip_changes(mongo_client[name])
        yield name
    elif "store" in request.fixturenames and not request.node.get_closest_marker("docker"):
        # Containers know a database by its id, which stays.
        databases = request.getfixturevalue("own_databases")
        yield databases.name
        databases.put_back()
    else:
        name = f"test_{uuid4().hex}"
        yield name
        mongo_client.drop_database(name)


@pytest.fixture
def config(mongod_uri, database_name, tmp_path):
    """Settings for tests."""
    return Config(
        mongodb_uri=mongod_uri,
        database=database_name,
        data_dir=tmp_path,
        listen="127.0.0.1:0",
        allow_process=True,
        allow_loopback_nodes=True,
        probe_interval_s=1,
        secret_key="a secret key of the tests",
    )


@pytest.fixture
def store(request, config):
    """A store on an empty database, with its indexes.

    Tests of one worker share its connections, and none closes them. Their database is prepared
    already, so that no app prepares it again. What waits for changes is each test's own.
    """
    if request.node.get_closest_marker("fresh_database") is None:
        store = copy(request.getfixturevalue("shared_store"))
        store.check_server = store.prepare = store.close = lambda: None
        store.event_log = EventLog(store._client, store._database, await_s=0.05)
        with closing(Changes(store._database, await_s=0.05)) as store.changes:
            yield store
    else:
        with closing(app.make_store(config)) as store:
            own_databases = request.getfixturevalue("own_databases")
            if config.database == own_databases.name:
                own_databases.prepare(store)
            else:
                store.prepare()
            yield store


@pytest.fixture
def memory_nodes():
    """Nodes that exist in memory only, and can be made to refuse, fail and stall."""
    return MemoryNodes()


@pytest.fixture
def api(config, store, memory_nodes):
    """A client with a key, of an app whose nodes are in memory. No worker runs."""
    flask = an_app(config, store, memory_nodes)
    return ApiClient(flask.test_client(), a_key(store))


@pytest.fixture
def worker(config, store, memory_nodes):
    """A worker that runs, on nodes in memory."""
    worker = app.make_worker(config, store, memory_nodes)
    worker.start()
    yield worker
    worker.stop()


@dataclass(frozen=True)
class LiveServer:
    """A server on a loopback port."""

    url: str
    key: str


@pytest.fixture
def live_server(config, store, memory_nodes, worker):
    """The app on waitress, with a worker, on nodes in memory."""
    flask = an_app(config, store, memory_nodes)
    server = create_server(flask, host="127.0.0.1", port=0, threads=4, ident=None)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    yield LiveServer(f"http://127.0.0.1:{server.effective_port}", a_key(store))
    with suppress(OSError):  # its loop may close while it is still being told to
        # Also the connections that clients keep: it would serve those for as long.
        server.trigger.pull_trigger(partial(wasyncore.close_all, server._map))
    thread.join(timeout=10)
    server.task_dispatcher.shutdown()


@pytest.fixture
def place(store, memory_nodes):
    """What a deploy needs: a user, a node that is Online, an image."""
    return a_user(store), a_node(store, memory_nodes), an_image(store)


@pytest.fixture
def node(place):
    """The node of the place."""
    return place[1]


@pytest.fixture
def here(memory_nodes, node):
    """What the node of the place runs."""
    return memory_nodes[node["_id"]]


@pytest.fixture
def ready(api, store, memory_nodes, place):
    """The id of an instance that runs."""
    deployed = api.post(DEPLOY, a_body(place)).json
    run_due(store, memory_nodes)
    # A worker of the test may have claimed it first.
    assert eventually(lambda: store.instances.get(deployed["Id"])["state"] == InstanceState.READY)
    return deployed["Id"]


@pytest.fixture
def database(mongo_client, config):
    """The test's database, past the store."""
    return mongo_client[config.database]


@pytest.fixture
def logged():
    """All that is logged, at DEBUG, as an operator's log has it; afterwards it is as before."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    logs.set_up(Config(log_format="json", log_level="DEBUG"))
    written = io.StringIO()
    root.handlers[0].setStream(written)
    yield written
    root.handlers[:] = before
    root.setLevel(level)


@pytest.fixture
def look(mongo_client, config):
    """Look at all that is stored, but for the keys, of which each use is noted."""
    database = mongo_client[config.database]

    def look():
        return {
            name: list(database[name].find())
            for name in ("users", "images", "nodes", "instances", "operations")
        }

    return look


@pytest.fixture
def programs(config, tmp_path):
    """Start programs of Skyquay on the test's database; they are ended afterwards."""
    started = []

    def start(*words, **env):
        log = (tmp_path / f"{words[0].name}-{len(started)}.log").open("w")
        process = subprocess.Popen(
            words,
            env={
                **os.environ,
                "SKYQUAY_MONGODB_URI": config.mongodb_uri,
                "SKYQUAY_DATABASE": config.database,
                "SKYQUAY_DATA_DIR": str(tmp_path / "data"),
                "SKYQUAY_ALLOW_PROCESS": "1",
                "SKYQUAY_SECRET_KEY": "a secret key of the tests",
                **env,
            },
            stdout=log,
            stderr=log,
        )
        started.append((process, log))
        return process

    yield start
    for process, log in started:
        process.terminate()
        process.wait(60)
        log.close()
