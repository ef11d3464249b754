"""The command `skyquay`, each part on a real database."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import click
import psutil
import pytest
import requests
from click.testing import CliRunner

from service import cli, delegation, instances, keys, nodes, users
from service.cli import running
from service.config import Config, describe_settings
from service.drivers.memory import MemoryNodes
from service.drivers.process.runner import ProcessRunner
from service.errors import Unauthorized
from service.model.orders import NodeOrder
from service.security.vault import Vault
from service.serving import first_start
from service.serving.embedded_mongod import find_running
from service.users import create as create_user
from tests.support import (
    AT_NOON,
    DEPLOY,
    FAR,
    NOON,
    SKYQUAY,
    a_deploy,
    a_node,
    a_user,
    an_image,
    an_order,
    answer_of,
    eventually,
    free_port,
)

KEY = "a-key-of-the-tests-own"


@pytest.fixture
def skyquay(config, store, monkeypatch):
    """Run the command on the test's database."""
    monkeypatch.setenv("SKYQUAY_MONGODB_URI", config.mongodb_uri)
    monkeypatch.setenv("SKYQUAY_DATABASE", config.database)
    monkeypatch.setenv("SKYQUAY_DATA_DIR", str(config.data_dir))

    def run(*words, typed=None, env=None):
        return CliRunner().invoke(cli.main, words, input=typed, env=env)

    return run


@pytest.fixture
def leaving():
    """Have signals mean again what they did before the test."""
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_new_key_opens_the_endpoint(skyquay, store):
    """A key that was made is accepted."""
    key = skyquay("keys", "create", "--name", "bot").stdout.strip()

    assert "bot" == keys.authenticate(store, key, now=NOON)["name"]


def test_the_list_shows_no_key(skyquay, store):
    """Keys are listed by id and name, never by what they are."""
    document, key = keys.create(store, name="bot", now=NOON)

    printed = skyquay("keys", "list").output

    assert document["_id"] in printed
    assert key not in printed
    assert document["digest"] not in printed


def test_a_revoked_key_is_worthless(skyquay, store):
    """After a revocation the key is refused."""
    document, key = keys.create(store, name="bot", now=NOON)

    skyquay("keys", "revoke", document["_id"])

    with pytest.raises(Unauthorized):
        keys.authenticate(store, key, now=NOON)


@pytest.mark.parametrize("act", ["revoke", "rotate"])
def test_what_is_done_to_no_key_is_an_error(skyquay, act):
    """An id that nobody has is said so, with an exit code."""
    outcome = skyquay("keys", act, "nope")

    assert (1, "Error: There is no such key.\n  id: There is no key 'nope'.\n") == (
        outcome.exit_code,
        outcome.output,
    )


def test_a_user_is_made(skyquay, store):
    """The new user's id is printed."""
    made = skyquay(
        "users", "create", "ada", "ada@example.org", "--admin", typed="long enough\nlong enough\n"
    )

    user = store.users.find_by_username("ada")
    assert (user["_id"], True) == (made.output.split()[-1], user["admin"])


def test_a_user_that_exists_is_an_error(skyquay, store):
    """A name that is taken is said so."""
    a_user(store, username="ada")

    outcome = skyquay("users", "create", "ada", "x@example.org", "--password", "long enough")

    assert (1, "Error: This user exists already.\n  username: Taken already.\n") == (
        outcome.exit_code,
        outcome.output,
    )


def test_an_email_that_is_none_is_an_error(skyquay):
    """The command checks what the API checks."""
    outcome = skyquay("users", "create", "ada", "nonsense", "--password", "long enough")

    assert 1 == outcome.exit_code
    assert outcome.output.startswith("Error: That is not valid.\n  email: ")


def test_nobody_s_password_is_not_asked_for(skyquay):
    """That there is no such user is said first."""
    outcome = skyquay("users", "set-password", "nope", typed="long enough\nlong enough\n")

    assert (1, "Error: There is no such user.\n  id: There is no user 'nope'.\n") == (
        outcome.exit_code,
        outcome.output,
    )


def test_a_password_is_asked_for(skyquay, store):
    """It is typed twice, and not shown."""
    user = a_user(store)

    outcome = skyquay("users", "set-password", user["_id"], typed="brand new\nbrand new\n")

    assert (0, False) == (outcome.exit_code, "brand new" in outcome.output)
    assert users.verify(store, "id", user["_id"], "brand new", now=NOON)


