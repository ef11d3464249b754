"""One engine is one node, and has the memory that it reports."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace

import pytest
from click.testing import CliRunner

from service import cli, drift, nodes, probing
from service.app import create_app
from service.contract.nodes import NodeAnswer
from service.drivers import ContainerSpec
from service.drivers.docker.engine import DockerEngine
from service.drivers.memory import REPORT, Container, MemoryNode
from service.drivers.process.runner import ProcessRunner
from service.drivers.skyportd.daemon import Skyportd
from service.errors import CapacityExceeded, NodeExists
from service.model.lifecycle import NodeStatus
from service.model.node_warnings import list_warnings
from service.model.ports import parse
from service.serving import first_start
from service.store.admin import migrations
from tests.docker_images import SOCKET, require_engine
from tests.fake_skyportd import FakeSkyportd
from tests.support import (
    AT_NOON,
    DEPLOY,
    NOON,
    ApiClient,
    a_body,
    a_key,
    a_node,
    a_user,
    an_image,
)

ADDRESS = "unix:///engine.sock"
MEMORY_MIB = REPORT.memory_mib
"""What nodes in memory report."""


@pytest.fixture
def engine():
    """An engine in memory, which all nodes of its API are of."""
    return MemoryNode("engine")


@pytest.fixture
def add(config, store, engine):
    """Add a node of the engine over the API."""
    app = create_app(config, store, lambda _: engine)
    api = ApiClient(app.test_client(), a_key(store))

    def add(name, **over):
        body = {"name": name, "driver": "docker", "address": ADDRESS, **over}
        return api.post("/api/nodes/create", body)

    return add


def probe(store, engine, node_id):
    """Probe a node of the engine; answer it as it is then."""
    return probing.probe(store, lambda _: engine, store.nodes.get(node_id), now=NOON)


# An engine is known by its id


def test_a_second_node_of_one_engine_is_refused(store, add):
    """409, which names the first; nothing is stored."""
    first = add("first").json["id"]

    answer = add("second")

    assert (409, "node_exists", {"nodeId": [first]}) == (
        answer.status,
        answer.json["code"],
        answer.json["details"],
    )
    assert [first] == [node["_id"] for node in store.nodes.all()]


def test_a_second_node_may_be_said_to_be_of_the_engine(add):
    """Then it is added, with a warning that names the first."""
    first = add("first").json["id"]

    second = add("second", allowSameEngine=True)

    assert (201, "Online") == (second.status, second.json["status"])
    assert [True] == [first in warning for warning in second.json["warnings"]]


def test_the_engine_s_id_is_answered(add, engine):
    """With the cores that it reports, which are shown and not limited."""
    node = add("first").json

    assert (engine.engine_id, 64, None) == (node["engineId"], node["cores"], node["cpu"])


def test_engines_that_do_not_say_who_they_are_are_not_compared(store, memory_nodes, engine, add):
    """No id is not the same id."""
    add("other")
    nameless = [MemoryNode("a"), MemoryNode("b")]
    for node in nameless:
        node.engine_id = None

    added = [a_node(store, lambda _, node=node: node) for node in nameless]

    assert [NodeStatus.ONLINE] * 2 == [node["status"] for node in added]


def test_of_many_at_once_one_is_added(store, engine):
    """Whoever looked when there was no other is refused by the database."""
    together = threading.Barrier(4)

    class Together(MemoryNode):
        def close(self):
            together.wait(20)  # all have been probed, and nothing is stored

    def try_to_add(_):
        try:
            return a_node(store, lambda _: Together("engine"))["_id"]
        except NodeExists as exc:
            return exc.details["nodeId"][0]

    with ThreadPoolExecutor(4) as pool:
        named = set(pool.map(try_to_add, range(4)))

    assert [named] == [{node["_id"]} for node in store.nodes.all()]


def test_a_node_that_turns_out_to_be_of_the_engine_is_offline(store, add, engine):
    """It did not answer when it was added; nothing is ever placed on it, and it says why."""
    engine.faults.silence()
    late = add("late").json["id"]
    engine.faults.behave()
    first = add("first").json

    found = probe(store, engine, late)

    assert (NodeStatus.OFFLINE, True) == (found["status"], first["id"] in found["probe_error"])
    assert found["report"] is None


def test_of_two_that_turn_out_to_be_of_one_engine_at_once_one_is_online(store, add, engine):
    """The database tells which, though both looked when there was no other."""
    engine.faults.silence()
    late = [add(name).json["id"] for name in ("one", "two")]
    engine.faults.behave()
    together = threading.Barrier(2)

    class Together(MemoryNode):
        def close(self):
            together.wait(20)

    def look(node_id):
        return probe(store, Together("engine"), node_id)["status"]

    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(look, late))

    assert [NodeStatus.OFFLINE, NodeStatus.ONLINE] == sorted(found)


def test_of_two_whose_engines_become_one_at_once_one_warns(store, memory_nodes):
    """Both go on; the database shows one of them the other."""
    seen = [a_node(store, memory_nodes, name=name) for name in ("one", "two")]
    together = threading.Barrier(2)

    class Together(MemoryNode):
        def close(self):
            together.wait(20)

    with ThreadPoolExecutor(2) as pool:
        found = list(
            pool.map(
                lambda node: probing.probe(store, lambda _: Together("engine"), node, now=NOON),
                seen,
            )
        )

    assert [NodeStatus.ONLINE] * 2 == [node["status"] for node in found]
    assert [False, True] == sorted(bool(list_warnings(node)[1:]) for node in found)


def test_it_comes_online_when_the_other_is_gone(store, add, engine):
    """Its next probe finds it the only one."""
    engine.faults.silence()
    late = add("late").json["id"]
    engine.faults.behave()
    nodes.delete(store, add("first").json["id"], now=NOON)

    assert NodeStatus.ONLINE == probe(store, engine, late)["status"]


def test_a_node_whose_engine_becomes_another_s_goes_on(store, memory_nodes):
    """Its instances must still be reached: a warning is enough."""
    first, second = (a_node(store, memory_nodes, name=name) for name in ("first", "second"))
    memory_nodes[second["_id"]].engine_id = memory_nodes[first["_id"]].engine_id

    found = probing.probe(store, memory_nodes, second, now=NOON)

    assert (NodeStatus.ONLINE, first["_id"]) == (found["status"], found["same_engine_as"])


def test_the_warning_goes_with_the_other_node(store, add, engine):
    """After the next probe."""
    first = add("first").json["id"]
    second = add("second", allowSameEngine=True).json["id"]
    nodes.delete(store, first, now=NOON)

    assert [] == list_warnings(probe(store, engine, second))


@pytest.fixture
def of_before(mongo_client, config, store, add, engine):
    """Two Online nodes of one engine in a database that an earlier version left."""
    made = [add(name, allowSameEngine=True).json["id"] for name in ("one", "two")]
    database = mongo_client[config.database]
    added = ["allow_same_engine", "same_engine_as", "memory_from_engine", "report.engine_id"]
    gone = dict.fromkeys(added, "")
    database.command("collMod", "nodes", validator={})
    database["nodes"].drop_indexes()
    database["nodes"].update_many({}, {"$unset": gone, "$set": {"capacity.memory_mib": None}})
    database["meta"].update_one(migrations.SCHEMA, {"$set": {"version": 2}})
    return made


@pytest.mark.heavy
@pytest.mark.fresh_database
def test_nodes_of_one_engine_that_there_are_go_on(store, engine, of_before):
    """The index is made, both stay Online, and each warns of the other, once it was probed."""
    store.prepare()
    for _ in range(2):
        found = [probe(store, engine, node_id) for node_id in of_before]

    assert [NodeStatus.ONLINE] * 2 == [node["status"] for node in found]
    assert of_before[::-1] == [node["same_engine_as"] for node in found]


@pytest.mark.heavy
@pytest.mark.fresh_database
def test_nodes_that_there_are_stay_unlimited(store, engine, of_before):
    """With a warning."""
    store.prepare()

    found = probe(store, engine, of_before[0])

    assert found["capacity"]["memory_mib"] is None
    assert "not limited" in NodeAnswer.shape(found)["warnings"][0]


@pytest.mark.heavy
@pytest.mark.fresh_database
def test_a_new_node_of_an_engine_that_several_are_of_is_refused(store, engine, add, of_before):
    """They go on; that does not let others in."""
    store.prepare()
    for node_id in of_before:
        probe(store, engine, node_id)

    assert 409 == add("three").status


@pytest.mark.heavy
def test_the_command_refuses_too(config, store, monkeypatch):
    """Unless it is told `--same-engine`. What runs processes is this machine with its folder."""
    monkeypatch.setenv("SKYQUAY_MONGODB_URI", config.mongodb_uri)
    monkeypatch.setenv("SKYQUAY_DATABASE", config.database)
    monkeypatch.setenv("SKYQUAY_DATA_DIR", str(config.data_dir))
    monkeypatch.setenv("SKYQUAY_ALLOW_PROCESS", "1")

    def run(name, *options):
        words = ["nodes", "add", name, "--driver", "process", *options]
        return CliRunner().invoke(cli.main, words)

    added = run("one"), run("two"), run("three", "--same-engine")

    assert [0, 1, 0] == [outcome.exit_code for outcome in added]
    [first, _] = store.nodes.all()
    assert first["_id"] in added[1].output


@pytest.mark.docker
def test_a_docker_engine_says_who_it_is():
    """Its own id, whatever the address is."""
    with closing(require_engine()) as client:
        expected = client.info()["ID"]
    driver = DockerEngine(
        "node", base_url=f"unix://{SOCKET}", connect_timeout_s=10, read_timeout_s=30
    )
    with closing(driver):
        assert expected == driver.probe().engine_id


def test_a_machine_with_its_folder_is_known(tmp_path):
    """The same for the same folder, and the machine's own id is not shown."""
    roots = [tmp_path / "a", tmp_path / "a", tmp_path / "b"]

    first, again, other = (ProcessRunner("n", root=root).probe().engine_id for root in roots)

    assert (True, False) == (first == again, first == other)
    assert str(tmp_path) not in first


