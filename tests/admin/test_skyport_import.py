"""Moving in from a Skyport panel: its database, as years have left it, and what becomes of it."""

import json
import sqlite3
from collections import Counter
from contextlib import closing
from dataclasses import asdict, replace

import bcrypt
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from service import cli, keys, operations, probing, users
from service.admin import skyport_import, skyport_panel
from service.app import make_drivers
from service.drivers.memory import MemoryNode, MemoryNodes
from service.security.vault import Vault
from service.worker.reconcile import reconcile
from tests.fake_skyportd import Container, FakeSkyportd
from tests.support import AT_NOON, NOON, a_node, a_user, run_due

pytestmark = pytest.mark.usefixtures("poll_soon")

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
def settings(config, store, monkeypatch):
    """The environment in which the command runs."""
    monkeypatch.setenv("SKYQUAY_MONGODB_URI", config.mongodb_uri)
    monkeypatch.setenv("SKYQUAY_DATABASE", config.database)
    monkeypatch.setenv("SKYQUAY_DATA_DIR", str(config.data_dir))
    monkeypatch.setenv("SKYQUAY_SECRET_KEY", SECRET_KEY)


@pytest.fixture
def move_in(settings, tmp_path):
    """Run the command, and read its report."""

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


@pytest.mark.heavy
def test_what_was_said_is_done(move_in, panel_file):
    """--apply brings what the dry run named, and finds no other conflicts."""
    said = move_in(panel_file())

    done = move_in(panel_file(), "--apply")

    assert {**said, "applied": True} == done


@pytest.mark.heavy
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
    """A key of the panel's opens our API, and is kept as a digest only."""
    move_in(panel_file(), "--apply")

    assert keys.authenticate(store, KEY, now=NOON)
    assert KEY not in str(store.keys.all())


def test_containers_run_on(move_in, panel_file, store, config, daemon):
    """The instance is READY, and nothing but looks was sent to its node."""
    move_in(panel_file(), "--apply")
    open_driver = make_drivers(replace(config, secret_key=SECRET_KEY))
    node = probing.probe(store, open_driver, store.nodes.get("node-1"), now=NOON)

    reconcile(store, open_driver, node, now=NOON)

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


def test_a_node_of_an_engine_that_is_there_already_goes_on(
    move_in, panel_file, store, config, daemon
):
    """Its instances run, so it is Online, with a warning that names the other."""
    there = a_node(store, lambda _: MemoryNode("there", engine_id=daemon.engine_id))
    move_in(panel_file(), "--apply")
    open_driver = make_drivers(replace(config, secret_key=SECRET_KEY))

    node = probing.probe(store, open_driver, store.nodes.get("node-1"), now=NOON)

    assert ("Online", there["_id"]) == (node["status"], node["same_engine_as"])


def test_node_keys_are_encrypted(move_in, panel_file, store, daemon):
    """The node's key is used, and not stored in clear; the copies in instances are not brought."""
    move_in(panel_file(), "--apply")

    node = store.nodes.get("node-1")
    assert daemon.key == Vault(SECRET_KEY).open(node["secret"])
    assert daemon.key not in str(node)
    assert "secret-in-a-copy" not in str(store.instances.all())