def test_a_password_is_replaced(skyquay, store):
    """A new password leaves a new hash."""
    user = a_user(store)

    skyquay("users", "set-password", user["_id"], "--password", "brand new")

    assert user["password_hash"] != store.users.get(user["_id"])["password_hash"]


@pytest.mark.parametrize("words", [("create", "ada", "ada@example.org"), ("set-password", "ada-1")])
def test_a_short_password_is_an_error(skyquay, store, words):
    """Commands ask for as many characters as the API."""
    a_user(store, user_id="ada-1")

    outcome = skyquay("users", *words, "--password", "1234567")

    assert (1, True) == (outcome.exit_code, "Must have at least 8 characters." in outcome.output)
    assert 1 == len(store.users.all())


def test_a_user_without_instances_is_deleted(skyquay, store):
    """Afterwards the user is gone."""
    user = a_user(store)

    skyquay("users", "delete", user["_id"])

    assert store.users.find(user["_id"]) is None


def test_a_user_with_instances_stays(skyquay, store, memory_nodes):
    """Who owns instances cannot be deleted."""
    user = a_user(store)
    node = a_node(store, memory_nodes)
    instances.deploy(store, an_order(user, node, an_image(store)), origin=AT_NOON)

    outcome = skyquay("users", "delete", user["_id"])

    assert (1, user["_id"]) == (outcome.exit_code, store.users.get(user["_id"])["_id"])


def test_an_image_is_imported(skyquay, store, tmp_path):
    """A document of the older panel's format is read, its oddities included."""
    path = tmp_path / "image.json"
    path.write_text(
        json.dumps({"Name": "Web", "Image": "web:1", "Env": {"A": 1}, "Cmd": "", "Other": 1})
    )

    skyquay("images", "import", str(path))

    [image] = store.images.all()
    assert (["A=1"], None, ["web:1"]) == (image["env"], image["cmd"], image["alt_images"])


@pytest.mark.parametrize(
    "content",
    [
        "no JSON",
        "[]",
        '{"Name": "Web"}',
        '{"Name": "Web", "Image": "web:1", "Env": ["no assignment"]}',
        '{"Name": "Web", "Image": "web:1", "Variables": {"a b": {}}}',
        '{"Name": "W", "Image": "w:1", "Scripts": {"Install": [{"Uri": "ftp://x", "Path": "x"}]}}',
        '{"Name": "W", "Image": "w", "Scripts": {"Install": [{"Uri": "https:", "Path": "a"}]}}',
    ],
)
def test_a_document_that_is_no_image_is_refused(skyquay, store, tmp_path, content):
    """What cannot be an image is said so, and nothing is imported."""
    (tmp_path / "a.json").write_text('{"Name": "Good", "Image": "web:1"}')
    (tmp_path / "b.json").write_text(content)

    outcome = skyquay("images", "import", str(tmp_path))

    assert (1, []) == (outcome.exit_code, store.images.all())
    assert f"{tmp_path / 'b.json'} " in outcome.output


def test_a_folder_without_images_is_said_so(skyquay, tmp_path):
    """Nothing that could be imported is an error."""
    outcome = skyquay("images", "import", str(tmp_path))

    assert (1, f"Error: There is no *.json in {tmp_path}.\n") == (
        outcome.exit_code,
        outcome.output,
    )


def test_images_are_listed(skyquay, store):
    """The list has the id, the name and the container image."""
    image = an_image(store, name="Web", image="web:1")

    assert f"{image['_id']}  Web  (web:1)\n" == skyquay("images", "list").output


def test_a_node_that_is_down_is_added_and_said_so(skyquay, store):
    """A node that does not answer is added Offline, with the reason."""
    outcome = skyquay("nodes", "add", "n1", "--address", "unix:///no/such.sock")

    [node] = store.nodes.all()
    assert f"{node['_id']}  Offline" in outcome.output
    assert "does not answer" in outcome.output


def test_a_skyportd_node_needs_all_fields(skyquay, store):
    """The command asks for what the API asks for."""
    outcome = skyquay("nodes", "add", "n1", "--driver", "skyportd")

    assert (1, []) == (outcome.exit_code, store.nodes.all())


