"""Commands for instances, on a real server, and on the database of this machine."""

import json
import os
import pty
import re
import select
import subprocess
import sys
from contextlib import suppress

import pytest
from click.testing import CliRunner

from service import cli
from service.cli.connection import Answer, Connection
from service.cli.failures import Exit
from service.cli.following import follow
from tests.support import SKYQUAY, a_key, a_user, free_port

OPERATION = {"id": "op-1", "status": "running", "steps": [], "error": None}


@pytest.fixture
def skyquay(live_server, monkeypatch):
    """Run the command at a server whose nodes are in memory."""
    monkeypatch.setenv("SKYQUAY_URL", live_server.url)
    monkeypatch.setenv("SKYQUAY_KEY", live_server.key)

    def run(*words, typed=None):
        return CliRunner().invoke(cli.main, [str(word) for word in words], input=typed)

    return run


@pytest.fixture
def here_skyquay(config, store, worker, monkeypatch):
    """Run the command on the test's database, while a worker runs."""
    monkeypatch.setenv("SKYQUAY_MONGODB_URI", config.mongodb_uri)
    monkeypatch.setenv("SKYQUAY_DATABASE", config.database)
    monkeypatch.setenv("SKYQUAY_SECRET_KEY", config.secret_key)

    def run(*words):
        return CliRunner().invoke(cli.main, [str(word) for word in words])

    return run


def deploy_words(place, name="web"):
    """What deploys an instance at a place."""
    user, node, image = place
    port = free_port()
    return ("instances", "deploy", "--name", name, "--user", user["_id"], "--node", node["_id"],
            "--image", image["_id"], "--memory", "128M", "--cpu", "0.5",
            "--ports", f"80:{port}", "--primary", port)  # fmt: skip


@pytest.mark.heavy
def test_a_deployment_shows_its_steps(skyquay, place, store):
    """The steps are on standard error, and the id of what runs then is the only other line."""
    outcome = skyquay(*deploy_words(place), "--label", "plan=gold", "--external-id", "o-1")

    [instance] = store.instances.all()
    assert (0, f"{instance['_id']}\n") == (outcome.exit_code, outcome.stdout)
    assert ["  create done", "  start done"] == [
        line for line in outcome.stderr.splitlines() if line.endswith(" done")
    ]
    assert ("READY", {"plan": "gold"}) == (instance["state"], instance["labels"])


@pytest.mark.heavy
def test_a_deployment_that_fails_is_told(skyquay, place, store, here):
    """The reason is printed, and the exit code is its own."""
    here.faults.refuse("no room")

    outcome = skyquay(*deploy_words(place))

    assert (Exit.FAILED, "FAILED") == (outcome.exit_code, store.instances.all()[0]["state"])
    assert "ended failed: " in outcome.stderr


@pytest.mark.heavy
def test_a_life_cycle(skyquay, place, store):
    """What is deployed is listed, shown, edited, stopped, started and deleted."""
    instance_id = skyquay(*deploy_words(place)).stdout.strip()

    listed = skyquay("instances", "list", "--state", "READY", "--fields", "Id,Name").stdout
    edited = skyquay("instances", "edit", instance_id, "--memory", "256", "--name", "other")
    stopped = skyquay("instances", "stop", instance_id)
    started = skyquay("instances", "start", instance_id)
    shown = json.loads(skyquay("instances", "show", instance_id, "--json").stdout)
    logs = skyquay("instances", "logs", instance_id)
    deleted = skyquay("instances", "delete", instance_id, "--yes")

    assert f"{instance_id}  web\n" == listed
    assert [0] * 5 == [each.exit_code for each in (edited, stopped, started, logs, deleted)]
    assert ("stopped" in stopped.stdout, "running" in started.stdout) == (True, True)
    assert ("other", 256, "running") == (shown["Name"], shown["Memory"], shown["power"])
    assert ("Deleted.\n", []) == (deleted.stdout, store.instances.all())


@pytest.mark.heavy
def test_a_program_is_sent_a_line_and_measured(skyquay, place, store, here):
    """The line is an argument, and what is used is shown."""
    instance_id = skyquay(*deploy_words(place)).stdout.strip()

    sent = skyquay("instances", "send", instance_id, "save-all flush")
    stats = json.loads(skyquay("instances", "stats", instance_id, "--json").stdout)

    assert (0, "Sent.\n", ["save-all flush"]) == (
        sent.exit_code,
        sent.stdout,
        here.containers[instance_id].lines,
    )
    assert (0.25, 32 * 2**20) == (stats["cpu"], stats["memoryBytes"])


