"""What nodes and instances use, on the command line: once, or as it changes."""

import json
import os
import pty
import select
import subprocess
import termios
from contextlib import closing

import pytest
from click.testing import CliRunner

from service import cli, keys
from service.cli import top
from service.cli.usage_tables import print_bytes
from tests.cli.test_instances import deploy_words
from tests.support import NOON, SKYQUAY


@pytest.fixture
def skyquay(live_server, monkeypatch):
    """Run the command at a server whose nodes are in memory."""
    monkeypatch.setenv("SKYQUAY_URL", live_server.url)
    monkeypatch.setenv("SKYQUAY_KEY", live_server.key)
    return lambda *words: CliRunner().invoke(cli.main, [str(word) for word in words])


@pytest.fixture
def used(skyquay, store, database, place):
    """Two instances that were sampled, the second of which uses more memory and less cpu."""
    ids = []
    for name in ("one", "two"):
        skyquay(*deploy_words(place, name), "--no-wait")
        ids.append(database["instances"].find_one({"name": name})["_id"])
    server_time = store.server_time()
    store.sampling.sync(now=server_time)
    last = {
        ids[0]: {"at": server_time, "cpu_milli": 900, "memory_bytes": 10 * 2**20},
        ids[1]: {"at": server_time, "cpu_milli": 100, "memory_bytes": 20 * 2**20},
    }
    database["sampling"].update_one({}, {"$set": {"last": last, "interval_ms": 15_000}})
    return ids


@pytest.mark.heavy
def test_without_a_terminal_there_is_one_table(skyquay, used):
    """Of nodes and of instances, by cpu unless another order is asked for."""
    node, first, second = skyquay("top").stdout.splitlines()
    *_, by_memory, _ = skyquay("top", "--sort", "memory").stdout.splitlines()

    assert ("1.00", "30 MiB", "complete") == tuple(
        each for each in ("1.00", "30 MiB", "complete") if each in node
    )
    assert (True, True) == ("0.90 of" in first, "0.10 of" in second)
    assert first.startswith(used[0])
    assert by_memory.startswith(used[1])


@pytest.mark.heavy
def test_programs_get_json(skyquay, used, place):
    """One object, of the node that was asked for."""
    found = json.loads(skyquay("top", "--json", "--node", place[1]["name"]).stdout)

    assert used == [each["Id"] for each in found["instances"]]
    assert [place[1]["name"]] == [each["name"] for each in found["nodes"]]
    assert {"nodes": [], "instances": []} == json.loads(
        skyquay("top", "--json", "--node", "nowhere").stdout
    )


@pytest.mark.heavy
def test_a_key_without_nodes_sees_instances(skyquay, store, used, monkeypatch):
    """What it may not read is left out, and no error."""
    grant = {"scopes": ["instances:read"]}
    monkeypatch.setenv("SKYQUAY_KEY", keys.create(store, name="k", grant=grant, now=NOON)[1])

    assert 2 == len(skyquay("top").stdout.splitlines())


@pytest.mark.heavy
def test_stats_lists_what_was_used_last(skyquay, used):
    """Of one instance too; with --json its series."""
    answer = json.loads(skyquay("stats", "--instance", used[0], "--json").stdout)

    assert used[0] in skyquay("stats", "--instance", used[0]).stdout
    assert 1 == len(skyquay("stats", "--limit", "1").stdout.splitlines())
    assert len(answer["times"]) == len(answer["instances"][0]["series"]["cpu"])


@pytest.mark.spawns
def test_a_terminal_shows_it_live(live_server, used):
    """In an order that keys change, until q; the terminal is as it was afterwards."""
    near, far = pty.openpty()
    before = termios.tcgetattr(far)
    connection = {"SKYQUAY_URL": live_server.url, "SKYQUAY_KEY": live_server.key}
    process = subprocess.Popen(
        [SKYQUAY, "top"], stdin=far, stdout=far, stderr=far,
        env={**os.environ, **connection, "TERM": "xterm-256color", "COLUMNS": "160", "LINES": "40"},
    )  # fmt: skip

    def read_until(text):
        shown = b""
        while text not in shown:
            assert select.select([near], [], [], 30)[0], shown
            shown += os.read(near, 65536)

    read_until(b"by cpu")
    os.write(near, b"m")
    read_until(b"by memory")
    os.write(near, b"q")
    read_until(b"\x1b[?1049l")

    assert 0 == process.wait(30)
    assert before == termios.tcgetattr(far)
    os.close(near)
    os.close(far)


def test_what_is_too_long_for_the_screen_is_counted(monkeypatch):
    """The first of the order are shown."""
    from rich.console import Console

    instances = [
        {"Id": f"i{n}", "Name": f"n{n}", "nodeId": "n", "power": "running", "cpuLimit": 1,
         "startedAt": None, "latest": None, "userId": "u"}
        for n in range(50)
    ]  # fmt: skip
    console = Console(width=120, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    with closing(console.file):
        console.print(top._render(top.Look([], instances, 15.0), "name", "", height=15))

    assert "40 more; by name, sampled every 15 s" in console.export_text()


@pytest.mark.parametrize(
    ("count", "text"),
    [(None, None), (0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (32 * 2**20, "32 MiB"),
     (5 * 2**50, "5120 TiB")],
)  # fmt: skip
def test_bytes_are_written_with_their_unit(count, text):
    """Three digits are enough."""
    assert text == print_bytes(count)
