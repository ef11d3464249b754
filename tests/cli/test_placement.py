"""Commands that leave the choice of the node to Skyquay, and those that only try."""

import json

import pytest
from click.testing import CliRunner

from service import cli
from service.cli.failures import Exit
from tests.support import a_node


@pytest.fixture
def skyquay(live_server, monkeypatch):
    """Run the command at a server whose nodes are in memory."""
    monkeypatch.setenv("SKYQUAY_URL", live_server.url)
    monkeypatch.setenv("SKYQUAY_KEY", live_server.key)
    return lambda *words: CliRunner().invoke(cli.main, [str(word) for word in words])


@pytest.fixture
def words(place):
    """What deploys an instance on whichever node fits."""
    user, _, image = place
    return ("instances", "deploy", "--name", "web", "--user", user["_id"], "--image",
            image["_id"], "--memory", "128M", "--cpu", "0.5", "--ports", "80:auto")  # fmt: skip


@pytest.mark.heavy
def test_a_deploy_chooses_by_its_options(skyquay, store, memory_nodes, words):
    """Tags, labels, what is excluded, and how nodes are compared."""
    a_node(store, memory_nodes, name="a", tags="eu")
    a_node(store, memory_nodes, name="b", tags="eu,ssd")
    c = a_node(store, memory_nodes, name="c", tags="eu,ssd", labels={"rack": "1"})
    a_node(store, memory_nodes, name="d", tags="eu,ssd", labels={"rack": "1"})

    outcome = skyquay(
        *words, "--tag", "eu", "--tag", "ssd", "--node-label", "rack=1", "--exclude", "d",
        "--spread", "user", "--prefer", "fewest-instances",
    )  # fmt: skip

    assert (0, c["_id"]) == (outcome.exit_code, store.instances.all()[0]["node_id"])


def test_why_no_node_fits_is_a_line_each(skyquay, store, memory_nodes, words):
    """With the name of the node."""
    a_node(store, memory_nodes, name="other", schedulable=False)

    outcome = skyquay(*words, "--node", "auto", "--tag", "eu")

    assert Exit.REFUSED == outcome.exit_code
    assert "None of the nodes fits.\n  " in outcome.stderr
    assert "  other: The node lacks the tag eu.\n" in outcome.stderr


def test_a_deploy_is_only_tried(skyquay, store, node, words):
    """What would be made is shown, and nothing is."""
    outcome = skyquay(*words, "--dry-run", "--output", "json")

    assert node["_id"] == json.loads(outcome.stdout)["Node"]["id"]
    assert [] == store.instances.all()


@pytest.mark.heavy
def test_a_change_is_only_tried(skyquay, store, ready):
    """The instance is shown as it would be."""
    outcome = skyquay("instances", "edit", ready, "--memory", "256M", "--dry-run")

    assert "\nMemory" in outcome.stdout, outcome.stderr
    assert " 256\n" in outcome.stdout
    assert 128 == store.instances.get(ready)["memory_mib"]


def test_the_nodes_that_fit_are_shown(skyquay, store, memory_nodes):
    """Best first, and why the others do not."""
    a_node(store, memory_nodes, name="small", ram="256M")
    a_node(store, memory_nodes, name="large", ram="1024M")
    a_node(store, memory_nodes, name="full", ram="64M")

    outcome = skyquay("nodes", "fit", "--memory", "128M", "--cpu", "1")

    assert [["large", "0.875"], ["small", "0.5"], ["full", "-"]] == [
        line.split()[1:3] for line in outcome.stdout.splitlines()
    ]
    assert "The node has not enough memory left." in outcome.stdout


def test_a_list_shows_which_nodes_get_instances(skyquay, store, memory_nodes):
    """In a column of its own."""
    a_node(store, memory_nodes, name="closed", schedulable=False)

    outcome = skyquay("nodes", "list")

    assert outcome.stdout.rstrip().endswith(" no")
