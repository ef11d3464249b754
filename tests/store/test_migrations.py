"""Documents of earlier versions: each kind is brought up to date, once, whoever crashes."""

import re
import threading

import pytest
from click.testing import CliRunner
from pymongo import MongoClient

from service import cli, instances, keys
from service.contract.images import ImageAnswer
from service.contract.instances import InstanceAnswer
from service.contract.keys import KeyAnswer
from service.contract.nodes import NodeAnswer
from service.contract.operations import OperationAnswer
from service.contract.users import UserAnswer
from service.errors import StoreFailure, StoreUnavailable
from service.model.ports import parse
from service.store import Store
from service.store.admin import migrations, validators
from tests.support import AT_NOON, NOON, a_node, a_user, an_image, an_order, list_collections

pytestmark = pytest.mark.fresh_database

NUMBERS = [migration.number for migration in migrations.MIGRATIONS]
FIRST, LATEST = NUMBERS[0], NUMBERS[-1]
PENDING = NUMBERS[1:]
"""What a database of the first version lacks."""

ADDED = {
    4: {"allow_same_engine": True, "same_engine_as": None, "memory_from_engine": False},
    6: {"probing": None},
    11: {"public_address": None},
    15: {"max_swap_mib": None, "pinnable_cores": None, "max_stop_grace_s": None},
    23: {"schedulable": True, "max_instances": None, "port_range": None},
    26: {"disk_overallocate": None, "allocated.disk_mib": 0, "capacity.disk_mib": None},
}
"""The fields of nodes that migrations add, with what nodes of before have in them."""


def age(database, version):
    """Take from the database what later versions than this one brought."""
    for number, fields in ADDED.items():
        if number > version:
            database.command("collMod", "nodes", validator={})
            database["nodes"].update_many({}, {"$unset": dict.fromkeys(fields, "")})
    if version < 5:
        database["settings"].drop()
    database["meta"].update_one(migrations.SCHEMA, {"$set": {"version": version}})


@pytest.fixture
def owner(store, memory_nodes):
    """The user of a database with one document of each kind."""
    user, node, image = a_user(store), a_node(store, memory_nodes), an_image(store)
    instances.deploy(store, an_order(user, node, image), origin=AT_NOON)
    keys.create(store, name="old", now=NOON)
    return user


@pytest.fixture
def old(owner, database):
    """The same as the first version left it."""
    age(database, FIRST)
    return owner


def snapshot(database):
    """Read everything that is stored."""
    return {name: list(database[name].find()) for name in sorted(list_collections(database))}


@pytest.mark.heavy
@pytest.mark.parametrize("version", NUMBERS)
def test_a_database_of_every_version_opens(owner, store, database, version):
    """It is complete afterwards, and its documents are in shape."""
    age(database, version)

    store.prepare()

    assert LATEST == migrations.read_version(database)
    assert [] == store.plan_migrations() + store.list_stale_validators()
    assert store.settings.read_installation_id()
    for name in validators.DOCUMENTS:
        assert 0 == database[name].count_documents({"$nor": [validators.make_validator(name)]})


@pytest.mark.heavy
def test_nodes_of_earlier_versions_are_completed(old, store):
    """They go on as they were: unlimited, several of one engine, and probed by nobody."""
    store.migrate()

    [node] = store.nodes.all()
    expected = {**ADDED[4], **ADDED[6], **ADDED[11]}
    assert expected == {field: node[field] for field in expected}


@pytest.mark.heavy
def test_what_is_there_stays_as_it_is(old, store, database):
    """Only what is missing is added, also beside an explicit null."""
    there = {"allow_same_engine": False, "same_engine_as": "engine"}
    database["nodes"].update_one({}, {"$set": {**there, "probing": None}})

    store.migrate()

    [node] = store.nodes.all()
    expected = {**there, "probing": None, "memory_from_engine": False}
    assert expected == {field: node[field] for field in expected}


@pytest.mark.heavy
def test_old_documents_are_read_by_the_program(old, store):
    """What was brought up to date can be answered, and is found by its owner."""
    store.migrate()

    mine = store.within(user_id=old["_id"])
    [node] = store.nodes.all()
    [instance] = mine.instances.all()
    shown = [
        UserAnswer.shape(mine.users.all()[0]),
        ImageAnswer.shape(store.images.all()[0]),
        NodeAnswer.shape(node),
        InstanceAnswer.shape({**instance, "node": node, "operation_id": None}),
        OperationAnswer.shape(mine.operations.all()[0]),
        KeyAnswer.shape(store.keys.all()[0]),
    ]
    assert all(shown)


