"""The wiring: which driver serves which node, and that nothing happens before it is needed."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace

import pytest

from service.app import create_app, make_drivers, make_store
from service.config import Config
from service.drivers.docker.engine import DockerEngine
from service.drivers.process.runner import ProcessRunner
from service.errors import NodeUnreachable
from tests.support import ApiClient, a_key


def a_node_document(**over):
    """Make what of a node its driver needs."""
    return {
        "_id": "node",
        "secret": None,
        "driver": "docker",
        "address": "10.0.0.1",
        "port": None,
        "tls": None,
        "report": None,
        "trusted_address": True,
        **over,
    }


def test_an_app_opens_no_connection_and_starts_no_thread():
    """An app can be made with nothing running, such as to print its document."""
    before = set(threading.enumerate())

    create_app(Config(mongodb_uri="mongodb://127.0.0.1:1"))

    assert set() == set(threading.enumerate()) - before


@pytest.mark.parametrize(
    ("node", "url"),
    [
        (a_node_document(), "tcp://10.0.0.1:2375"),
        (a_node_document(port=2376), "tcp://10.0.0.1:2376"),
        (a_node_document(address="fd00::1"), "tcp://[fd00::1]:2375"),
        (a_node_document(address="unix:///var/run/docker.sock"), "unix:///var/run/docker.sock"),
    ],
)
def test_a_docker_node_is_found_by_its_address(node, url):
    """An address is a URL, or a host with Docker's own port unless it says another."""
    driver = make_drivers(Config())(node)

    assert (DockerEngine, url) == (type(driver), driver._base_url)


def test_a_process_node_is_this_machine(tmp_path):
    """The instances of a process node live in the data folder."""
    open_driver = make_drivers(Config(allow_process=True, data_dir=tmp_path))

    driver = open_driver(a_node_document(driver="process"))

    assert (ProcessRunner, tmp_path / "instances") == (type(driver), driver._folders.root)


@pytest.mark.parametrize("driver", ["process", "skyportd"])
def test_what_is_not_served_here_waits_for_who_serves_it(driver):
    """A worker that cannot talk to a node does not fail what is to be done there."""
    with pytest.raises(NodeUnreachable):
        make_drivers(Config(allow_process=False))(a_node_document(driver=driver))


@pytest.mark.heavy
@pytest.mark.fresh_database
def test_the_first_request_prepares_the_database(config, memory_nodes):
    """Under any WSGI server the indexes, and the key of the settings, exist in time."""
    config = replace(config, api_key="a-key-of-my-own-choice")
    store = make_store(config)
    api = ApiClient(create_app(config, store, memory_nodes).test_client(), config.api_key)

    status = api.get("/api/users").status

    indexes = store.users._collection._collection.index_information()
    store.close()
    assert (200, True) == (status, "email_key_1" in indexes)


def test_of_first_requests_at_once_one_prepares(config, store, memory_nodes):
    """The others wait until it is done, and are answered."""
    key = a_key(store)
    app = create_app(config, store, memory_nodes)
    prepare, prepared = store.prepare, []
    together = threading.Barrier(2)

    def meet_and_prepare():
        prepared.append(True)
        with suppress(threading.BrokenBarrierError):
            together.wait(0.5)
        prepare()

    store.prepare = meet_and_prepare
    with ThreadPoolExecutor(4) as threads:
        ask = [threads.submit(ApiClient(app.test_client(), key).get, "/api/users") for _ in "1234"]
        statuses = [each.result().status for each in ask]

    assert ([200] * 4, 1) == (statuses, len(prepared))
