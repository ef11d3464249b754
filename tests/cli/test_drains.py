"""Commands for drains, on the database of this machine, where a worker runs beside."""

import json

import pytest
from click.testing import CliRunner

from service import cli
from service.model.lifecycle import NodeStatus
from tests.support import SECRET_KEY, a_node

pytestmark = pytest.mark.heavy


@pytest.fixture
def skyquay(config, store, database, monkeypatch):
    """Run the command on the test's database, where no earlier worker has the duty any more."""
    database["meta"].delete_one({"_id": "drains"})
    monkeypatch.setenv("SKYQUAY_MONGODB_URI", config.mongodb_uri)
    monkeypatch.setenv("SKYQUAY_DATABASE", config.database)
    monkeypatch.setenv("SKYQUAY_DATA_DIR", str(config.data_dir))
    monkeypatch.setenv("SKYQUAY_SECRET_KEY", SECRET_KEY)
    return lambda *words: CliRunner().invoke(cli.main, ["nodes", *words])


def test_a_drain_is_waited_for(skyquay, ready, node, store, memory_nodes, worker):
    """What is printed is how far it is, and last the drain itself."""
    a_node(store, memory_nodes, name="other")

    outcome = skyquay("drain", node["_id"], "--at-once", "1", "--wait", "--json")

    assert 0 == outcome.exit_code, outcome.output
    assert ("done", 1, 1) == tuple(
        json.loads(outcome.stdout)[name] for name in ("status", "moved", "atOnce")
    )
    assert "done: 1 of 1 moved, 0 stuck" in outcome.stderr


def test_a_drain_that_is_blocked_is_a_failure(skyquay, ready, node, worker):
    """With the reason of each instance."""
    outcome = skyquay("drain", node["_id"], "--wait")

    assert 0 != outcome.exit_code
    assert f"{ready}: There is no node to choose." in outcome.stderr


def test_the_other_commands(skyquay, ready, node, store):
    """Each prints the drain; no worker runs."""
    store.nodes.update(node["_id"], {"status": NodeStatus.OFFLINE})

    said = [
        json.loads(skyquay(command, node["_id"], "--json").stdout)["status"]
        for command in ("drain", "show-drain", "pause-drain", "resume-drain", "undo-drain")
    ]

    assert ["running", "running", "paused", "running", "undoing"] == said
    assert "undoing" in skyquay("list", "--output", "wide").output
