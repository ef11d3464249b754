"""The doctor: each thing that can be wrong is found, and said with what to do."""

import json
import re
import shutil
from contextlib import closing
from dataclasses import replace
from datetime import timedelta

import pytest
from click.testing import CliRunner

from service import cli, instances
from service.admin import doctor
from service.admin.doctor.database import GRANT, judge_members, judge_transactions
from service.admin.doctor.findings import Finding, Level
from service.app import make_drivers, utc_now
from service.drivers import ContainerSpec
from service.model.lifecycle import NodeStatus, PowerAction
from service.model.origin import Origin
from service.model.ports import parse
from service.security.vault import Vault
from service.store import Store
from tests.support import a_node, a_user, an_image, an_order, free_port, run_due

VAULT = Vault("a secret key for tests")


@pytest.fixture
def examine(store, memory_nodes, config):
    """Examine the test's installation, all of it or one subject."""

    def examine(
        subject=None, *, on=store, open_driver=memory_nodes, vault=VAULT, mend=False, now=utc_now
    ):
        settings = {"data_dir": config.data_dir, "probe_interval_s": 30, "mend": mend}
        found = list(doctor.examine(on, open_driver, vault, **settings, now=now))
        return next(each for each in found if each.subject == subject) if subject else found

    return examine


@pytest.fixture
def seen(store):
    """What the database says of itself, to be changed."""
    return store.inspect()


def test_nothing_is_wrong_with_what_is_well(examine, store, memory_nodes):
    """Each subject is named once, and nothing needs to be done."""
    node = a_node(store, memory_nodes)
    store.nodes.update(node["_id"], {"probed_at": utc_now()})

    found = [each for each in examine() if "disk" not in each.subject]

    assert [
        "database",
        "members",
        "transactions",
        "schema",
        "indexes",
        "validators",
        "samples",
        "clock",
        "secret key",
        "node node",
        "probes",
        "queue",
        "quotas",
        "promises",
    ] == [each.subject for each in found]
    assert {(Level.OK, "")} == {(each.level, each.remedy) for each in found}


@pytest.mark.heavy
def test_a_wrong_count_of_a_user_is_found_and_mended(examine, store, memory_nodes):
    """Only where that is asked for."""
    user = a_user(store)
    store.users.change(user["_id"], {"used": {**user["used"], "ports": 7}})

    found = examine("quotas")
    mended = examine("quotas", mend=True)

    assert (Level.WARN, "Run `skyquay doctor --mend`, which counts anew.") == (
        found.level,
        found.remedy,
    )
    assert user["_id"] in found.found
    assert (Level.OK, user["used"]) == (mended.level, store.users.get(user["_id"])["used"])


@pytest.mark.heavy
def test_a_wrong_count_of_a_node_is_found_and_mended(examine, store, memory_nodes):
    """With both numbers, and only where that is asked for."""
    node = a_node(store, memory_nodes)
    wrong = {"instances": 3, "memory_mib": 256, "cpu_milli": 1500, "disk_mib": 10}
    store.nodes.update(node["_id"], {"allocated": wrong})

    found = examine("promises")
    mended = examine("promises", mend=True)

    assert (Level.WARN, "Run `skyquay doctor --mend`, which counts anew.") == (
        found.level,
        found.remedy,
    )
    assert (
        "node counts 3 instances, 256 MiB of memory, 1.5 cores and 10 MiB of disk, and holds "
        "0 instances, 0 MiB of memory, 0 cores and 0 MiB of disk."
    ) in found.found
    assert (Level.OK, node["allocated"]) == (
        mended.level,
        store.nodes.get(node["_id"])["allocated"],
    )


@pytest.mark.parametrize(
    ("ages_s", "over", "level"),
    [
        ({"probed_at": 0}, {}, Level.OK),
        ({"probed_at": 200}, {}, Level.WARN),
        ({"last_seen_at": 0}, {"probed_at": None}, Level.OK),
        ({"last_seen_at": 200}, {"probed_at": None}, Level.WARN),
        ({"probed_at": 200}, {"status": NodeStatus.OFFLINE}, Level.WARN),
        ({"probed_at": 200}, {"status": NodeStatus.UNCONFIGURED}, Level.OK),
    ],
)
def test_nodes_that_nobody_probes_are_told(examine, store, memory_nodes, ages_s, over, level):
    """Nodes that are to be probed, and are not, have no worker."""
    made = a_node(store, memory_nodes)
    times = {name: utc_now() - timedelta(seconds=age_s) for name, age_s in ages_s.items()}
    store.nodes.update(made["_id"], {**times, **over})

    found = examine("probes")

    assert (level, level == Level.WARN) == (found.level, "`skyquay worker`" in found.remedy)