@pytest.mark.heavy
def test_the_keys_of_users_who_are_gone_are_revoked(old, store, database):
    """Earlier versions kept them; those of users who are there, and of nobody, stay."""
    own, _ = keys.create(store, name="own", grant={"user_id": old["_id"]}, now=NOON)
    orphan = {**own, "_id": "orphan", "digest": "orphan", "user_id": "gone"}
    database["keys"].insert_one(orphan)

    store.migrate()

    assert ["old", "own"] == sorted(key["name"] for key in store.keys.all())
    assert store.keys.find("orphan") is None


@pytest.mark.heavy
def test_a_plan_writes_nothing(old, store, database):
    """It counts what it would change, and not even makes the collection for itself."""
    before = snapshot(database)

    changes = store.plan_migrations()

    assert PENDING == [change.number for change in changes]
    assert [
        {"nodes": 1},
        {"settings": 1},
        {"nodes": 1},
        {"keys": 0},
        {"nodes": 1},
        {"nodes": 1},
        {"nodes": 1},
        {"users": 1},
        {"nodes": 1},
    ] == [change.counts for change in changes if change.counts]
    assert before == snapshot(database)


@pytest.mark.heavy
def test_what_is_done_is_not_pending(old, store, database):
    """The number of the last migration is written down, with the time."""
    store.migrate()

    schema = database["meta"].find_one({"_id": "schema"})
    assert (LATEST, None) == (schema["version"], schema["lock"])
    assert schema["migrated_at"] > schema["migrated_at"].replace(year=2000)
    assert ([], []) == (store.plan_migrations(), store.migrate())