def test_without_a_database_it_says_what_to_do(tmp_path, monkeypatch):
    """Where there is neither a setting nor a private database, one sentence helps."""
    monkeypatch.setenv("SKYQUAY_DATA_DIR", str(tmp_path))
    monkeypatch.delenv("SKYQUAY_MONGODB_URI", raising=False)

    outcome = CliRunner().invoke(cli.main, ["keys", "list"])

    assert (1, True) == (outcome.exit_code, "SKYQUAY_MONGODB_URI is not set" in outcome.output)


@pytest.mark.spawns
@pytest.mark.parametrize("command", ["serve", "worker"])
def test_production_needs_its_own_database(command, leaving):
    """`serve` and `worker` start no private database."""
    outcome = CliRunner().invoke(cli.main, [command], env={"SKYQUAY_MONGODB_URI": None})

    assert (1, True) == (outcome.exit_code, "SKYQUAY_MONGODB_URI" in outcome.stderr)


@pytest.mark.parametrize("command", ["up", "serve", "worker"])
def test_the_help_lists_every_setting(command):
    """Each setting stands in the help with its default and its meaning."""
    printed = " ".join(CliRunner().invoke(cli.main, [command, "--help"]).output.split())

    missing = [name for name, _, meaning in describe_settings()
               if name not in printed or " ".join(meaning.split()) not in printed]  # fmt: skip
    assert [] == missing


WRONG_SETTINGS = [
    ("SKYQUAY_LISTEN", "nonsense", "must be HOST:PORT"),
    ("SKYQUAY_API_KEY", "short", "needs at least 16 characters"),
    ("SKYQUAY_THREADS", "abc", "must be an integer, not 'abc'."),
    ("SKYQUAY_PROBE_INTERVAL_S", "abc", "must be a number, not 'abc'."),
    ("SKYQUAY_ALLOW_PROCESS", "abc", "must be 1 or 0, not 'abc'."),
]


@pytest.mark.spawns
@pytest.mark.parametrize("command", ["up", "serve", "worker"])
@pytest.mark.parametrize(("setting", "value", "sentence"), WRONG_SETTINGS)
def test_a_wrong_setting_is_named(setting, value, sentence, command, tmp_path, leaving):
    """A setting that cannot be is one sentence."""
    env = {"SKYQUAY_DATA_DIR": str(tmp_path), setting: value}

    outcome = CliRunner().invoke(cli.main, [command], env=env)

    assert (1, True) == (outcome.exit_code, f"{setting} {sentence}" in outcome.stderr)


@pytest.mark.spawns
def test_a_wrong_setting_ends_the_program(tmp_path):
    """The program ends with one sentence, not a traceback."""
    setting, value, sentence = WRONG_SETTINGS[0]
    env = {**os.environ, "SKYQUAY_DATA_DIR": str(tmp_path), setting: value}

    outcome = subprocess.run(
        [SKYQUAY, "up"], env=env, capture_output=True, text=True, timeout=60, check=False
    )

    assert (1, f"Error: {setting} {sentence}", 1) == (
        outcome.returncode,
        outcome.stderr.partition(sentence)[0] + sentence,
        len(outcome.stderr.splitlines()),
    )


class Up:
    """A `skyquay up` on a data folder."""

    def __init__(self, data_dir, **env):
        self.data_dir = data_dir
        self.log = data_dir.with_suffix(".log")
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [SKYQUAY, "up"],
                env={
                    **os.environ,
                    "SKYQUAY_DATA_DIR": str(data_dir),
                    "SKYQUAY_LISTEN": f"127.0.0.1:{free_port()}",
                    "SKYQUAY_LOCAL_NODE": "process",
                    **env,
                },
                stdout=log,
                stderr=log,
            )

    def printed(self):
        """Read what it printed, once it serves."""
        assert eventually(lambda: "curl" in self.log.read_text(), timeout_s=60), (
            self.log.read_text()
        )
        return self.log.read_text()

    def end(self, number):
        """Send a signal and wait for the end; answer the exit code."""
        self.process.send_signal(number)
        return self.process.wait(60)


@dataclass(frozen=True)
class FirstUp:
    """What a first `skyquay up` said and left."""

    data_dir: Path
    printed: str
    deployed: str
    """What the call that it printed answered."""
    code: int
    """Its exit code after SIGTERM."""
    has_database: bool
    """Whether its mongod outlived it."""