def test_memory_is_counted(move_in, panel_file, store):
    """What is brought takes its share of the node."""
    move_in(panel_file(), "--apply")

    assert {"memory_mib": 1024, "cpu_milli": 1000, "disk_mib": 0, "instances": 1} == (
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
        ({"Ports": "", "PortBindings": {}}, "Ports: Must name at least one."),
        ({"Ports": "what"}, "Ports: 'what' is not of the form container:host, like 80:8080."),
        ({"Ports": None, "PortBindings": 5}, "PortBindings: Must be an object."),
        (
            {"Ports": None, "PortBindings": {"80/tcp": None}},
            "PortBindings.80/tcp: Names no host port.",
        ),
        (
            {"Ports": None, "PortBindings": {"80/tcp": []}},
            "PortBindings.80/tcp: Names no host port.",
        ),
        (
            {"Ports": None, "PortBindings": {"80/tcp": [{"HostPort": "a"}]}},
            "PortBindings: '80:a' is not of the form container:host, like 80:8080.",
        ),
        ({"Env": 5}, "Env: Not a valid list."),
        ({"Env": ["A=1", {}]}, "Env.1: Not a valid string."),
        ({"Env": ["A=\0"]}, "Env.0: Is no text."),
        ({"AltImages": 7}, "AltImages: Not a valid list."),
        ({"Primary": 10**30}, "Primary: Must be a port between 1 and 65535."),
        ({"Primary": {"$gt": ""}}, "Primary: Must be a string or an integer."),
        ({"StopCommand": {"a": 1}}, "StopCommand: Not a valid string."),
        ({"Name": "\ud800"}, "Name: Is no text."),
        ({"Node": []}, "Node: Names no node."),
        ({"suspended": "yes"}, "suspended: Not a valid boolean."),
        ({"ContainerId": "../.."}, "ContainerId: Is no container's id."),
        ({"Env": ["A=" + "x" * 2**20]}, "Is too large."),
        ({"Env": [1] * 5}, "; ".join(f"Env.{n}: Not a valid string." for n in range(3))),
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
    other = a_user(store, username="another", email="ADA@example.org")

    report = move_in(panel_file(), "--apply")

    assert [
        {
            "what": "users ada",
            "why": f"Another user, {other['_id']}, has this e-mail address 'ADA@example.org', "
            "which differs in letter case only. --rename 'ada@example.org=...' brings this one "
            "under another.",
        },
        {"what": "instances 1f0c9a2e", "why": "Its owner is not brought: see users ada."},
    ] == report["conflicts"]
    assert [] == report["new"]["instances"]


@pytest.mark.parametrize("options", [(), ("--apply",)])
def test_letter_case_does_not_tell_users_apart(move_in, panel_file, options):
    """The second of two is a conflict that says why, not damage."""
    twins = [a_panel_user("ada"), a_panel_user("u2", username="Ada")]

    report = move_in(panel_file(users=twins, apiKeys=[]), *options)

    assert [
        {
            "what": "users u2",
            "why": "Another user, ada, has this name 'ada', which differs in letter case only. "
            "--rename 'Ada=...' brings this one under another.",
        }
    ] == report["conflicts"]


def test_a_user_may_be_renamed(move_in, panel_file, store):
    """He is brought under another name and address, with his instances."""
    twins = [
        a_panel_user("u1", username="Ada", email="ADA@example.org"),
        a_panel_user("ada"),
    ]
    names = ("--rename", "ada=ada-2", "--rename", "ada@example.org=ada-2@example.org")

    report = move_in(panel_file(users=twins), "--apply", *names)

    user = store.users.get("ada")
    assert ("ada-2", "ada-2@example.org") == (user["username"], user["email"])
    assert ([], ["1f0c9a2e"]) == (report["conflicts"], report["new"]["instances"])


@pytest.mark.parametrize("text", ["nobody=somebody", "ada", "ada="])
def test_a_wrong_new_name_is_named(settings, panel_file, text):
    """A user whom the panel does not have, or no new name, is one sentence."""
    outcome = CliRunner().invoke(cli.main, ["import-skyport", str(panel_file()), "--rename", text])

    assert (1, True) == (outcome.exit_code, "--rename" in outcome.output)


@pytest.mark.parametrize("options", [(), ("--apply",)])
def test_two_images_of_one_name_are_a_conflict(move_in, panel_file, contents, options):
    """A dry run finds it too."""
    first = contents["images"][0]

    report = move_in(panel_file(images=[first, {**first, "Id": "another"}]), *options)

    assert [
        {
            "what": "images another",
            "why": "There is another image named 'Paper', which is used instead.",
        }
    ] == report["conflicts"]


@pytest.mark.parametrize(
    ("meta", "why"),
    [
        ({"a": {"b": 10**30}}, "Meta.a.b: Is too large a number."),
        ({"a": [float("nan")]}, "Meta.a.0: Is no number."),
        ({"\0": 1}, "Meta.\0: Is no text."),
        ({"x" * 2**19: ["y"] * 1000}, None),
        (json.loads("[" * 50 + "]" * 50), "Meta: Not a valid mapping type."),
        ({"a": json.loads("[" * 50 + "]" * 50)}, f"Meta.a{'.0' * 32}: Is nested too deeply."),
    ],
    ids=["integer", "float", "name", "long name", "no object", "deep"],
)
def test_what_no_document_can_hold_is_damage(move_in, panel_file, contents, meta, why):
    """The parts of an image that may be anything have bounds too."""
    image = {**contents["images"][0], "Meta": meta}

    report = move_in(panel_file(images=[image]), "--apply")

    found = [entry["why"] for entry in report["damaged"] if "image" in entry["what"]]
    assert ([why] if why else []) == found


@pytest.mark.parametrize("options", [(), ("--apply",)])
@pytest.mark.parametrize("port", ["abc", 10**30, [1]])
def test_a_node_s_port_that_is_none_is_damage(move_in, panel_file, contents, port, options):
    """A dry run finds it too; the node's instances say what they miss."""
    node = {**contents["node-1_node"], "port": port}

    report = move_in(panel_file(**{"node-1_node": node}), *options)

    damaged = {entry["what"]: entry["why"] for entry in report["damaged"]}
    assert damaged["nodes node-1"].startswith("port: ")
    assert "Its node is not brought: see nodes node-1." == damaged["instances 1f0c9a2e"]


@pytest.mark.parametrize(
    "instance_id", ["../../victimdir", "a..b", "a/b", "-rm", ".", "a", "a b", "a\n", "x" * 65]
)
def test_an_id_that_is_a_path_is_damage(move_in, panel_file, store, instance_id):
    """Ids become the names of containers and folders on nodes."""
    report = move_in(panel_file(instances=[a_panel_instance(instance_id, 25600)]), "--apply")

    assert 1 == sum(entry["why"].startswith("Id: ") for entry in report["damaged"])
    assert ["1f0c9a2e"] == [instance["_id"] for instance in store.instances.all()]


def test_a_container_that_the_panel_does_not_know_yet_is_found(
    move_in, panel_file, store, daemon, contents
):
    """The panel writes its id down late: the node is asked, and nothing but asked."""
    lives = {**contents["1f0c9a2e_instance"], "ContainerId": None, "InternalState": "INSTALLING"}

    report = move_in(panel_file(**{"1f0c9a2e_instance": lives, "instances": [lives]}), "--apply")

    after = store.instances.get("1f0c9a2e")
    assert ("READY", "running", CID, []) == (
        after["state"], after["power"], after["container_id"], report["failed"]
    )  # fmt: skip
    assert {("GET", "/instances")} == set(daemon.calls)


@pytest.fixture
def orphaned(panel_file):
    """A panel's database with an instance of which it never knew a container."""
    return panel_file(instances=[a_panel_instance("5e5e5e5e", 1, ContainerId=None)])


@pytest.mark.parametrize("options", [(), ("--apply",)])
def test_an_instance_without_a_container_is_reported(move_in, orphaned, options):
    """It is FAILED, and the report says why and what helps."""
    assert [
        {
            "what": "instances 5e5e5e5e",
            "why": "The panel knew no container of it, and its node has none. A retry makes one.",
        }
    ] == move_in(orphaned, *options)["failed"]


@pytest.mark.heavy
def test_what_has_no_container_can_be_retried(move_in, orphaned, store, config):
    """Its deployment is there as one that failed; done again, it makes the container."""
    move_in(orphaned, "--apply")
    [failed] = store.operations.list_newest({"instance_id": "5e5e5e5e"}, limit=2)

    operations.retry(store, failed["_id"], origin=AT_NOON)
    bring_online(store, config)

    after = store.instances.get("5e5e5e5e")
    assert ("failed", "READY", "running") == (failed["status"], after["state"], after["power"])


def test_what_an_offline_node_runs_is_taken_over_by_a_retry(
    move_in, panel_file, store, config, daemon, contents
):
    """A node that gave no answer when it was asked is no reason to lose what runs there."""
    lives = {**contents["1f0c9a2e_instance"], "ContainerId": None}
    daemon.docker_down = True
    report = move_in(panel_file(**{"1f0c9a2e_instance": lives}), "--apply")
    daemon.docker_down = False
    [failed] = store.operations.list_newest({"instance_id": "1f0c9a2e"}, limit=2)

    operations.retry(store, failed["_id"], origin=AT_NOON)
    bring_online(store, config)

    after = store.instances.get("1f0c9a2e")
    assert "Docker is not there" in report["failed"][0]["why"]
    assert ("READY", CID, []) == (after["state"], after["container_id"], daemon.creations)


def bring_online(store, config):
    """Probe the panel's node, and carry out what is due there."""
    open_driver = make_drivers(replace(config, secret_key=SECRET_KEY))
    probing.probe(store, open_driver, store.nodes.get("node-1"), now=NOON)
    run_due(store, open_driver)


@pytest.mark.heavy
def test_what_is_suspended_is_reported(move_in, panel_file, store, config, daemon, contents):
    """The panel let it run on, and a worker stops it."""
    lives = {**contents["1f0c9a2e_instance"], "suspended": True}
    report = move_in(panel_file(**{"1f0c9a2e_instance": lives}), "--apply")
    bring_online(store, config)
    open_driver = make_drivers(replace(config, secret_key=SECRET_KEY))

    reconcile(store, open_driver, store.nodes.get("node-1"), now=NOON)
    run_due(store, open_driver)

    assert (["1f0c9a2e"], "exited") == (
        report["suspended"], daemon.containers["1f0c9a2e"].status
    )  # fmt: skip


def test_secret_variables_stay_secret(move_in, panel_file, contents, store):
    """What an image calls secret is so in the environment that the panel's daemon made."""
    image = {**contents["images"][0], "Variables": {"TOKEN": {"secret": True}}}
    lives = {**contents["1f0c9a2e_instance"], "Env": ["TOKEN=hush", "START=java"]}

    move_in(panel_file(images=[image], **{"1f0c9a2e_instance": lives}), "--apply")

    after = store.instances.get("1f0c9a2e")
    assert ({"TOKEN": "hush"}, ["TOKEN"]) == (after["variables"], after["secret_variables"])


def test_the_panel_s_own_record_is_no_instance(move_in, panel_file):
    """Every panel has one of itself, whose key looks like an instance's."""
    own = {"skyportId": "2f1e", "setupTime": 1733000000000, "originalVersion": "0.3.0"}

    report = move_in(panel_file(skyport_instance=own))

    assert ["2b2b2b2b"] == report["left_behind"]
    assert ["node-gone_node"] == [entry["what"] for entry in report["damaged"]]


@pytest.mark.parametrize(
    "over",
    [
        {"users": {}},
        {"nodes": "node-1"},
        {"nodes": [7]},
        {"images": 5},
        {"apiKeys": {"key": KEY}},
        {"apiKeys": [{"key": "\ud800"}]},
        {"6f6f6f6f_instance": 5},
        {"6f6f6f6f_instance": {"Id": {"a": 1}}},
        {"ada_instances": 7},
        {"settings": b"\xff"},
        {"settings": b"[" * 100_000},
    ],
    ids=lambda over: next(iter(over)),
)
def test_what_cannot_be_read_is_named(move_in, panel_file, over):
    """Nothing is passed over in silence."""
    [what] = over

    report = move_in(panel_file(**over))

    assert any(entry["what"].startswith(what) for entry in report["damaged"])


def test_nothing_of_a_panel_commands_a_terminal(settings, panel_file):
    """What cannot be shown is shown as what it is, and long texts by their beginning."""
    path = panel_file(instances=[a_panel_instance("\x1b[2J\ud800" + "x" * 1000, 1)])

    outcome = CliRunner().invoke(cli.main, ["import-skyport", str(path)])

    assert (0, False) == (outcome.exit_code, "\x1b" in outcome.output)
    assert "damaged: instances \\x1b[2J\\ud800xxx" in outcome.output
    assert max(map(len, outcome.output.splitlines())) < 300


def test_a_panel_of_which_nothing_can_be_read_is_a_failure(settings, panel_file):
    """The exit status says so."""
    nothing = dict.fromkeys(("users", "images", "nodes", "instances", "apiKeys", "node-1_node"), 5)

    outcome = CliRunner().invoke(cli.main, ["import-skyport", str(panel_file(**nothing))])

    assert (1, True) == (outcome.exit_code, "could be brought" in outcome.output)


LONG = st.sampled_from(["x" * 300, "x" * 5000, "x" * 2**20])
ODD = st.recursive(
    st.none()
    | st.booleans()
    | st.sampled_from([0, -1, 10**30, -(10**30), 2**63, 1e308, float("inf"), float("nan"), "",
                       "\0", "\ud800", "../../etc", "a b", "25565:25565", "$gt", "\x1b[2J"])
    | st.integers()
    | st.text(st.characters(), max_size=8)
    | LONG,
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["", "$gt", "a.b", "\0", "\ud800", "Id"]), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


def list_places(value, path=()):
    """List the paths to all that is in a JSON value, but for the value itself."""
    inner = value.items() if isinstance(value, dict) else enumerate(
        value if isinstance(value, list) else ()
    )  # fmt: skip
    for name, each in inner:
        yield (*path, name)
        yield from list_places(each, (*path, name))


def put(value, path, odd):
    """Make a copy of a JSON value that has something else at a place."""
    if not path:
        return odd
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = put(copy[path[0]], path[1:], odd)
    return copy


@pytest.mark.slow
@given(data=st.data())
@hypothesis_settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_whatever_is_wrong_stops_nothing(
    data, store, api, panel_file, contents, mongo_client, config
):
    """Something odd at any place of a good database is a line, and never half a record."""
    for name in ("users", "nodes", "images", "instances", "operations"):
        mongo_client[config.database][name].delete_many({})
    bent = contents
    for _ in range(data.draw(st.integers(1, 3))):
        bent = put(bent, data.draw(st.sampled_from(list(list_places(bent)))), data.draw(ODD))
    open_driver = MemoryNodes()
    panel = skyport_panel.read(panel_file(**bent))
    reports = []

    for apply in (False, True, True):
        mover = skyport_import.SkyportImport(
            store, Vault(SECRET_KEY), open_driver, apply=apply, now=NOON
        )
        assert skyport_import.count(panel) == len(list(mover.move(panel)))
        reports.append(asdict(mover.report))

    said, done, again = reports
    assert {**said, "applied": True} == done
    assert {"there_already": done["new"]} == {
        "there_already": {k: [n for n in v if n in done["new"][k]]
                          for k, v in again["there_already"].items()}
    }  # fmt: skip
    assert not [e for e in done["damaged"] if "Unexpected" in e["why"] or "database" in e["why"]]
    assert json.dumps(reports)
    brought = store.instances.all()
    users_there = {user["_id"] for user in store.users.all()}
    counts = {n["_id"]: n["allocated"]["instances"] for n in store.nodes.all()}
    assert {instance["user_id"] for instance in brought} <= users_there
    assert Counter(instance["node_id"] for instance in brought) == Counter(
        {node_id: count for node_id, count in counts.items() if count}
    )
    failed = {i["_id"] for i in brought if i["state"] == "FAILED"}
    assert failed == {operation["instance_id"] for operation in store.operations.all()}
    assert {200} == {
        api.get(f"/api/{what}").status for what in ("users", "nodes", "images", "instances")
    }


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
