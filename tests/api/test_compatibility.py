"""The differences between the API's reference and the panel's last version, in both modes."""

import re
from pathlib import Path

import pytest

from service import keys
from tests.support import DEPLOY, NOON, ApiClient, a_body, a_key, a_node, an_app, run_due

GUIDE = Path(__file__).resolve().parent.parent.parent / "docs" / "compatibility.md"
ROW = re.compile(r"^\| `(\w+) (\S+)` \| (.+?) \| (.+?) \| (.+?) \|$", re.MULTILINE)
ROWS = ROW.findall(GUIDE.read_text().partition("<!-- differences -->")[2])
NOTHING = {
    "/api/getUser": {"type": "email", "value": "nobody@example.org"},
    "/api/getUserInstance": {"userId": "nobody"},
    "/api/getInstance": {"id": "inothing"},
    "/api/instance/delete": {"id": "inothing"},
    "/api/nodes/delete": {"nodeId": "nowhere"},
}


@pytest.fixture
def clients(config, store, memory_nodes):
    """A client of each family."""
    flask = an_app(config, store, memory_nodes).test_client()
    last = keys.create(store, name="last", compatibility="0.3.0", now=NOON)[1]
    return {"reference": ApiClient(flask, a_key(store)), "0.3.0": ApiClient(flask, last)}


@pytest.fixture
def send(store, memory_nodes, place):
    """Send the request of a row, in the case that it tells of."""

    def send(client, method, path, case):
        body = NOTHING.get(path, {})
        if case == "the user is found":
            body = {"type": "id", "value": place[0]["_id"]}
        elif case == "the instance is deleted":
            body = {"id": client.post(DEPLOY, a_body(place)).json["Id"]}
            run_due(store, memory_nodes)
        elif case == "the node is deleted":
            body = {"nodeId": a_node(store, memory_nodes)["_id"]}
        elif path == DEPLOY:
            body = a_body(place, nodeId="nowhere")
        return client.send(method, path.replace("{id}", "inothing"), json=body)

    return send


def test_the_table_has_rows():
    """The guide is read as it is meant."""
    assert len(ROWS) > 8


@pytest.mark.parametrize("family", ["reference", "0.3.0"])
@pytest.mark.parametrize(("method", "path", "case", "reference", "last"), ROWS)
def test_both_families_get_their_answers(
    clients, send, family, method, path, case, reference, last
):
    """Each request of the table is answered as its column says."""
    told = {"reference": reference, "0.3.0": last}[family]

    answer = send(clients[family], method, path, case)

    assert (told.partition(",")[0], "with `Message`" in told) == (
        str(answer.status),
        "Message" in answer.json,
    )


def test_errors_of_the_last_version_are_json(clients):
    """Whatever the code, an error has its sentence, its code and its details, and its status."""
    answer = clients["0.3.0"].post("/api/getInstance", {"id": "inothing"})

    assert {"error", "code", "details"} <= answer.json.keys()
    assert (404, 404) == (answer.status, answer.json["status"])


def test_other_mistakes_are_the_same_for_all(clients):
    """What is missing or wrong is a 400 in both families."""
    answers = {
        name: client.post("/api/getUser", {"type": "shoe size", "value": "9"}).status
        for name, client in clients.items()
    }

    assert {"reference": 400, "0.3.0": 400} == answers


def test_the_other_paths_are_the_same_for_all(clients, place):
    """Lists, creations and deploys have the reference's codes."""
    calls = [
        ("GET", "/api/users", None, 200),
        ("GET", "/api/nodes", None, 200),
        ("GET", "/api/name", None, 200),
        ("POST", DEPLOY, a_body(place), 201),
    ]

    answers = [clients["0.3.0"].send(m, path, json=body).status for m, path, body, _ in calls]

    assert [status for *_, status in calls] == answers
