"""Backups: whole and of one moment, and back again, or refused before anything is written."""

import gzip
import stat
import threading
import tracemalloc

import bson
import pytest
from click.testing import CliRunner
from pymongo import MongoClient

from service import audit, cli, idempotency, instances, keys
from service.errors import StoreFailure
from service.model.documents import LeftBehind, Leftover
from service.model.lifecycle import OperationStatus
from service.model.ports import parse
from service.security.vault import Vault
from service.serving import embedded_mongod
from service.store import Store
from service.store.admin import backup, migrations, validators
from service.store.admin.backup import BackupError
from tests.receivers import a_webhook
from tests.support import (
    AT_NOON,
    NOON,
    a_drain,
    a_node,
    a_user,
    an_image,
    an_order,
    eventually,
    run_due,
)

pytestmark = [pytest.mark.fresh_database, pytest.mark.heavy]

VAULT = Vault("a secret key for tests")


@pytest.fixture
def file(tmp_path):
    """Where the backup is written."""
    return tmp_path / "skyquay.backup"


@pytest.fixture
def full(store, memory_nodes):
    """One document of each kind at least, of which one operation has not ended."""
    user, node, image = a_user(store), a_node(store, memory_nodes), an_image(store)
    a_node(store, memory_nodes, driver="skyportd", api_key="k" * 20, port=1, vault=VAULT)
    for port in (8080, 8081):
        order = an_order(user, node, image, ports=parse(f"80:{port}"), primary=port)
        instances.deploy(store, order, origin=AT_NOON)
        if port == 8080:
            run_due(store, memory_nodes)
    kept, _ = instances.deploy(
        store, {**order, "ports": parse("80:9090"), "primary": 9090}, origin=AT_NOON
    )
    instances.delete(store, kept["_id"], keep_s=60, origin=AT_NOON)
    left = LeftBehind(path="/volumes/ix", names=["a"], reason="EPERM")
    gone = Leftover(_id="ix", node_id=node["_id"], created_at=NOON, **left)
    store.transaction(lambda session: store.leftovers.put(gone, session=session))
    keys.create(store, name="bot", now=NOON)
    a_webhook(store, "http://192.0.2.1/")
    a_drain(store, node["_id"])
    audit.begin(
        store, action="a.b", target_kind=None, target_id=None, keep_s=1e9, now=store.server_time()
    )
    return store


@pytest.fixture
def other(config, mongo_client):
    """A store on a database in which nothing is."""
    name = f"{config.database}_other"
    store = Store(config.mongodb_uri, name)
    yield store
    store.close()
    mongo_client.drop_database(name)


@pytest.fixture
def a_claim(store):
    """A request that bears an Idempotency-Key, and was carried out."""
    wanted = {"key_id": "k", "idempotency_key": "1", "request": b""}
    return idempotency.begin(store, VAULT, **wanted)


@pytest.fixture
def there(mongo_client, config):
    """The database that is restored into."""
    return mongo_client[f"{config.database}_other"]


def read_all(database):
    """Read all documents of Skyquay's, but for what a restoration sets."""
    unset = {"probed_at": 0, "probing": 0, "deploying": 0, "revision": 0}
    return {name: list(database[name].find({}, unset).sort("_id")) for name in backup.KEPT}


def test_records_of_idempotency_keys_are_left_out(a_claim, full, other, file, there):
    """
    They end within a day, and speak of what may not be in the backup: restoring removes them.
    """
    there["idempotency"].insert_one({"_id": "of another time"})

    written = full.back_up(file)
    other.restore(file)

    assert "idempotency" not in written.counts
    assert 0 == there["idempotency"].count_documents({})


def test_what_is_restored_is_what_was_backed_up(full, other, file, database, there):
    """Every document of every kind comes back as it was."""
    written = full.back_up(file)

    restored = other.restore(file)

    before = read_all(database)
    assert before == read_all(there)
    assert all(before.values())
    assert {name: len(documents) for name, documents in before.items()} == written.counts
    assert written.counts == restored.counts


def test_a_restored_database_is_ready(full, other, file, database, there):
    """It has the indexes and the validators, and needs no migration."""
    full.back_up(file)
    other.restore(file)

    for name in validators.DOCUMENTS:
        assert database[name].index_information() == there[name].index_information()
    assert [] == validators.list_missing(there)
    assert [] == other.plan_migrations()