@pytest.fixture(scope="module")
def first_up(tmp_path_factory):
    """A `skyquay up` on a new folder, over again: somebody ran the call that it printed."""
    data_dir = tmp_path_factory.mktemp("up") / "data"
    up = Up(data_dir)
    printed = up.printed()
    mongod = find_running(data_dir).process
    curl = next(line for line in printed.splitlines() if line.startswith("curl"))
    deployed = subprocess.run(
        ["bash", "-c", curl], capture_output=True, text=True, timeout=30, check=True
    ).stdout
    code = up.end(signal.SIGTERM)
    # Instances outlive Skyquay: this one would hold its port after the test.
    ProcessRunner("local", root=data_dir / "instances").remove(json.loads(deployed)["Id"])
    return FirstUp(data_dir, printed, deployed, code, psutil.pid_exists(mongod.pid))


@pytest.mark.spawns
def test_sigterm_ends_up_in_order(first_up):
    """It ends Skyquay and its database, with success."""
    assert (0, False) == (first_up.code, first_up.has_database)


@pytest.mark.spawns
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_up_leaves_in_order(tmp_path, number):
    """A signal ends Skyquay and its database, with success."""
    up = Up(tmp_path / "data")
    up.printed()
    mongod = find_running(tmp_path / "data").process

    code = up.end(number)

    assert (0, False) == (code, psutil.pid_exists(mongod.pid))


@pytest.mark.slow
@pytest.mark.spawns
def test_up_outlives_its_database(tmp_path):
    """A database that dies is started again; one that cannot be ends `up`, with a sentence."""
    up = Up(tmp_path / "data")
    url = re.search(r"serves (\S+)", up.printed())[1]

    first = find_running(tmp_path / "data")

    first.process.kill()

    first.process.wait()
    assert eventually(lambda: requests.get(f"{url}/readyz", timeout=20).status_code == 200)
    (tmp_path / "data" / "mongod" / "WiredTiger.turtle").write_text("nonsense")
    find_running(tmp_path / "data").process.kill()
    assert 1 == up.process.wait(60)
    printed = up.log.read_text()
    assert "\nError: The private MongoDB has died. " in printed
    assert (False, True) == ("Traceback" in printed, "is started again" in printed)


@pytest.mark.spawns
def test_a_second_start_finds_everything_as_it_was(first_up):
    """The first key stays, and nothing is made twice."""
    path = first_up.data_dir / "api-key"
    key = path.read_text()

    second = Up(first_up.data_dir)
    printed = second.printed()
    env = {**os.environ, "SKYQUAY_DATA_DIR": str(first_up.data_dir)}
    images = subprocess.check_output([SKYQUAY, "images", "list"], env=env, text=True)
    second.end(signal.SIGTERM)

    assert key == path.read_text()
    assert str(path) in printed
    assert len(set(images.splitlines())) == len(images.splitlines()) == 5


@pytest.mark.spawns
def test_the_first_key_is_no_part_of_a_log(first_up):
    """What is no terminal gets the name of a file that only its owner reads, and a curl of it."""
    path = first_up.data_dir / "api-key"

    assert "INSTALLING" in first_up.deployed
    assert 0o600 == path.stat().st_mode & 0o777
    assert path.read_text().strip() not in first_up.printed


@pytest.mark.heavy
def test_a_key_of_the_command_line_may_less(skyquay, store):
    """Scopes, limits and an end can be given; the list tells them. What is no network is told."""
    a_user(store, user_id="ada")
    skyquay("keys", "create", "--name", "bot", "--scope", "users:read", "--user", "ada",
            "--network", "10.0.0.0/8", "--days", "7")  # fmt: skip
    wrong = skyquay("keys", "create", "--network", "everywhere")
    useless = skyquay("keys", "create", "--scope", "users:write", "--user", "ada")

    [key] = store.keys.all()
    told = skyquay("keys", "list").output
    assert (["users:read"], "ada", ["10.0.0.0/8"]) == (
        key["scopes"],
        key["user_id"],
        key["networks"],
    )
    assert "users:read; user ada; from 10.0.0.0/8; until " in told
    assert (1, "Error: 'everywhere' is no address and no network.\n") == (
        wrong.exit_code,
        wrong.output,
    )
    assert (1, True) == (useless.exit_code, "never has 'users:write'" in useless.output)