@pytest.mark.heavy
def test_of_many_that_start_at_once_one_migrates(old, config):
    """The others wait, and find it done."""
    stores = [Store(config.mongodb_uri, config.database) for _ in range(6)]
    start, done = threading.Barrier(len(stores)), []

    def begin(store):
        start.wait()
        done.append([change.number for change in store.migrate()])

    threads = [threading.Thread(target=begin, args=(store,)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for store in stores:
        store.close()

    assert [[], [], [], [], [], PENDING] == sorted(done)


@pytest.mark.heavy
def test_a_crash_in_the_middle_is_repeated(old, store, database, monkeypatch):
    """What was done in part is done again, from the step that did not end."""
    *before, cut, last = migrations.MIGRATIONS[:5]

    def crash(database, *, write):
        cut.work(database, write=write)
        raise KeyboardInterrupt

    monkeypatch.setattr(migrations, "MIGRATIONS", [*before, cut._replace(work=crash), last])
    with pytest.raises(KeyboardInterrupt):
        store.migrate()
    monkeypatch.undo()

    changes = store.migrate()
    assert NUMBERS[NUMBERS.index(cut.number) :] == [change.number for change in changes]
    assert {"settings": 0} == changes[0].counts


def hold(database, *, lease_s):
    """Leave the lock as a process that died does."""
    taken = migrations._lock(database["meta"], lease_s)
    assert taken.__enter__()
    until = database["meta"].find_one({"_id": "schema"})["lock"]["until"]
    taken.__exit__(None, None, None)
    lock = {"token": "of the dead", "until": until}
    database["meta"].update_one({"_id": "schema"}, {"$set": {"lock": lock}})


@pytest.mark.heavy
def test_the_lock_of_a_dead_process_runs_out(old, database):
    """Who waits takes over once the lease is over."""
    hold(database, lease_s=0.3)

    assert PENDING == [change.number for change in migrations.migrate(database)]


def test_nobody_waits_for_ever(old, database):
    """A process that is still at it is left to it, and the caller told to come again."""
    hold(database, lease_s=60)

    with pytest.raises(StoreUnavailable, match="still migrating"):
        migrations.migrate(database, wait_s=0)


def test_a_lease_is_renewed_while_a_migration_lasts(old, database, monkeypatch):
    """A migration may take longer than the lease."""
    seen = threading.Event()

    def last(database, *, write):
        until = lambda: database["meta"].find_one({"_id": "schema"})["lock"]["until"]  # noqa: E731
        before = until()
        while until() == before:
            seen.wait(0.02)
        seen.set()
        return {}

    monkeypatch.setattr(migrations, "MIGRATIONS", [migrations.Migration(LATEST, "Last.", last)])
    migrations.migrate(database, lease_s=0.3)

    assert seen.is_set()


def test_a_migration_may_take_longer_than_a_call(old, config, monkeypatch):
    """The bound on calls is for requests."""

    def slow(database, *, write):
        database["users"].find_one({"$where": "sleep(600) || true"})
        return {"users": 1}

    monkeypatch.setattr(migrations, "MIGRATIONS", [migrations.Migration(LATEST, "Slow.", slow)])
    with MongoClient(config.mongodb_uri, timeoutMS=300) as hasty:
        changes = migrations.migrate(hasty[config.database])

    assert [{"users": 1}] == [change.counts for change in changes]


@pytest.mark.heavy
def test_a_late_migration_does_not_turn_the_number_back(old, store, database):
    """Who lost its lease and ends after its successor changes nothing of the number."""
    store.migrate()

    migrations._apply(database, migrations.MIGRATIONS[0])

    assert LATEST == migrations.read_version(database)


def test_a_database_of_a_newer_version_is_refused(store, database):
    """An older program would read its documents wrongly."""
    database["meta"].update_one({"_id": "schema"}, {"$set": {"version": LATEST + 1}})

    with pytest.raises(StoreFailure, match="newer version of Skyquay"):
        store.prepare()


def test_migrations_are_numbered_without_gaps():
    """Their numbers say their order."""
    assert list(range(2, LATEST + 1)) == NUMBERS


@pytest.fixture
def migrate(config, monkeypatch):
    """Run `skyquay migrate` on the test's database."""
    monkeypatch.setenv("SKYQUAY_MONGODB_URI", config.mongodb_uri)
    monkeypatch.setenv("SKYQUAY_DATABASE", config.database)
    return lambda *words: CliRunner().invoke(cli.main, ["migrate", *words])


@pytest.mark.heavy
def test_the_command_says_what_it_did(old, migrate, store):
    """One line a migration, with its documents; afterwards there is nothing to do."""
    printed = migrate().output

    assert "6  Let one worker at a time probe a node. (1 nodes)\n" in printed
    assert "The database is up to date.\n" == migrate().output


@pytest.mark.heavy
def test_the_command_can_be_tried(old, migrate, store, database):
    """A dry run says the same and writes nothing."""
    before = snapshot(database)

    printed = migrate("--dry-run").output

    assert [*map(str, PENDING), "A"] == [
        re.match(r"\d+|A", line)[0] for line in printed.splitlines()
    ]
    assert before == snapshot(database)


def test_the_command_refuses_a_newer_database(store, migrate, database):
    """It says so in a sentence."""
    database["meta"].update_one({"_id": "schema"}, {"$set": {"version": LATEST + 1}})

    outcome = migrate("--dry-run")

    assert (1, True) == (outcome.exit_code, "newer version of Skyquay" in outcome.output)


def test_what_users_have_is_counted(store, database, memory_nodes):
    """Of instances from before, also what is held for changes; again it counts the same."""
    user, idle = a_user(store), a_user(store)
    order = an_order(user, a_node(store, memory_nodes), an_image(store), disk_gb=1.1)
    instance, _ = instances.deploy(store, order, origin=AT_NOON)
    store.instances.change(instance["_id"], {"reserved": {"memory_mib": 256, "cpu_milli": 1500}})
    database["users"].update_many({}, {"$unset": {"used": "", "quota": ""}})
    for _ in range(2):
        database["meta"].update_one({"_id": "schema"}, {"$set": {"version": 23}})
        store.migrate()

    counted = [store.users.get(each["_id"]).get("used") for each in (user, idle)]
    assert [
        {"instances": 1, "memory_mib": 256, "cpu_milli": 1500, "disk_mb": 1100, "ports": 1},
        None,
    ] == counted


@pytest.mark.heavy
def test_the_disk_of_instances_is_counted(store, memory_nodes, database):
    """A node that admits disk later knows what it has promised already."""
    user, node, image = a_user(store), a_node(store, memory_nodes), an_image(store)
    for port, disk_gb in ((80, 10), (81, 0.5), (82, None)):
        ports = parse(f"80:{port}")
        order = an_order(user, node, image, disk_gb=disk_gb, ports=ports, primary=str(port))
        instances.deploy(store, order, origin=AT_NOON)
    counted = store.nodes.get(node["_id"])["allocated"]
    age(database, 26)

    store.prepare()

    assert counted == store.nodes.get(node["_id"])["allocated"]
    assert 10 * 1024 + 512 == counted["disk_mib"]
