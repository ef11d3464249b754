"""Moving in from a Skyport panel: its database, as years have left it, and what becomes of it."""

import json
import sqlite3
from contextlib import closing
from dataclasses import replace

import bcrypt
import pytest
from click.testing import CliRunner

from service import cli, drift, keys, nodes, users
from service.app import make_drivers
from service.vault import Vault
from tests.fake_skyportd import Container, FakeSkyportd
from tests.support import NOON, a_user

SECRET_KEY = "a secret key of the tests"
KEY = "panel-api-key-0123456789"
HASH = bcrypt.hashpw(b"correct horse", bcrypt.gensalt(4)).decode()
CID = "8c01a793747241c018a10df916561f803b0ef65380604bd388bafc7a0e4b78c4"


@pytest.fixture
def daemon():
    """The daemon of the panel's node, on which one instance runs."""
    with FakeSkyportd() as daemon:
        body = {"Id": "1f0c9a2e", "Image": "quay.io/skyport/java:21", "Memory": 1024}
        daemon.containers["1f0c9a2e"] = Container("1f0c9a2e", body, cid=CID, status="running")
        yield daemon


def a_panel_user(user_id, **over):
    """Make a user as the panel keeps it."""
    return {
        "userId": user_id, "username": user_id, "email": f"{user_id}@example.org",
        "password": HASH, "accessTo": [], "admin": False, "verified": True, **over,
    }  # fmt: skip


def a_panel_instance(instance_id, port, **over):
    """Make an instance as the panel keeps it."""
    return {
        "Name": f"server {instance_id}", "Id": instance_id, "VolumeId": instance_id,
        "Node": {"id": "node-1", "name": "n", "apiKey": "secret-in-a-copy"}, "User": "ada",
        "ContainerId": CID, "Memory": 1024, "Cpu": 1, "Ports": f"25565:{port}",
        "Primary": f"{port}", "Env": ["START=java", f"PRIMARY_PORT={port}"],
        "Image": "quay.io/skyport/java:21", "AltImages": [], "StopCommand": "stop",
        "imageData": {"Name": "Paper"}, "InternalState": "READY", **over,
    }  # fmt: skip


@pytest.fixture
def contents(daemon):
    """What stands in the panel's database, by key."""
    lives = a_panel_instance("1f0c9a2e", 25565)
    return {
        "users": [a_panel_user("ada", admin=True), a_panel_user("bob")],
        "images": [
            {"Id": "0c7d1e2f-image", "Name": "Paper", "Image": "quay.io/skyport/java:21",
             "Env": {"START": "java -jar server.jar"}, "Cmd": "", "Scripts": {"Install": []}}
        ],
        "nodes": ["node-1", "node-gone"],
        "node-1_node": {
            "id": "node-1", "name": "first", "tags": "eu", "ram": "16", "disk": "100",
            "processor": "Ryzen", "address": "127.0.0.1", "port": str(daemon.port),
            "apiKey": daemon.key, "status": "Online",
        },
        "instances": [lives],
        "1f0c9a2e_instance": lives,
        "ada_instances": [lives],
        "2b2b2b2b_instance": a_panel_instance("2b2b2b2b", 25570),
        "apiKeys": [{"key": KEY, "name": "bot"}],
        "settings": {"theme": "dark"},
        "name": "My Panel",
    }  # fmt: skip


@pytest.fixture
def panel_file(tmp_path, contents):
    """The panel's database; a function that writes it with what the test changed."""

    def write(**over):
        path = tmp_path / "skyport.db"
        path.unlink(missing_ok=True)
        with closing(sqlite3.connect(path)) as database, database:
            database.execute("CREATE TABLE keyv (key VARCHAR(255) PRIMARY KEY, value TEXT)")
            for key, value in {**contents, **over}.items():
                text = value if isinstance(value, bytes) else json.dumps(
                    {"value": value, "expires": None}
                )  # fmt: skip
                database.execute("INSERT INTO keyv VALUES (?, ?)", (f"keyv:{key}", text))
        return path

    return write