def test_a_daemon_hands_on_its_engine_s_id():
    """skyportd answers what Docker says."""
    with FakeSkyportd() as daemon:
        driver = Skyportd(
            "node", base_url=daemon.url, key=daemon.key, connect_timeout_s=10, read_timeout_s=10
        )
        with closing(driver):
            assert daemon.engine_id == driver.probe().engine_id


# Memory


@pytest.mark.parametrize("driver", ["docker", "process"])
def test_a_node_has_the_memory_that_its_engine_reports(add, driver):
    """Where `ram` is not given."""
    assert MEMORY_MIB == add("node", driver=driver).json["memoryMib"]


@pytest.mark.parametrize("kind", ["docker", "process"])
def test_the_first_node_has_the_memory_that_its_engine_reports(config, store, engine, kind):
    """The one that `skyquay up` makes of this machine."""
    settings = replace(config, local_node=kind)

    node = first_start.find_or_make_node(store, lambda _: engine, settings, now=NOON)

    assert MEMORY_MIB == node["capacity"]["memory_mib"]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"ram": "1"}, 1024),
        ({"ram": None}, MEMORY_MIB),
        ({"memoryOverallocate": 50}, MEMORY_MIB * 3 // 2),
        ({"memoryOverallocate": -1}, None),
        ({"ram": "plenty"}, None),
    ],
)
def test_what_was_said_of_the_memory_counts(add, fields, expected):
    """A node has what its `ram` says, stretched as always."""
    assert expected == add("node", **fields).json["memoryMib"]