@pytest.mark.heavy
def test_nobody_need_wait(skyquay, place, store):
    """With --no-wait the command ends at once, and says how to watch what goes on."""
    outcome = skyquay(*deploy_words(place), "--no-wait")
    words = re.search(r"skyquay (operations watch \w+)", outcome.stderr)[1].split()

    watched = skyquay(*words)

    assert (0, 0, "Succeeded.\n") == (outcome.exit_code, watched.exit_code, watched.stdout)
    assert "READY" == store.instances.all()[0]["state"]


@pytest.mark.heavy
def test_the_same_is_done_to_many(skyquay, place, store, tmp_path):
    """The items are in a file, and what became of each is printed."""
    instance_id = skyquay(*deploy_words(place)).stdout.strip()
    file = tmp_path / "stop.json"
    file.write_text(json.dumps({"kind": "stop", "items": [{"id": instance_id}]}))

    outcome = skyquay("operations", "start-bulk", str(file), "--json")

    [item] = json.loads(outcome.stdout)["bulk"]["items"]
    assert (0, instance_id, "succeeded") == (outcome.exit_code, item["id"], item["status"])
    assert "stopped" == store.instances.get(instance_id)["power"]


@pytest.mark.heavy
def test_an_edit_takes_away_what_may_lack(skyquay, place, store):
    """--clear sets a field to null, and a label without a value goes."""
    words = deploy_words(place)
    instance_id = skyquay(*words, "--external-id", "o-1", "--label", "a=1", "--label", "b=2")
    instance_id = instance_id.stdout.strip()

    skyquay("instances", "edit", instance_id, "--clear", "externalId", "--label", "a")

    instance = store.instances.get(instance_id)
    assert (None, {"b": "2"}) == (instance.get("external_id"), instance["labels"])


def test_an_edit_of_nothing_is_wrong_usage(skyquay):
    """Nothing is sent."""
    assert 2 == skyquay("instances", "edit", "i1").exit_code


def test_what_is_wrong_is_named_at_once(skyquay, place):
    """All wrong fields are printed."""
    outcome = skyquay(*deploy_words(place), "--memory", "much", "--cpu", "0")

    assert (1, True, True) == (
        outcome.exit_code,
        "\n  memory: " in outcome.stderr,
        "\n  cpu: " in outcome.stderr,
    )


class Scripted:
    """A transport that answers an operation, or ends the command."""

    is_local = False

    def __init__(self, *answers):
        self.answers = list(answers)

    def send(self, request, *, wait_s=0):
        """Answer what comes next."""
        answer = self.answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return Answer(200, json.dumps({**OPERATION, **answer}), {})


def test_who_ends_the_waiting_ends_no_operation(capsys):
    """Ctrl-C says that it goes on, and how to watch it."""
    from click.exceptions import Exit as Ended

    with pytest.raises(Ended) as caught:
        follow(Connection(Scripted(KeyboardInterrupt())), "op-1")

    assert Exit.INTERRUPTED == caught.value.exit_code
    assert "The operation goes on. To watch it: skyquay operations watch op-1" in (
        capsys.readouterr().err
    )


@pytest.mark.heavy
def test_a_step_is_printed_when_it_ends(capsys):
    """Each once; and why an operation waits."""
    pulling = {"name": "pull", "endedAt": None, "error": None, "progress": "1 of 2 layers"}
    pulled = {**pulling, "endedAt": "2026-01-31T12:00:00.000Z"}
    transport = Scripted(
        {"status": "pending", "error": "It does not answer."},
        {"steps": [pulling]},
        {"steps": [pulled], "status": "succeeded"},
    )

    follow(Connection(transport), "op-1")

    assert "  waits: It does not answer.\n  pull done\n" == capsys.readouterr().err


@pytest.mark.heavy
def test_the_database_of_this_machine_is_enough(here_skyquay, place, store):
    """Without any server the same commands work on it, with all rights, and are recorded."""
    user, node, _ = place
    store.nodes.update(node["_id"], {"status": "Online"})

    outcome = here_skyquay(*deploy_words(place), "--no-wait")

    [entry] = store.audit.list_newest({}, since=None, before=None, limit=9)
    assert 0 == outcome.exit_code, outcome.output
    assert ("cli.instances.deploy", "local", "done") == (
        entry["action"],
        entry["key_id"],
        entry["outcome"],
    )
    assert user["_id"] == store.instances.all()[0]["user_id"]


