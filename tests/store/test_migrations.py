"""Documents of earlier versions: each kind is brought up to date, once, whoever crashes."""

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
from service.store import Store
from service.store.admin import migrations
from tests.support import AT_NOON, NOON, a_node, a_user, an_image, an_order

pytestmark = pytest.mark.fresh_database

LATEST = migrations.MIGRATIONS[-1].number
ALL = list(range(1, LATEST + 1))


@pytest.fixture
def old(store, database, memory_nodes):
    """A database that an earlier version left: one document of each kind, without newer fields."""
    user, node, image = a_user(store), a_node(store, memory_nodes), an_image(store)
    instances.deploy(store, an_order(user, node, image), origin=AT_NOON)
    keys.create(store, name="old", now=NOON)
    database["meta"].drop()
    for name, fields in migrations._ADDED.items():
        # An earlier version had no validators either.
        database.command("collMod", name, validator={})
        database[name].update_many({}, {"$unset": dict.fromkeys(fields, "")})
    database["nodes"].update_many({}, {"$unset": {"probing": ""}})
    return user


def snapshot(database):
    """Read everything that is stored."""
    return {name: list(database[name].find()) for name in sorted(database.list_collection_names())}


ADDED = [(name, field) for name, fields in migrations._ADDED.items() for field in fields]


@pytest.mark.parametrize(("name", "field"), ADDED)
def test_documents_of_earlier_versions_are_completed(old, store, database, name, field):
    """Whatever a later version added is there afterwards."""
    outer, _, inner = field.partition(".")

    store.migrate()

    [document] = database[name].find()
    expected = old["_id"] if (name, field) == ("operations", "user_id") else (
        migrations._ADDED[name][field]
    )  # fmt: skip
    assert expected == (document[outer][inner] if inner else document[outer])


def test_nodes_of_earlier_versions_are_probed_by_nobody(old, store):
    """A node without a word of it may be probed at once."""
    store.migrate()

    assert [None] == [node["probing"] for node in store.nodes.all()]


def test_what_is_there_stays_as_it_is(store, database, old):
    """Only what is missing is added, also beside an explicit null and in an outer field."""
    database["nodes"].update_one({}, {"$set": {"tls": "sealed", "capacity.memory_mib": 7}})

    store.migrate()

    [node] = store.nodes.all()
    assert ("sealed", {"memory_mib": 7, "cpu_milli": None}) == (node["tls"], node["capacity"])


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


def test_an_operation_without_an_instance_has_no_owner(old, store, database):
    """Nothing tells whose it was, so it stays nobody's."""
    database["instances"].drop()

    store.migrate()

    assert [None] == [operation["user_id"] for operation in store.operations.all()]


def test_an_owner_that_was_left_empty_is_filled_in(old, store, database):
    """Versions before this one completed operations with no owner."""
    database["operations"].update_many({}, {"$set": {"user_id": None}})

    store.migrate()

    assert [old["_id"]] == [operation["user_id"] for operation in store.operations.all()]


def test_the_keys_of_users_who_are_gone_are_revoked(old, store, database):
    """Earlier versions kept them; those of users who are there, and of nobody, stay."""
    own, _ = keys.create(store, name="own", grant={"user_id": old["_id"]}, now=NOON)
    orphan = {**own, "_id": "orphan", "digest": "orphan", "user_id": "gone"}
    database["keys"].insert_one(orphan)

    store.migrate()

    assert ["old", "own"] == sorted(key["name"] for key in store.keys.all())
    assert store.keys.find("orphan") is None


def test_a_plan_writes_nothing(old, store, database):
    """It counts what it would change, and not even makes the collection for itself."""
    before = snapshot(database)

    changes = store.plan_migrations()

    assert ALL == [change.number for change in changes]
    assert {"keys": 1, "nodes": 1, "instances": 1, "operations": 1} == changes[0].counts
    assert {"operations": 1} == changes[1].counts
    assert before == snapshot(database)