@pytest.fixture
def move_in(config, store, monkeypatch, tmp_path):
    """Run the command, and read its report."""
    monkeypatch.setenv("SKYQUAY_MONGODB_URI", config.mongodb_uri)
    monkeypatch.setenv("SKYQUAY_DATABASE", config.database)
    monkeypatch.setenv("SKYQUAY_DATA_DIR", str(config.data_dir))
    monkeypatch.setenv("SKYQUAY_SECRET_KEY", SECRET_KEY)

    def run(path, *options):
        report = tmp_path / "report.json"
        words = ["import-skyport", str(path), "--report", str(report), *options]
        outcome = CliRunner().invoke(cli.main, words)
        assert 0 == outcome.exit_code, outcome.output
        return json.loads(report.read_text())

    return run


def test_a_dry_run_tells_and_writes_nothing(move_in, panel_file, look):
    """Without --apply everything is looked at, and nothing changes."""
    before = look()

    report = move_in(panel_file())

    assert {
        "users": ["ada", "bob"],
        "nodes": ["node-1"],
        "images": ["0c7d1e2f-image"],
        "instances": ["1f0c9a2e"],
        "keys": [keys.digest(KEY)[:8]],
    } == report["new"]
    assert (False, before) == (report["applied"], look())


def test_what_was_said_is_done(move_in, panel_file):
    """--apply brings what the dry run named, and finds no other conflicts."""
    said = move_in(panel_file())

    done = move_in(panel_file(), "--apply")

    assert {**said, "applied": True} == done


def test_it_can_be_repeated(move_in, panel_file, look):
    """A second run finds everything there, and changes nothing."""
    first = move_in(panel_file(), "--apply")
    before = look()

    second = move_in(panel_file(), "--apply")

    assert (first["new"], before) == (second["there_already"], look())


def test_passwords_keep_working(move_in, panel_file, store):
    """A bcrypt hash is accepted, and gives way to argon2id at the first use."""
    move_in(panel_file(), "--apply")

    wrong = users.verify(store, "id", "ada", "battery staple", now=NOON)
    right = users.verify(store, "id", "ada", "correct horse", now=NOON)
    again = users.verify(store, "id", "ada", "correct horse", now=NOON)

    assert (None, "ada", "ada") == (wrong, right["_id"], again["_id"])
    assert store.users.get("ada")["password_hash"].startswith("$argon2id$")


def test_api_keys_keep_working(move_in, panel_file, store, look):
    """A key of the panel's opens our door, and is kept as a digest only."""
    move_in(panel_file(), "--apply")

    assert keys.authenticate(store, KEY, now=NOON)
    assert KEY not in str(store.keys.list())


def test_containers_run_on(move_in, panel_file, store, config, daemon):
    """The instance is READY, and nothing but looks was sent to its node."""
    move_in(panel_file(), "--apply")
    drivers = make_drivers(replace(config, secret_key=SECRET_KEY))
    node = nodes.probe(store, drivers, store.nodes.get("node-1"), now=NOON)

    drift.settle(store, drivers, node, now=NOON)

    after = store.instances.get("1f0c9a2e")
    assert ("Online", "READY", "running", CID, [25565], ["START=java"]) == (
        node["status"],
        after["state"],
        after["power"],
        after["container_id"],
        after["ports"],
        after["env"],
    )
    assert {"GET"} == {method for method, _ in daemon.calls}


def test_node_keys_are_encrypted(move_in, panel_file, store, daemon):
    """The node's key is used, and not stored in clear; the copies in instances are not brought."""
    move_in(panel_file(), "--apply")

    node = store.nodes.get("node-1")
    assert daemon.key == Vault(SECRET_KEY).open(node["secret"])
    assert daemon.key not in str(node)
    assert "secret-in-a-copy" not in str(store.instances.list())


def test_memory_is_counted(move_in, panel_file, store):
    """What is brought takes its share of the node."""
    move_in(panel_file(), "--apply")

    assert {"memory_mib": 1024, "cpu_milli": 1000, "instances": 1} == (
        store.nodes.get("node-1")["allocated"]
    )


def test_what_a_deletion_left_behind_is_not_brought(move_in, panel_file):
    """One copy without the others is no instance any more: it is named."""
    assert ["2b2b2b2b"] == move_in(panel_file())["left_behind"]


def test_what_is_in_two_lists_of_three_is_brought(move_in, panel_file):
    """A lost update of the panel's lost one copy."""
    lives = a_panel_instance("3c3c3c3c", 25580)

    report = move_in(panel_file(**{"3c3c3c3c_instance": lives, "bob_instances": [lives]}))

    assert ["1f0c9a2e", "3c3c3c3c"] == sorted(report["new"]["instances"])


