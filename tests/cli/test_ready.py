"""Commands that wait for programs, on a real server whose nodes are in memory."""

import threading

import pytest
from click.testing import CliRunner

from service import cli
from service.cli.failures import Exit
from service.model.lifecycle import Power
from tests.support import an_image, eventually, free_port

pytestmark = pytest.mark.heavy

LOG = {"kind": "log", "value": "Done (", "timeout_s": 300}


@pytest.fixture
def skyquay(database, live_server, monkeypatch):
    """Run the command, with no worker that has the duty of another test."""
    database["meta"].delete_one({"_id": "phases"})
    monkeypatch.setenv("SKYQUAY_URL", live_server.url)
    monkeypatch.setenv("SKYQUAY_KEY", live_server.key)
    return lambda *words: CliRunner().invoke(cli.main, [str(word) for word in words])


@pytest.fixture
def words(store, place):
    """What deploys an instance of an image that says when it is ready, and waits for that."""
    user, node, _ = place
    port = free_port()
    return ("instances", "deploy", "--name", "web", "--user", user["_id"], "--node", node["_id"],
            "--image", an_image(store, ready=LOG)["_id"], "--memory", "128M", "--cpu", "0.5",
            "--ports", f"80:{port}", "--primary", port, "--wait-ready")  # fmt: skip


@pytest.fixture
def once_it_runs(here):
    """Return a function that does something to the only container, once that runs."""
    threads = []

    def do(work):
        def wait():
            assert eventually(lambda: here.containers)
            [container] = here.containers.values()
            assert eventually(lambda: container.power == Power.RUNNING)
            work(container)

        threads.append(threading.Thread(target=wait))
        threads[-1].start()

    yield do
    for thread in threads:
        thread.join()


def test_a_deployment_waits_until_it_is_ready(skyquay, words, store, once_it_runs):
    """And the list says so."""
    once_it_runs(lambda container: setattr(container, "log", "Done (1s)\n"))

    outcome = skyquay(*words)

    [instance] = store.instances.all()
    assert (0, f"{instance['_id']}\n") == (outcome.exit_code, outcome.stdout), outcome.stderr
    assert "ready" == instance["phase"]
    assert "  ready  " in skyquay("instances", "list").stdout


def test_a_program_that_does_not_become_ready_is_told(skyquay, words, store, once_it_runs):
    """The reason is printed, and the exit code is its own."""

    def end(_):
        [instance] = store.instances.all()
        assert eventually(lambda: store.instances.get(instance["_id"])["phase"] == "starting")
        store.instances.update(instance["_id"], {"power": Power.STOPPED, "error": "It ended."})

    once_it_runs(end)
    outcome = skyquay(*words)

    assert Exit.FAILED == outcome.exit_code
    assert "not ready: exited" in outcome.stderr