def test_nothing_is_changed(examine, store, memory_nodes, look):
    """Also a node that is probed stays as it was stored."""
    node = a_node(store, memory_nodes)
    memory_nodes[node["_id"]].faults.silence()
    before = look()

    examine()

    assert before == look()


@pytest.mark.heavy
def test_a_database_that_is_away_fails(examine, config):
    """The rest of it is left out."""
    away = Store(f"mongodb://127.0.0.1:{free_port()}/?serverSelectionTimeoutMS=200", "x")

    found = examine("database", on=away)

    away.close()
    assert (Level.FAIL, True) == (found.level, found.found.startswith("The database does not"))
    assert "SKYQUAY_MONGODB_URI" in found.remedy


def test_a_database_that_cannot_be_used_fails(examine, store, monkeypatch):
    """An old or lone server is named."""
    monkeypatch.setattr(store, "check_server", lambda: "MongoDB is 4.4.0; Skyquay needs 6.0.")

    assert [(Level.FAIL, "MongoDB is 4.4.0; Skyquay needs 6.0.")] == [
        (each.level, each.found) for each in examine() if each.subject == "database"
    ]


@pytest.mark.parametrize(
    ("members", "up", "level"),
    [(None, None, Level.OK), (1, 1, Level.OK), (2, 2, Level.WARN), (3, 3, Level.OK),
     (1, None, Level.OK), (3, 2, Level.WARN), (3, 1, Level.FAIL), (2, 1, Level.FAIL)],
)  # fmt: skip
def test_members_are_counted_against_the_majority(seen, members, up, level):
    """Without a majority nothing is written."""
    assert level == judge_members(replace(seen, members=members, members_up=up)).level


@pytest.mark.parametrize("members", [2, 3])
def test_members_that_cannot_be_seen_are_warned_of(seen, members):
    """One that is down would not be noticed, and it is said what to grant."""
    found = judge_members(replace(seen, members=members, members_up=None))

    assert (Level.WARN, GRANT) == (found.level, found.remedy)
    assert found.found.endswith("Cannot see whether all members are up.")


@pytest.mark.parametrize(("limit_s", "level"), [(10, "ok"), (15, "ok"), (60, "warn")])
def test_a_long_life_of_transactions_is_warned_of(seen, limit_s, level):
    """It is how long a process that was killed blocks a node."""
    found = judge_transactions(replace(seen, transaction_lifetime_s=limit_s))

    assert (level, level == "warn") == (found.level, "=10" in found.remedy)


@pytest.mark.parametrize(("members", "remedy"), [(3, GRANT), (None, "of the shards.")])
def test_a_life_of_transactions_that_cannot_be_seen_is_said(seen, members, remedy):
    """It may well be right, so nobody is told to set it."""
    found = judge_transactions(replace(seen, transaction_lifetime_s=None, members=members))

    assert (Level.WARN, True) == (found.level, found.remedy.endswith(remedy))
    assert found.found.startswith("Cannot see")


def test_a_clock_that_differs_is_warned_of(examine):
    """Keys and leases end by one or the other."""
    late = lambda: utc_now() + timedelta(seconds=9)  # noqa: E731

    assert (Level.WARN, "differ by 9.0 s") == (
        examine("clock", now=late).level,
        examine("clock", now=late).found[-16:-1],
    )


@pytest.mark.fresh_database
def test_a_missing_index_fails(examine, database):
    """Without it the promises of the API are not kept."""
    database["instances"].drop_index("node_id_1_ports_1")

    found = examine("indexes")

    assert (Level.FAIL, True) == (found.level, "instances.node_id_1_ports_1" in found.found)


@pytest.mark.heavy
@pytest.mark.fresh_database
def test_a_missing_validator_is_warned_of(examine, database):
    """It is a second net."""
    database.command("collMod", "users", validator={})

    assert (Level.WARN, "These are missing: users.") == (
        examine("validators").level,
        examine("validators").found,
    )


@pytest.mark.heavy
@pytest.mark.fresh_database
def test_samples_may_be_kept_in_a_plain_collection(examine, store, database):
    """Of a service without time series; a collection that is missing is made by a migration."""
    assert "time series" in examine("samples").found
    database.drop_collection("samples")

    assert Level.FAIL == examine("samples").level
    database.create_collection("samples")
    assert (Level.OK, True) == (examine("samples").level, "plain" in examine("samples").found)


@pytest.mark.fresh_database
def test_a_validator_of_another_version_fails(examine, database):
    """It may refuse every deploy."""
    database.command("collMod", "operations", validator={"kind": "deploy"})

    found = examine("validators")

    assert (Level.FAIL, True) == (found.level, "operations" in found.found)
    assert "dbAdmin" in found.remedy