def test_a_key_is_rotated_on_the_command_line(skyquay, store):
    """The new value works, and the old one as long as was said."""
    document, old = keys.create(store, name="bot", now=NOON)

    new = skyquay("keys", "rotate", document["_id"], "--overlap", "0").stdout.strip()

    assert document["_id"] == keys.authenticate(store, new, now=FAR)["_id"]
    with pytest.raises(Unauthorized):
        keys.authenticate(store, old, now=FAR)


@pytest.mark.heavy
def test_what_commands_change_is_recorded(skyquay, store):
    """Commands that change something leave entries, refusals included, and the others none."""
    skyquay("keys", "create")
    skyquay("keys", "list")
    skyquay("users", "delete", "nobody")
    skyquay(
        "users", "create", "ada", "ada@example.org", "--password", "long enough", "--id", "ada-1"
    )
    skyquay("users", "create", "bob", "nonsense", "--password", "long enough", "--id", "bob-1")
    skyquay("nodes", "add", "n1", "--address", "unix:///no/such.sock")

    entries = store.audit.list_newest({}, since=None, before=None, limit=9)
    assert [
        ("cli.nodes.add", store.nodes.all()[0]["_id"], "done"),
        ("cli.users.create", "bob-1", "refused"),
        ("cli.users.create", "ada-1", "done"),
        ("cli.users.delete", "nobody", "refused"),
        ("cli.keys.create", store.keys.all()[0]["_id"], "done"),
    ] == [(entry["action"], entry["target_id"], entry["outcome"]) for entry in entries]


def test_a_command_that_fails_unforeseen_shows_where(skyquay, store, monkeypatch):
    """A bug is no sentence: its traceback is not hidden, and the record says that it failed."""

    def fail(*args, **kwargs):
        raise ValueError("a bug")

    monkeypatch.setattr(delegation, "delegate", fail)

    outcome = skyquay("keys", "create")

    [entry] = store.audit.list_newest({}, since=None, before=None, limit=9)
    assert ("a bug", "failed") == (str(outcome.exception), entry["outcome"])


@pytest.mark.slow
def test_a_database_that_is_away_is_named(skyquay):
    """Where it should be and why it is not there are said, and not how it is entered."""
    here = f"127.0.0.1:{free_port()}"
    uri = f"mongodb://ada:geheim@{here}/?serverSelectionTimeoutMS=200"

    outcome = skyquay("keys", "list", env={"SKYQUAY_MONGODB_URI": uri})

    assert 1 == outcome.exit_code
    assert (
        f"Error: The database does not answer. Please try again.\n  database: {here}\n"
        f"  database: {here}: [Errno 111] Connection refused\n"
    ) == outcome.output


@pytest.mark.parametrize(
    "uri",
    [
        "mongodb://ada:ge/heim@db",
        "mongodb://ada:ge/heim heim@db",
        "mongodb://heim%41/x@db",
        "mongodb://ada:geheim@db:port",
        "http://ada:geheim@db",
    ],
)
def test_an_address_that_is_none_is_a_sentence(skyquay, uri):
    """What MongoDB's driver does not understand is said, without the password."""
    outcome = skyquay("keys", "list", env={"SKYQUAY_MONGODB_URI": uri})

    assert outcome.output.startswith("Error: The MongoDB address cannot be used: ")
    assert (1, False) == (outcome.exit_code, "heim" in outcome.output)


def test_a_database_that_refuses_is_named(skyquay, config):
    """A wrong password is said, with the host."""
    here = config.database_hosts()
    uri = f"mongodb://ada:geheim@{here}/"

    outcome = skyquay("keys", "list", env={"SKYQUAY_MONGODB_URI": uri})

    assert (
        "Error: The database refused an operation.\n"
        f"  database: {here}\n  database: Authentication failed.\n"
    ) == outcome.output


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_option_is_explained(name):
    """What can be given has a help text."""
    command = cli.main.get_command(click.Context(cli.main), name)
    assert name == command.name
    commands = [*getattr(command, "commands", {}).values()] or [command]

    unexplained = [
        f"{each.name} {option.name}"
        for each in commands
        for option in each.params
        if isinstance(option, click.Option) and not option.hidden and not option.help
    ]
    assert [] == unexplained


