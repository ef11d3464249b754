"""How many commands of the database a request takes."""

from contextlib import closing

import pytest

from service.store import Store
from service.store.keys import Keys
from service.store.nodes import Nodes
from service.store.read_cache import ReadCache
from tests.support import DEPLOY, ApiClient, a_body, an_app


@pytest.fixture
def commands():
    """The names of the commands that were sent."""
    return []


@pytest.fixture
def watched(config, commands):
    """A store that remembers what it read, and whose commands are written down."""

    def write_down(command, *_):
        commands.append(command)

    with closing(Store(config.mongodb_uri, config.database, record_command=write_down)) as store:
        store.prepare = lambda: None
        store.keys = Keys(store._database["keys"], cache=ReadCache(1, clock=lambda: 0))
        store.nodes = Nodes(store._database["nodes"], cache=ReadCache(1, clock=lambda: 0))
        yield store


@pytest.mark.parametrize(
    ("method", "path", "body", "sent"),
    [
        ("GET", "/api/name", None, []),
        ("POST", "/api/getInstance", "id", ["find"]),
        ("POST", "/api/getUserInstance", "userId", ["find"]),
    ],
)
def test_a_look_up_is_one_command(
    config, watched, memory_nodes, api, place, commands, method, path, body, sent
):
    """
    Once the key and the node are known, only what was asked for is read.
    """
    instance_id = api.post(DEPLOY, a_body(place)).json["Id"]
    ids = {"id": instance_id, "userId": place[0]["_id"]}
    client = ApiClient(an_app(config, watched, memory_nodes).test_client(), api.key)

    def ask():
        commands.clear()
        return client.send(method, path, json=body and {body: ids[body]})

    ask()

    assert (200, sent) == (ask().status, commands)


def test_a_change_that_takes_no_port_looks_for_none(watched, commands):
    """
    What an instance has no transfer can hold.
    """
    watched.occupancy.refuse_held_ports("a-node", [], session=None)

    assert [] == commands


def test_a_deploy_reads_what_it_names_at_once(config, watched, memory_nodes, api, place, commands):
    """
    The user, the node, the image and the ports that transfers hold there are one query, the first
    of the transaction, which takes what it needs of the user and of the node.
    """
    client = ApiClient(an_app(config, watched, memory_nodes).test_client(), api.key)
    client.post(DEPLOY, {})
    commands.clear()

    deployed = client.post(DEPLOY, a_body(place))

    assert 201 == deployed.status
    written = ["findAndModify", "findAndModify", "insert", "insert"]
    # The first is for the audit log.
    assert ["insert", "aggregate", *written, "commitTransaction"] == commands[:7]


def test_a_deploy_that_is_wrong_writes_nothing(config, watched, memory_nodes, api, place, commands):
    """
    One query finds all that is wrong, in a transaction that is given up.
    """
    client = ApiClient(an_app(config, watched, memory_nodes).test_client(), api.key)
    client.post(DEPLOY, {})
    commands.clear()

    refused = client.post(DEPLOY, a_body(place, image="unknown", nodeId="unknown"))

    assert (400, {"image", "nodeId"}) == (refused.status, set(refused.json["details"]))
    # The first is for the audit log.
    assert ["insert", "aggregate", "abortTransaction"] == commands[:3]