@pytest.mark.heavy
@pytest.mark.fresh_database
@pytest.mark.parametrize(("version", "level"), [(0, Level.WARN), (99, Level.FAIL)])
def test_a_schema_of_another_version_is_found(examine, database, version, level):
    """Its documents are not read, since they are other ones."""
    database["meta"].update_one({"_id": "schema"}, {"$set": {"version": version}})

    assert level == examine("schema").level
    assert "queue" not in {each.subject for each in examine()}


@pytest.mark.heavy
@pytest.mark.fresh_database
def test_a_restoration_that_was_cut_off_fails(examine, database):
    """It is said how to end it."""
    database["meta"].insert_one({"_id": "restoring"})

    assert (Level.FAIL, "Run `skyquay restore --replace` again.") == (
        examine("schema").level,
        examine("schema").remedy,
    )


def test_no_secret_key_fails(examine):
    """Workers do not start without one."""
    assert Level.FAIL == examine("secret key", vault=Vault("")).level


def test_a_wrong_secret_key_fails(examine, store, memory_nodes):
    """The nodes whose secrets it does not open are named."""
    a_node(store, memory_nodes, driver="skyportd", name="daemon", api_key="k", vault=VAULT)

    found = examine("secret key", vault=Vault("another secret key for tests"))

    assert (Level.FAIL, True) == (found.level, "nodes daemon." in found.found)


@pytest.mark.parametrize(
    ("over", "found"),
    [
        (
            {"driver": "skyportd", "api_key": "k"},
            "It opens the secrets of all nodes that have any.",
        ),
        ({}, "No node has secrets."),
    ],
)
def test_a_secret_key_that_fits_is_fine(examine, store, memory_nodes, over, found):
    """Also where there is nothing to open."""
    a_node(store, memory_nodes, vault=VAULT, **over)

    assert Finding(Level.OK, "secret key", found) == examine("secret key")


def test_a_process_node_that_is_not_allowed_here_fails(examine, store, memory_nodes, config):
    """It has no engine and no address that could be wrong: it is said which setting it takes."""
    a_node(store, memory_nodes, driver="process")
    open_driver = make_drivers(replace(config, allow_process=False))

    found = examine("node node", open_driver=open_driver)

    assert (Level.FAIL, True) == (found.level, "SKYQUAY_ALLOW_PROCESS=1" in found.remedy)


@pytest.mark.spawns
def test_nothing_is_started_by_looking(examine, store, config):
    """A program that died is not started by the doctor; a worker does that."""
    open_driver = make_drivers(config)
    node = a_node(store, open_driver, driver="process")
    ports = parse(f"80:{free_port()}")
    spec = ContainerSpec(
        instance_id=instances.make_id(),
        image="any",
        cmd="exit 3",
        env={},
        memory_mib=64,
        cpu_milli=1000,
        ports=ports,
        primary=ports[0],
    )
    with closing(open_driver(node)) as driver:
        driver.create(spec, checkpoint=lambda: None)
        driver.power(spec.instance_id, PowerAction.START)
        record = config.data_dir / "instances" / spec.instance_id / "instance.json"
        before = record.read_bytes()

        assert Level.OK == examine("node node", open_driver=open_driver).level

        after = record.read_bytes()
        driver.remove(spec.instance_id)
    assert before == after


def test_a_node_that_is_down_fails(examine, store, memory_nodes):
    """With the reason of the probe that was made just now."""
    node = a_node(store, memory_nodes)
    memory_nodes[node["_id"]].faults.silence("the cable is out")

    found = examine("node node")

    assert (Level.FAIL, True) == (found.level, "Online, and does not answer" in found.found)
    assert found.found.endswith(": the cable is out.")


def test_a_node_that_only_workers_do_not_reach_is_warned_of(examine, store, memory_nodes):
    """It answers from here."""
    node = a_node(store, memory_nodes)
    store.nodes.update(node["_id"], {"status": NodeStatus.OFFLINE, "probe_error": "no route"})

    found = examine("node node")

    assert (Level.WARN, True) == (found.level, found.found.endswith(": no route."))


@pytest.mark.heavy
def test_a_node_that_never_enrolled_is_warned_of(examine, store, memory_nodes):
    """It is said what its daemon needs."""
    a_node(store, memory_nodes, driver="skyportd", name="new")

    assert (Level.WARN, True) == (
        examine("node new").level,
        "configure-key" in examine("node new").remedy,
    )


@pytest.fixture
def waiting(store, memory_nodes):
    """An operation that a worker should have taken long ago."""
    user, node, image = a_user(store), a_node(store, memory_nodes), an_image(store)
    _, operation = instances.deploy(
        store,
        an_order(user, node, image),
        origin=Origin(store.server_time() - timedelta(minutes=5)),
    )
    return operation