def test_a_deploy_that_the_machine_cannot_hold_is_refused(config, store, engine, add):
    """409 with the numbers."""
    node = store.nodes.get(add("node").json["id"])
    place = a_user(store), node, an_image(store)
    api = ApiClient(create_app(config, store, lambda _: engine).test_client(), a_key(store))

    answer = api.post(DEPLOY, a_body(place, memory="4000 GB", cpu=900))

    assert (409, "capacity_exceeded") == (answer.status, answer.json["code"])
    assert MEMORY_MIB == answer.json["details"]["capacityMib"]


def test_memory_is_known_from_the_first_probe_that_answers(store, add, engine):
    """Before it there is none to give away."""
    engine.faults.silence()
    added = add("node").json
    engine.faults.behave()

    found = probe(store, engine, added["id"])

    assert (0, MEMORY_MIB) == (added["memoryMib"], found["capacity"]["memory_mib"])


def test_nothing_is_queued_beyond_what_is_known(config, store, engine, add):
    """A node that never answered has no memory yet."""
    engine.faults.silence()
    node = store.nodes.get(add("node").json["id"])
    place = a_user(store), node, an_image(store)
    api = ApiClient(create_app(config, store, lambda _: engine).test_client(), a_key(store))

    answer = api.post(DEPLOY, a_body(place, queue=True))

    assert (409, "capacity_exceeded") == (answer.status, answer.json["code"])


def test_what_runs_already_is_adopted_beyond_the_limit(store, engine, add):
    """It has the memory; the node warns, and takes nothing more."""
    node_id = add("node").json["id"]
    ports = parse("80:9090")
    spec = ContainerSpec(
        "istray2345ab", "orphan:1", None, {}, MEMORY_MIB + 1, 500, ports, ports[0]
    )  # fmt: skip
    engine.containers[spec.instance_id] = Container(spec)
    adopt = {"id": spec.instance_id, "user": a_user(store)["_id"], "name": None}

    drift.resolve(
        store,
        lambda _: engine,
        node_id,
        {"adopt": [adopt], "remove": [], "recreate": []},
        origin=AT_NOON,
    )

    [warning] = list_warnings(store.nodes.get(node_id))
    assert f"{MEMORY_MIB + 1} MiB of {MEMORY_MIB} MiB" in warning
    with pytest.raises(CapacityExceeded):
        store.transaction(
            lambda session: store.nodes.reserve(
                node_id, memory_mib=1, cpu_milli=10, session=session
            )
        )


def test_cores_that_are_promised_beyond_the_limit_are_told(store, memory_nodes):
    """As memory is."""
    node = a_node(store, memory_nodes, ram="1", processor="4", cpu_overallocate=0)
    node["allocated"]["cpu_milli"] = 4500

    assert ["More cores are promised than it may give away: 4.5 of 4."] == list_warnings(node)


def test_an_engine_that_does_not_say_how_much_it_has_is_not_limited(store, memory_nodes):
    """With a warning, as always."""
    node = a_node(store, memory_nodes, driver="docker", address=ADDRESS)
    node["capacity"]["memory_mib"] = None

    assert ["Its memory is not limited: its engine does not say how much it has."] == (
        list_warnings(node)
    )