def test_what_stands_in_the_list_alone_is_brought(move_in, panel_file):
    """The list is what the panel's pages show."""
    listed = [a_panel_instance("4d4d4d4d", 25590)]

    report = move_in(panel_file(instances=listed))

    assert ["1f0c9a2e", "4d4d4d4d"] == sorted(report["new"]["instances"])


def test_without_a_container_it_failed(move_in, panel_file, store):
    """An instance that the panel never saw READY is FAILED, to be deleted or retried."""
    move_in(panel_file(instances=[a_panel_instance("5e5e5e5e", 1, ContainerId=None)]), "--apply")

    after = store.instances.get("5e5e5e5e")
    assert ("FAILED", None) == (after["state"], after["container_id"])


@pytest.mark.parametrize(
    ("over", "what"),
    [
        ({"User": "nobody"}, "Its owner 'nobody' is not there."),
        ({"Node": {"id": "elsewhere"}}, "Its node 'elsewhere' is not there."),
        ({"Ports": "", "PortBindings": {}}, "Has no ports."),
        ({"Ports": "what"}, "'what' is not of the form container:host, like 80:8080."),
    ],
)
def test_what_cannot_be_brought_says_why(move_in, panel_file, over, what):
    """An instance that something is wrong with is damaged, and the others come."""
    report = move_in(panel_file(instances=[a_panel_instance("6f6f6f6f", 25600, **over)]))

    assert {"what": "instances 6f6f6f6f", "why": what} in report["damaged"]
    assert ["1f0c9a2e"] == report["new"]["instances"]


def test_damage_is_named(move_in, panel_file):
    """What cannot be read does not end the move."""
    report = move_in(panel_file(users=[{"name": "?"}, a_panel_user("ada")], settings=b"{"))

    assert {"users[0]", "settings", "node-gone_node"} <= {e["what"] for e in report["damaged"]}
    assert ["ada"] == report["new"]["users"]


def test_somebody_else_s_e_mail_is_a_conflict(move_in, panel_file, store):
    """A user of ours has the address: the panel's is not brought, nor are the instances."""
    a_user(store, username="another", email="ADA@example.org")

    report = move_in(panel_file(), "--apply")

    assert [{"what": "users ada", "why": "Another user has this email."}] == report["conflicts"]
    assert [] == report["new"]["instances"]


def test_a_port_is_not_given_twice(move_in, panel_file):
    """The panel gave one port to two instances: the first has it."""
    twice = [a_panel_instance("7a7a7a7a", 25565)]

    report = move_in(panel_file(instances=twice))

    assert 1 == len(report["new"]["instances"])
    assert "25565" in report["conflicts"][0]["why"]


def test_what_has_no_place_here_is_named(move_in, panel_file):
    """The panel's settings and its name are told, not brought."""
    assert ["settings", "name"] == move_in(panel_file())["not_moved"]


def test_another_file_is_refused(config, store, monkeypatch, tmp_path):
    """A file that is no panel's database is one sentence, not a traceback."""
    monkeypatch.setenv("SKYQUAY_MONGODB_URI", config.mongodb_uri)
    path = tmp_path / "photo.jpg"
    path.write_bytes(b"\xff\xd8\xff")

    outcome = CliRunner().invoke(cli.main, ["import-skyport", str(path)])

    assert (1, True) == (outcome.exit_code, "is no database of a Skyport panel" in outcome.output)


def test_the_file_is_not_changed(move_in, panel_file):
    """Moving in leaves the panel's database as it was."""
    path = panel_file()
    before = path.read_bytes()

    move_in(path, "--apply")

    assert before == path.read_bytes()


def test_node_keys_need_a_secret_key(config, store, monkeypatch, panel_file):
    """Even a dry run says in a sentence that nothing could be encrypted."""
    monkeypatch.setenv("SKYQUAY_MONGODB_URI", config.mongodb_uri)
    monkeypatch.setenv("SKYQUAY_DATABASE", config.database)
    monkeypatch.delenv("SKYQUAY_SECRET_KEY", raising=False)

    outcome = CliRunner().invoke(cli.main, ["import-skyport", str(panel_file())])

    assert (1, True) == (outcome.exit_code, "SKYQUAY_SECRET_KEY" in outcome.output)