@pytest.mark.heavy
def test_commands_here_act_for_users(here_skyquay, place, store, api):
    """What a user may not do, --as refuses on the database of this machine too."""
    user = a_user(store, username="bob")

    outcome = here_skyquay(*deploy_words(place), "--as", user["_id"])

    assert (1, []) == (outcome.exit_code, store.instances.all())


@pytest.mark.heavy
def test_lists_here_are_filtered(here_skyquay, place, store):
    """What filters over HTTP filters here, given several times too."""
    for name, color in (("red", "red"), ("blue", "blue")):
        words = deploy_words(place, name)
        here_skyquay(*words, "--label", "a=1", "--label", f"color={color}", "--no-wait")

    listed = here_skyquay(
        "instances", "list", "--label", "a:1", "--label", "color:red", "--fields", "Name"
    )

    assert "red\n" == listed.stdout


def test_every_refusal_here_ends_with_one(here_skyquay):
    """On the database of this machine it is 1 whatever is wrong, as it always was."""
    assert 1 == here_skyquay("instances", "show", "nope").exit_code


def on_terminal(*words, typed=b"", **env):
    """Run the command on a terminal; answer its exit code, and what that showed.

    What is typed comes once something is asked for.
    """
    near, far = pty.openpty()
    process = subprocess.Popen(
        [SKYQUAY, *map(str, words)],
        stdin=far,
        stdout=far,
        stderr=far,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", **env},
    )
    os.close(far)
    shown = b""
    with suppress(OSError):  # the terminal is closed
        while select.select([near], [], [], 60)[0] and (part := os.read(near, 65536)):
            shown += part
            if typed and shown.endswith(b": "):
                os.write(near, typed)
                typed = b""
    os.close(near)
    return process.wait(60), shown.decode()


@pytest.mark.spawns
@pytest.mark.parametrize(("no_color", "colored"), [("", True), ("1", False)])
def test_a_terminal_gets_a_table(live_server, place, skyquay, no_color, colored):
    """With headings, in colors that heed NO_COLOR; and it says which server that is."""
    skyquay(*deploy_words(place))

    code, shown = on_terminal("instances", "list", NO_COLOR=no_color)

    assert (0, True) == (code, f"At {live_server.url}" in shown)
    assert re.search(r"ID +NAME +STATE +POWER", re.sub(r"\x1b\[[0-9;]*m", "", shown))
    assert colored == ("\x1b[32m" in shown)


@pytest.mark.spawns
@pytest.mark.parametrize(("typed", "code", "left"), [(b"n\n", 1, 1), (b"y\n", 0, 0)])
def test_a_terminal_is_asked(place, skyquay, store, typed, code, left):
    """What destroys is done once that is confirmed."""
    instance_id = skyquay(*deploy_words(place)).stdout.strip()

    ended, shown = on_terminal("instances", "delete", instance_id, typed=typed)

    assert (code, True) == (ended, f"Delete the instance {instance_id}" in shown)
    assert left == len(store.instances.all())


@pytest.mark.spawns
def test_a_terminal_shows_no_key(live_server, tmp_path):
    """The key of a login is typed unseen."""
    code, shown = on_terminal(
        "login", live_server.url, typed=f"{live_server.key}\n".encode(),
        XDG_CONFIG_HOME=str(tmp_path),
    )  # fmt: skip

    assert (0, False) == (code, live_server.key in shown)
    assert tmp_path.joinpath("skyquay", "login.json").exists()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_it(shell):
    """What is printed calls the command back."""
    outcome = CliRunner().invoke(cli.main, ["completion", shell])

    assert (0, True) == (outcome.exit_code, "_SKYQUAY_COMPLETE" in outcome.output)


@pytest.mark.spawns
def test_a_server_is_spoken_with_without_the_database():
    """What speaks HTTP imports nothing that serves or stores."""
    program = "import sys, service.cli.instances, service.cli.login; print(*sys.modules)"
    printed = subprocess.check_output([sys.executable, "-c", program], text=True).split()

    assert set() == {"flask", "pymongo", "service.store", "service.app"}.intersection(printed)


def test_a_key_of_an_app_of_its_own_is_none(here_skyquay, live_server, store):
    """The local administrator is known to no server."""
    a_key(store)

    assert "local" not in {key["_id"] for key in store.keys.all()}