@pytest.mark.spawns
@pytest.mark.parametrize(
    ("imported", "left_out"),
    [
        ("service.cli", {"pymongo", "flask", "marshmallow", "requests", "service.store"}),
        ("service.cli.running", {"flask", "werkzeug", "granian", "limits", "service.api"}),
    ],
)
def test_a_command_imports_what_it_needs(imported, left_out):
    """The command itself starts at once, and a worker without the parts of those who serve."""
    program = f"import sys, {imported}; print(*sys.modules)"
    printed = subprocess.check_output([sys.executable, "-c", program], text=True).split()

    assert set() == left_out.intersection(printed)
    assert imported in printed


@pytest.mark.spawns
def test_a_worker_needs_a_secret_key(skyquay, leaving):
    """Without one a worker ends and says why."""
    outcome = skyquay("worker", env={"SKYQUAY_SECRET_KEY": ""})

    assert (1, True) == (outcome.exit_code, "SKYQUAY_SECRET_KEY is not set" in outcome.stderr)


@pytest.mark.spawns
def test_serve_without_a_secret_key_works_not(store, config, tmp_path):
    """The API is served; what is taken on waits for a worker that has a key."""
    port = free_port()
    with (tmp_path / "serve.log").open("w") as log:
        serve = subprocess.Popen(
            [SKYQUAY, "serve"],
            env={**os.environ, "SKYQUAY_MONGODB_URI": config.mongodb_uri,
                 "SKYQUAY_DATABASE": config.database, "SKYQUAY_LISTEN": f"127.0.0.1:{port}",
                 "SKYQUAY_PROCESSES": "1"},
            stdout=log, stderr=log,
        )  # fmt: skip
    try:
        assert 200 == answer_of(f"http://127.0.0.1:{port}/healthz").status_code
        assert 503 == requests.get(f"http://127.0.0.1:{port}/readyz", timeout=10).status_code
    finally:
        serve.terminate()
        serve.wait(30)
    assert "It does no work on nodes" in (tmp_path / "serve.log").read_text()


def test_the_secret_key_is_rotated(skyquay, store):
    """Secrets are encrypted with the new key, so that the old one can go; a wrong one is told."""
    node = nodes.draft(NodeOrder(name="n", driver="skyportd"), node_id="n", now=NOON)
    store.nodes.add({**node, "secret": Vault("old key of the tests").seal("sesame")})

    wrong = skyquay("secrets", "rotate", env={"SKYQUAY_SECRET_KEY": "wrong key of the tests"})
    both = "new key of the tests, old key of the tests"
    done = skyquay("secrets", "rotate", env={"SKYQUAY_SECRET_KEY": both})

    assert (1, True) == (wrong.exit_code, "does not open the secrets" in wrong.output)
    assert (0, True) == (done.exit_code, done.output.startswith("1 secrets"))
    assert "sesame" == Vault("new key of the tests").open(store.nodes.get("n")["secret"])


@pytest.mark.spawns
def test_the_secret_key_is_its_owner_s_only(first_up):
    """The file with the secret key has mode 0600, and the folder 0700."""
    modes = [
        oct(path.stat().st_mode & 0o777)
        for path in (first_up.data_dir / "secret.key", first_up.data_dir)
    ]
    assert ["0o600", "0o700"] == modes


def test_a_copy_of_the_secret_key_is_closed(tmp_path):
    """What was copied there with the usual mode is its owner's only from then on."""
    file = tmp_path / "secret.key"
    file.write_text("the key\n")
    file.chmod(0o644)

    kept = first_start.keep_secret_key(tmp_path)

    assert ("the key", 0o600) == (kept, file.stat().st_mode & 0o777)


@pytest.mark.spawns
def test_a_key_of_your_own_works(tmp_path):
    """SKYQUAY_API_KEY is accepted, and not printed."""
    up = Up(tmp_path / "data", SKYQUAY_API_KEY="a-key-of-my-own-choice")

    printed = up.printed()

    up.end(signal.SIGTERM)
    assert "a-key-of-my-own-choice" not in printed
    assert "yours, from SKYQUAY_API_KEY" in printed