def test_only_its_owner_can_read_a_backup(full, file):
    """There are password hashes in it."""
    full.back_up(file)

    assert 0o600 == stat.S_IMODE(file.stat().st_mode)


def test_no_secret_is_readable_in_a_backup(full, file):
    """A node's key stays encrypted."""
    full.back_up(file)

    assert b"k" * 20 not in gzip.decompress(file.read_bytes())
    assert b"pending_secret" in gzip.decompress(file.read_bytes())


def test_a_backup_replaces_the_one_before(full, file):
    """It can be written to the same name each night."""
    file.write_text("the one before")

    full.back_up(file)

    assert 2 == backup.check(file).counts["instances"]
    assert [file.name] == [each.name for each in file.parent.iterdir() if each.is_file()]


def test_a_backup_that_fails_leaves_the_one_before(full, file, monkeypatch):
    """Half a backup never takes the place of a whole one."""
    file.write_text("the one before")

    def fail(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(backup.os, "fsync", fail)
    with pytest.raises(BackupError, match="No space left"):
        full.back_up(file)

    assert "the one before" == file.read_text()
    assert [file.name] == [each.name for each in file.parent.iterdir() if each.is_file()]


def test_a_folder_that_is_not_there_is_said_so(full, tmp_path):
    """In a sentence."""
    with pytest.raises(BackupError, match="No such file"):
        full.back_up(tmp_path / "nowhere" / "file")


def cut(content):
    """End in the middle."""
    return content[: len(content) // 2]


def cut_end(content):
    """Leave the checksum out, and say so correctly in gzip's own."""
    records = bson.decode_all(gzip.decompress(content))
    return gzip.compress(b"".join(map(bson.encode, records[:-1])))


def drop_one(content):
    """Leave a document out."""
    records = bson.decode_all(gzip.decompress(content))
    return gzip.compress(b"".join(map(bson.encode, [*records[:2], *records[3:]])))


def change_one(content):
    """Change a letter in a document."""
    return gzip.compress(gzip.decompress(content).replace(b"user-", b"user_", 1))


def flip(content):
    """Turn a bit in the middle."""
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def append(content):
    """Go on after the end."""
    return content + gzip.compress(b"more")


DAMAGES = [cut, cut_end, drop_one, change_one, flip, append, lambda _: b"", lambda _: b"no gzip"]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_backup_is_refused(full, other, file, there, damage):
    """Nothing is written, not even with the order to replace."""
    full.back_up(file)
    file.write_bytes(damage(file.read_bytes()))

    with pytest.raises(BackupError, match="damaged, or not whole"):
        other.restore(file, replace=True)

    assert [] == there.list_collection_names()


def remake(file, **header):
    """Write the backup again with another header, and a right checksum."""
    records = bson.decode_all(gzip.decompress(file.read_bytes()))
    encoded = b"".join(map(bson.encode, [{**records[0], **header}, *records[1:-1]]))
    end = bson.encode({"sha256": backup.hashlib.sha256(encoded).hexdigest()})
    file.write_bytes(gzip.compress(encoded + end))


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ({"format": "other"}, "no backup of Skyquay"),
        ({"version": 2}, "newer version of Skyquay"),
        ({"schema": 99}, "newer version of Skyquay"),
        ({"counts": {"users": 7}}, "damaged, or not whole"),
        ({"counts": 7}, "damaged, or not whole"),
    ],
)
def test_a_backup_that_is_not_ours_is_refused(full, other, file, there, header, reason):
    """What another program or a newer version wrote is said so."""
    full.back_up(file)
    remake(file, **header)

    with pytest.raises(BackupError, match=reason):
        other.restore(file)

    assert [] == there.list_collection_names()


def test_what_is_restored_has_a_revision_that_it_never_had(full, other, file, there):
    """Else an answer that a client kept of later times would pass for that of now."""
    node = full.nodes.all()[0]
    full.back_up(file)

    other.restore(file)

    assert there["nodes"].find_one({"_id": node["_id"]})["revision"] > node["revision"] + 10**9


def test_a_database_with_documents_is_left_alone(full, file, database):
    """Nobody's documents are mixed with others, or lost by mistake."""
    full.back_up(file)
    before = read_all(database)

    with pytest.raises(BackupError, match=r"has documents already \(users, "):
        full.restore(file)

    assert before == read_all(database)