def test_what_is_done_is_not_pending(old, store, database):
    """The number of the last migration is written down, with the time."""
    store.migrate()

    schema = database["meta"].find_one({"_id": "schema"})
    assert (LATEST, None) == (schema["version"], schema["lock"])
    assert schema["migrated_at"] > schema["migrated_at"].replace(year=2000)
    assert ([], []) == (store.plan_migrations(), store.migrate())


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

    assert [[], [], [], [], [], ALL] == sorted(done)


def test_a_crash_in_the_middle_is_repeated(old, store, database, monkeypatch):
    """What was done in part is done again, from the step that did not end."""
    first, second, *later = migrations.MIGRATIONS

    def crash(database, *, write):
        second.work(database, write=write)
        raise KeyboardInterrupt

    monkeypatch.setattr(migrations, "MIGRATIONS", [first, second._replace(work=crash), *later])
    with pytest.raises(KeyboardInterrupt):
        store.migrate()
    monkeypatch.undo()

    missing = [second.number, *(migration.number for migration in later)]
    assert missing == [change.number for change in store.migrate()]
    assert [old["_id"]] == [operation["user_id"] for operation in store.operations.all()]


def hold(database, *, lease_s):
    """Leave the lock as a process that died does."""
    taken = migrations._lock(database["meta"], lease_s)
    assert taken.__enter__()
    until = database["meta"].find_one({"_id": "schema"})["lock"]["until"]
    taken.__exit__(None, None, None)
    lock = {"token": "of the dead", "until": until}
    database["meta"].update_one({"_id": "schema"}, {"$set": {"lock": lock}})


def test_the_lock_of_a_dead_process_runs_out(old, database):
    """Who waits takes over once the lease is over."""
    hold(database, lease_s=0.3)

    assert ALL == [change.number for change in migrations.migrate(database)]


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

    monkeypatch.setattr(migrations, "MIGRATIONS", [migrations.Migration(1, "Last.", last)])
    migrations.migrate(database, lease_s=0.3)

    assert seen.is_set()


def test_a_migration_may_take_longer_than_a_call(old, config, monkeypatch):
    """The bound on calls is for requests."""

    def slow(database, *, write):
        database["users"].find_one({"$where": "sleep(600) || true"})
        return {"users": 1}

    monkeypatch.setattr(migrations, "MIGRATIONS", [migrations.Migration(1, "Slow.", slow)])
    with MongoClient(config.mongodb_uri, timeoutMS=300) as hasty:
        changes = migrations.migrate(hasty[config.database])

    assert [{"users": 1}] == [change.counts for change in changes]


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
    numbers = [migration.number for migration in migrations.MIGRATIONS]

    assert ALL == numbers


@pytest.fixture
def migrate(config, monkeypatch):
    """Run `skyquay migrate` on the test's database."""
    monkeypatch.setenv("SKYQUAY_MONGODB_URI", config.mongodb_uri)
    monkeypatch.setenv("SKYQUAY_DATABASE", config.database)
    return lambda *words: CliRunner().invoke(cli.main, ["migrate", *words])


def test_the_command_says_what_it_did(old, migrate, store):
    """One line a migration, with its documents; afterwards there is nothing to do."""
    printed = migrate().output

    assert "2  Name the owner of the instance in operations. (1 operations)\n" in printed
    assert "The database is up to date.\n" == migrate().output


def test_the_command_can_be_tried(old, migrate, store, database):
    """A dry run says the same and writes nothing."""
    before = snapshot(database)

    printed = migrate("--dry-run").output

    assert [*map(str, ALL), "A"] == [line[0] for line in printed.splitlines()]
    assert before == snapshot(database)


def test_the_command_refuses_a_newer_database(store, migrate, database):
    """It says so in a sentence."""
    database["meta"].update_one({"_id": "schema"}, {"$set": {"version": LATEST + 1}})

    outcome = migrate("--dry-run")

    assert (1, True) == (outcome.exit_code, "newer version of Skyquay" in outcome.output)