def test_a_taken_address_is_said(tmp_path, leaving):
    """Where another program listens, one sentence says so, and nothing is made."""
    data = tmp_path / "data"
    with socket.create_server(("127.0.0.1", 0)) as other:
        listen = "{}:{}".format(*other.getsockname())
        env = {"SKYQUAY_LISTEN": listen, "SKYQUAY_DATA_DIR": str(data)}
        outcome = CliRunner().invoke(cli.main, ["up"], env=env)

    sentence = (
        f"Error: Cannot serve on {listen}: Address already in use; choose another address with "
        "--listen, SKYQUAY_LISTEN, or `make run LISTEN=HOST:PORT`.\n"
    )
    assert (1, sentence) == (outcome.exit_code, outcome.stderr)
    assert not data.exists()


@pytest.mark.parametrize("command", ["up", "serve"])
def test_an_address_may_be_an_option(command, skyquay, leaving):
    """The option `--listen` takes the place of SKYQUAY_LISTEN, whatever that says."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        listen = "{}:{}".format(*other.getsockname())
        outcome = skyquay(command, "--listen", listen, env={"SKYQUAY_LISTEN": "nonsense"})

    assert f"Cannot serve on {listen}: Address already in use" in outcome.stderr


def test_a_key_that_was_shown_is_yours_to_fill_in(tmp_path):
    """Where nobody knows the first key any more, the printed call has a place for one."""
    _, in_shell = running._show_key(Config(), None, tmp_path / "api-key")

    assert "YOUR_KEY" == in_shell


def test_the_openapi_document_needs_nothing(monkeypatch):
    """The document is printed with no database there."""
    monkeypatch.setenv("SKYQUAY_MONGODB_URI", "mongodb://127.0.0.1:1")

    document = json.loads(CliRunner().invoke(cli.main, ["openapi"]).output)

    assert "/api/instances/deploy" in document["paths"]


def test_passwords_are_argon2id(store):
    """What is stored of a password is its argon2id hash."""
    user = create_user(store, username="a", email="a@example.org", password="pw", now=NOON)

    assert user["password_hash"].startswith("$argon2id$")


@pytest.mark.spawns
def test_who_serves_and_who_works_share_a_database(programs, store, config):
    """What one process takes on, another carries out."""
    _, key = keys.create(store, name="test", now=NOON)
    listen, port = f"127.0.0.1:{free_port()}", free_port()
    programs(SKYQUAY, "serve", "--no-worker", "--processes", "1", SKYQUAY_LISTEN=listen)
    programs(SKYQUAY, "worker")
    call = {"headers": {"x-api-key": key}}
    node = answer_of(
        f"http://{listen}/api/nodes/create", "POST", json={"name": "n", "driver": "process"}, **call
    ).json()
    order = {
        "name": "web", "user": a_user(store)["_id"], "nodeId": node["id"], "memory": 128, "cpu": 1,
        "image": an_image(store, cmd="exec python3 -m http.server $PRIMARY_PORT")["_id"],
        "ports": f"{port}:{port}", "primary": port,
    }  # fmt: skip

    made = answer_of(f"http://{listen}/api/instances/deploy", "POST", json=order, **call).json()

    assert 200 == answer_of(f"http://127.0.0.1:{port}/").status_code
    gone = answer_of(
        f"http://{listen}/api/instance/delete", "DELETE", json={"id": made["Id"]}, **call
    )
    assert (201, "DELETED") == (gone.status_code, gone.json()["state"])


@pytest.mark.spawns
def test_a_worker_tells_its_metrics(programs, store, config):
    """What it did is told where the settings say, without a key; taken addresses are said so."""
    a_node(store, MemoryNodes(), driver="process", name="n")
    listen = f"127.0.0.1:{free_port()}"
    programs(SKYQUAY, "worker", SKYQUAY_METRICS_LISTEN=listen)
    told = answer_of(f"http://{listen}/metrics").text

    other = programs(SKYQUAY, "worker", SKYQUAY_METRICS_LISTEN=listen)

    assert "skyquay_database_up 1.0" in told
    assert "skyquay_database_duration_seconds_count" in told
    assert 1 == other.wait(30)
    assert "SKYQUAY_METRICS_LISTEN" in config.data_dir.joinpath("skyquay-1.log").read_text()


@pytest.mark.spawns
def test_what_is_no_setting_is_named_once(programs, config):
    """However many processes serve; and it ends nothing."""
    listen = f"127.0.0.1:{free_port()}"
    programs(
        SKYQUAY, "serve", "--no-worker", "--processes", "2", SKYQUAY_LISTEN=listen,
        SKYQUAY_LEASE_S="5", SKYQUAY_PORT="tcp://10.0.0.1:80", SKYQUAY_REQUIRE_DOCKER="0",
        SKYQUAY_REQUIRE_PODMAN="0",
    )  # fmt: skip
    assert 200 == answer_of(f"http://{listen}/readyz").status_code

    lines = config.data_dir.joinpath("skyquay-0.log").read_text().splitlines()

    assert [
        "SKYQUAY_LEASE_S is no longer a setting: it is 30 s.",
        "SKYQUAY_PORT is not a setting.",
    ] == [json.loads(line)["reason"] for line in lines if "setting.ignored" in line]


@pytest.mark.spawns
def test_any_wsgi_server_will_do(programs):
    """`waitress-serve wsgi:app` serves what the settings say."""
    listen = f"127.0.0.1:{free_port()}"
    programs(SKYQUAY.with_name("waitress-serve"), f"--listen={listen}", "wsgi:app")

    assert {"status": "ready"} == answer_of(f"http://{listen}/readyz").json()


@pytest.mark.spawns
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_who_waits_is_answered_before_the_end(programs, store, number):
    """A signal ends the waiting, not the request; and what it waited for is kept."""
    node = a_node(store, MemoryNodes(), name="away")
    store.nodes.update(node["_id"], {"status": "Offline", "probed_at": FAR})
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    listen = f"127.0.0.1:{port}"
    one = {"SKYQUAY_PROCESSES": "1", "SKYQUAY_LISTEN": listen, "SKYQUAY_API_KEY": KEY}
    process = programs(SKYQUAY, "serve", **one)
    assert 200 == answer_of(f"{url}/readyz").status_code
    order = a_deploy(a_user(store), node, an_image(store), queue=True)

    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(
            requests.post,
            f"{url}{DEPLOY}?wait=60",
            json=order,
            headers={"x-api-key": KEY},
            timeout=50,
        )
        assert eventually(lambda: store.operations.list_newest({}, limit=1))
        process.send_signal(number)
        answer = waiting.result()

    assert (201, "INSTALLING", 0) == (
        answer.status_code,
        answer.json()["state"],
        process.wait(30),
    )
    assert "pending" == store.operations.list_newest({}, limit=1)[0]["status"]


@pytest.mark.spawns
def test_a_worker_whose_terminal_closes_leaves_in_order(programs, tmp_path):
    """It hands over what it does, and ends with success."""
    worker = programs(SKYQUAY, "worker")
    assert eventually(
        lambda: "Skyquay works." in (tmp_path / "skyquay-0.log").read_text(), timeout_s=60
    )

    worker.send_signal(signal.SIGHUP)

    assert 0 == worker.wait(30)


@pytest.mark.spawns
def test_what_nohup_runs_outlives_its_terminal(programs, tmp_path):
    """Who is started with SIGHUP ignored goes on."""
    worker = programs(Path("/usr/bin/nohup"), SKYQUAY, "worker")
    assert eventually(
        lambda: "Skyquay works." in (tmp_path / "nohup-0.log").read_text(), timeout_s=60
    )

    assert is_ignored(worker, signal.SIGHUP)


def is_ignored(process, number):
    """Return whether a process ignores a signal."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    ignored = int(re.search(r"^SigIgn:\s*(\w+)", status, re.MULTILINE)[1], 16)
    return bool(ignored >> (number - 1) & 1)


@pytest.mark.spawns
def test_the_parent_of_several_outlives_an_early_reload(programs):
    """SIGHUP while `serve` has no children yet ends nothing: they come, and are new."""
    listen = f"127.0.0.1:{free_port()}"
    serve = programs(SKYQUAY, "serve", "--no-worker", "--processes", "2", SKYQUAY_LISTEN=listen)
    assert eventually(lambda: is_ignored(serve, signal.SIGHUP))

    serve.send_signal(signal.SIGHUP)

    assert 200 == answer_of(f"http://{listen}/readyz").status_code
    assert None is serve.poll()