def test_a_database_that_was_only_prepared_is_empty(full, other, file, database, there):
    """Indexes and validators do not stand in the way."""
    other.prepare()
    full.back_up(file)

    other.restore(file)

    assert read_all(database) == read_all(there)


def test_documents_are_replaced_when_that_is_asked_for(full, other, file, database, there):
    """What was there is gone."""
    other.prepare()
    a_user(other)
    full.back_up(file)

    other.restore(file, replace=True)

    assert read_all(database) == read_all(there)


def test_a_restoration_that_was_cut_off_is_known(full, other, file, there, monkeypatch):
    """A half of the documents is not served; another attempt puts it right."""
    full.back_up(file)
    load = backup._load

    def crash(*arguments):
        load(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(backup, "_load", crash)
    with pytest.raises(KeyboardInterrupt):
        other.restore(file)
    monkeypatch.undo()

    with pytest.raises(StoreFailure, match="not restored to its end"):
        other.prepare()
    other.restore(file, replace=True)
    other.prepare()
    assert 2 == len(other.instances.all())


def test_what_was_running_is_taken_over_at_once(full, other, file):
    """The worker that had it is not there; its lease does not count."""
    running = full.claims.take("a-worker", lease_s=3600)
    full.back_up(file)
    other.restore(file)

    taken = eventually(lambda: other.claims.take("another", lease_s=30))

    assert (running["_id"], OperationStatus.RUNNING) == (taken["_id"], taken["status"])
    assert not other.claims.renew(running["_id"], "a-worker", lease_s=30)


def test_a_running_operation_may_have_one_behind_it(full, other, file):
    """Both come back, since an instance may have one of each."""
    running = full.claims.take("a-worker", lease_s=3600)
    instances.delete(full, running["instance_id"], origin=AT_NOON)
    full.back_up(file)

    other.restore(file)

    behind = other.operations.list_newest({"instance_id": running["instance_id"]}, limit=9)
    assert {"running", "pending"} == {operation["status"] for operation in behind}


def test_a_node_s_only_deployment_is_over(full, other, file):
    """Whoever held a node for a deployment is gone."""
    node = full.nodes.all()[0]
    full.nodes.lock_deploy(node["_id"], operation_id="o", instance_id="i", hold_s=3600)
    full.back_up(file)
    other.restore(file)

    assert [] == other.nodes.list_deploying()


def test_an_older_backup_is_brought_up_to_date(full, other, file, database):
    """Its documents are migrated from the version that it is of."""
    database.command("collMod", "nodes", validator={})
    database["meta"].update_one(migrations.SCHEMA, {"$set": {"version": 2}})
    database["nodes"].update_many({}, {"$unset": {"allow_same_engine": "", "probing": ""}})
    assert 2 == full.back_up(file).schema

    other.restore(file)

    assert {(True, None)} == {(n["allow_same_engine"], n["probing"]) for n in other.nodes.all()}
    assert [] == other.plan_migrations()


def test_the_lock_of_a_migration_is_not_restored(full, other, file, there):
    """Whoever held it is not there."""
    full.back_up(file)
    other.restore(file)

    schema = there["meta"].find_one({"_id": "schema"})
    assert (migrations.MIGRATIONS[-1].number, None) == (schema["version"], schema["lock"])


@pytest.mark.slow
def test_a_backup_is_of_one_moment(store, config, memory_nodes, other, tmp_path):
    """While others deploy: each instance has its operation, and is counted on its node."""
    user, node, image = a_user(store), a_node(store, memory_nodes), an_image(store)
    stop, ports = threading.Event(), iter(range(20000, 60000))

    def deploy():
        while not stop.is_set():
            order = an_order(user, node, image, ports=parse(f"80:{next(ports)}"), primary=None)
            order["primary"] = str(order["ports"][0].host)
            instances.deploy(store, order, origin=AT_NOON)

    thread = threading.Thread(target=deploy)
    thread.start()
    try:
        eventually(lambda: store.instances.count() > 20)
        files = [tmp_path / f"{number}.backup" for number in range(5)]
        written = [store.back_up(file) for file in files]
    finally:
        stop.set()
        thread.join()

    numbers = [contents.counts["instances"] for contents in written]
    assert len(set(numbers)) > 1
    for file in files:
        other.restore(file, replace=True)
        placed = {instance["_id"] for instance in other.instances.all()}
        [operations, [node]] = other.operations.all(), other.nodes.all()
        assert placed == {operation["instance_id"] for operation in operations}
        assert len(placed) == node["allocated"]["instances"]


@pytest.mark.slow
def test_memory_does_not_grow_with_the_database(store, other, file, database, memory_nodes):
    """Thirty megabytes pass through a few."""
    image = an_image(store)
    database["images"].insert_many(
        {**image, "_id": f"i{number}", "name": f"n{number}", "description": "x" * 300_000}
        for number in range(100)
    )

    tracemalloc.start()
    store.back_up(file)
    _, writing = tracemalloc.get_traced_memory()
    tracemalloc.reset_peak()
    other.restore(file)
    _, reading = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert 101 == other.images.count()
    # One answer of the database has up to 16 MiB, which the client holds twice while it reads.
    assert max(writing, reading) < 60e6


@pytest.fixture
def skyquay(config, monkeypatch):
    """Run the command on the test's database, or on another."""
    monkeypatch.setenv("SKYQUAY_MONGODB_URI", config.mongodb_uri)
    monkeypatch.setenv("SKYQUAY_DATA_DIR", str(config.data_dir))

    def run(*words, database=config.database, env=None):
        environment = {"SKYQUAY_DATABASE": database, **(env or {})}
        return CliRunner().invoke(cli.main, list(map(str, words)), env=environment)

    return run


def test_the_commands_carry_everything_over(full, skyquay, file, there, database):
    """A backup and its restoration say what they did."""
    backed_up = skyquay("backup", file)
    restored = skyquay("restore", file, database=there.name)

    counts = "1 users, 1 images, 2 keys, 2 nodes, 2 instances, 1 deleted_instances, 4 operations"
    assert f"{file} has {counts}" in backed_up.output
    assert "Restored 1 users, " in restored.output
    assert read_all(database)["instances"] == read_all(there)["instances"]


def test_a_restoration_is_recorded(full, skyquay, file, other):
    """Who looks at the audit log sees that it is another's."""
    skyquay("backup", file)
    skyquay("restore", file, database=other._database.name)

    actions = [(entry["action"], entry["outcome"]) for entry in full.audit.all()]
    restored = {(entry["action"], entry["outcome"]) for entry in other.audit.all()}
    assert {("cli.restore", "done")} == restored - set(actions)


def test_another_secret_key_is_pointed_out(full, skyquay, file, there):
    """Nodes whose keys cannot be read could not be used."""
    skyquay("backup", file)
    wrong = {"SKYQUAY_SECRET_KEY": "another secret key for tests"}

    outcome = skyquay("restore", file, database=there.name, env=wrong)

    assert "does not open the secrets" in outcome.output


def test_the_command_refuses_in_a_sentence(full, skyquay, file):
    """With an exit code."""
    skyquay("backup", file)

    outcome = skyquay("restore", file)

    assert (1, True) == (outcome.exit_code, "--replace deletes them first" in outcome.output)


@pytest.mark.spawns
def test_a_private_database_is_restored_into(full, skyquay, file, tmp_path, database):
    """It is started for that, and has everything when `up` starts it the next time."""
    folder = tmp_path / "new"
    skyquay("backup", file)
    private = {"SKYQUAY_MONGODB_URI": "", "SKYQUAY_DATA_DIR": str(folder)}

    outcome = skyquay("restore", file, env=private)

    assert 0 == outcome.exit_code, outcome.output
    assert embedded_mongod.find_running(folder) is None
    with embedded_mongod.start(folder) as mongod, MongoClient(mongod.uri) as client:
        there = read_all(client[database.name])
    assert {**read_all(database), "audit": there["audit"]} == there


def test_nothing_is_restored_while_up_runs(full, skyquay, file, tmp_path):
    """It would go on with documents that are gone."""
    folder = tmp_path / "new"
    skyquay("backup", file)

    with embedded_mongod.lock(folder):
        private = {"SKYQUAY_MONGODB_URI": "", "SKYQUAY_DATA_DIR": str(folder)}
        outcome = skyquay("restore", file, env=private)

    assert (1, True) == (outcome.exit_code, "Another Skyquay is running" in outcome.output)