def test_an_operation_that_nobody_takes_is_warned_of(examine, waiting, store):
    """No worker runs."""
    found = examine("queue")

    waited_s = (store.server_time() - waiting["created_at"]).total_seconds()
    assert Level.WARN == found.level
    assert 300 <= int(re.search(r"taken (\d+) s ago", found.found)[1]) <= round(waited_s)
    assert "skyquay worker" in found.remedy


@pytest.mark.heavy
def test_an_operation_whose_worker_died_is_warned_of(examine, waiting, store, database):
    """Nobody takes it over."""
    store.claims.take("dead", lease_s=30)
    long_ago = store.server_time() - timedelta(minutes=2)
    database["operations"].update_one({}, {"$set": {"lease.until": long_ago}})

    assert (Level.WARN, True) == (examine("queue").level, "1 run;" in examine("queue").found)


def test_an_operation_under_way_is_fine(examine, waiting, store):
    """However long it takes, and what waits behind it too."""
    store.claims.take("alive", lease_s=30)
    instances.delete(
        store, waiting["instance_id"], origin=Origin(store.server_time() - timedelta(minutes=4))
    )

    assert Finding(Level.OK, "queue", "1 operations wait, 1 run.") == examine("queue")


def test_what_waits_for_a_node_that_is_down_is_fine(examine, waiting, store):
    """The node is what is wrong."""
    store.nodes.update(waiting["node_id"], {"status": NodeStatus.OFFLINE, "probe_error": "x"})

    assert Level.OK == examine("queue").level


def test_what_a_node_does_not_remove_is_warned_of(examine, store, memory_nodes):
    """An instance that stays DELETING, with the node's reason."""
    place = a_user(store), a_node(store, memory_nodes), an_image(store)
    instance_id = instances.deploy(store, an_order(*place), origin=Origin(utc_now()))[0]["_id"]
    memory_nodes[place[1]["_id"]].faults.refuse("device or resource busy")
    instances.delete(store, instance_id, origin=Origin(utc_now()))
    run_due(store, memory_nodes)

    found = examine(f"instance {instance_id}")

    assert (Level.WARN, True) == (found.level, "device or resource busy" in found.found)


@pytest.mark.parametrize(("free", "level"), [(50, "ok"), (5, "warn"), (1, "fail")])
def test_a_full_disk_is_found(examine, config, monkeypatch, free, level):
    """While there is still time to make room."""
    usage = shutil._ntuple_diskusage(100, 100 - free, free)
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: usage)

    assert level == examine(f"disk of {config.data_dir}").level


@pytest.fixture
def skyquay(config, monkeypatch):
    """Run `skyquay doctor` on the test's database."""
    monkeypatch.setenv("SKYQUAY_MONGODB_URI", config.mongodb_uri)
    monkeypatch.setenv("SKYQUAY_DATABASE", config.database)
    monkeypatch.setenv("SKYQUAY_DATA_DIR", str(config.data_dir))

    def run(*words, **environment):
        return CliRunner().invoke(cli.main, ["doctor", *words], env=environment)

    return run


def test_the_command_prints_a_line_for_each_finding(skyquay, store):
    """And ends with 0 when nothing fails."""
    outcome = skyquay(SKYQUAY_SECRET_KEY="a secret key for tests")

    assert "ok    queue: 0 operations wait, 0 run.\n" in outcome.output
    assert 0 == outcome.exit_code


def test_the_command_ends_with_1_when_something_fails(skyquay, store):
    """So that a script notices."""
    outcome = skyquay()

    assert (1, True) == (outcome.exit_code, "fail  secret key: SKYQUAY_SECRET" in outcome.output)


def test_the_command_prints_json(skyquay, store):
    """For programs, with the same end."""
    outcome = skyquay("--json")

    [found] = [each for each in json.loads(outcome.stdout) if each["subject"] == "secret key"]
    assert (1, "fail", True) == (outcome.exit_code, found["level"], bool(found["remedy"]))


def test_no_database_at_all_is_a_finding(skyquay, tmp_path):
    """Nothing is configured and nothing runs."""
    outcome = skyquay("--json", SKYQUAY_MONGODB_URI="", SKYQUAY_DATA_DIR=str(tmp_path / "none"))

    assert ["settings"] == [each["subject"] for each in json.loads(outcome.stdout)]
    assert 1 == outcome.exit_code


@pytest.mark.fresh_database
def test_a_database_that_nobody_prepared_is_left_as_it_is(skyquay, database):
    """The doctor makes nothing ready."""
    outcome = skyquay()

    assert "warn  schema: It is 0, of an earlier version" in outcome.output
    assert [] == database.list_collection_names()
