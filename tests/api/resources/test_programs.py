"""The command line of instances, and what they use, over HTTP."""

import pytest

from service.drivers import Delivery
from service.model.container import MAX_LINE_BYTES
from service.model.lifecycle import InstanceState, Power
from tests.support import list_collections, run_due, told


@pytest.fixture
def here(memory_nodes, place):
    """The instance's node."""
    return memory_nodes[place[1]["_id"]]


@pytest.fixture
def container(here, ready):
    """The instance's container."""
    return here.containers[ready]


def send(api, instance_id, line="save-all", **options):
    """Send a line."""
    return api.post(f"/api/instances/{instance_id}/command", {"line": line}, **options)


def test_a_line_is_sent(api, ready, container):
    """The program gets the line as it is."""
    answer = send(api, ready, 'say "hello" é ^C')

    assert (204, ['say "hello" é ^C']) == (answer.status, container.lines)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "two\nlines",
        "carriage\rreturn",
        "a\ttab",
        "\x03",
        "\x1b[31m",
        "\x7f",
        "\x85",
        "a" * (MAX_LINE_BYTES + 1),
        "é" * (MAX_LINE_BYTES // 2 + 1),
        7,
        None,
        ["save-all"],
    ],
)
def test_what_is_no_line_is_a_400_and_is_not_sent(api, here, ready, line):
    """A 400 names the field, and the node is not called."""
    calls = here.calls
    answer = send(api, ready, line)

    assert (400, "invalid_input", ["line"]) == told(answer)
    assert calls == here.calls


def test_an_unknown_field_beside_a_line_is_a_400(api, ready, container):
    """The body is strict."""
    answer = api.post(f"/api/instances/{ready}/command", {"line": "a", "command": "b"})

    assert (400, "invalid_input", ["command"]) == told(answer)
    assert [] == container.lines


def test_a_line_needs_an_instance(api):
    """An unknown instance is a 404."""
    assert 404 == send(api, "i00000000000").status


def test_a_line_for_what_is_suspended_is_a_409(api, store, memory_nodes, ready, here):
    """The node is not called."""
    api.post(f"/api/instances/suspend/{ready}")
    run_due(store, memory_nodes)
    calls = here.calls

    assert (409, "instance_suspended", []) == told(send(api, ready))
    assert calls == here.calls


def test_a_line_for_what_is_not_ready_is_a_409(api, store, ready):
    """What is being installed has no program yet."""
    state = {"$set": {"state": InstanceState.INSTALLING}}
    store.instances._collection.update_one({"_id": ready}, state)

    assert (409, "instance_not_ready", ["state"]) == told(send(api, ready))


@pytest.mark.parametrize(
    ("delivery", "status", "code"),
    [
        (Delivery.UNREAD, 409, "instance_not_ready"),
        (Delivery.NO_INPUT, 400, "not_supported"),
    ],
)
def test_a_line_that_is_not_delivered_is_said_so(api, ready, container, delivery, status, code):
    """A program that does not read, and a container without an input, are told apart."""
    container.input = delivery

    assert (status, code, []) == told(send(api, ready))


def test_a_line_for_what_does_not_run_is_a_409(api, ready, container):
    """A stopped program reads nothing."""
    container.power = Power.STOPPED

    assert (409, "instance_not_ready", []) == told(send(api, ready))


@pytest.mark.parametrize("path", ["command", "stats"])
def test_a_node_that_is_down_is_not_waited_for(api, store, place, here, ready, path):
    """It is not even called."""
    store.nodes.update(place[1]["_id"], {"status": "Offline"})
    calls = here.calls
    url = f"/api/instances/{ready}/{path}"
    answer = api.get(url) if path == "stats" else api.post(url, {"line": "x"})

    assert (500, "node_offline", ["nodeId"]) == told(answer)
    assert calls == here.calls


@pytest.mark.parametrize("path", ["command", "stats"])
def test_a_driver_that_cannot_is_a_400(api, store, place, ready, path):
    """So says the driver's traits, for one that this version does not know."""
    store.nodes.update(place[1]["_id"], {"driver": "podman"})
    url = f"/api/instances/{ready}/{path}"
    answer = api.get(url) if path == "stats" else api.post(url, {"line": "x"})

    assert (400, "not_supported", []) == told(answer)


def test_the_audit_log_has_that_a_line_was_sent_and_not_the_line(api, database, ready):
    """Lines may bear secrets."""
    send(api, ready, "login hunter2secret", headers={"Idempotency-Key": "once"})

    [entry, *_] = api.get(f"/api/audit?target={ready}").json["entries"]
    assert ("instances.send_instance_command", "done") == (entry["action"], entry["outcome"])
    for name in list_collections(database):
        assert "hunter2secret" not in str(list(database[name].find()))


def test_a_repeated_request_sends_a_line_once(api, ready, container):
    """A repeat with the same key is answered as the first, and nothing is sent."""
    headers = {"Idempotency-Key": "once"}
    answers = [send(api, ready, headers=headers).status for _ in range(2)]

    assert ([204, 204], ["save-all"]) == (answers, container.lines)


def test_a_line_that_may_have_been_read_is_not_sent_again(api, ready, container):
    """After a node's silence in the middle of it a repeat sends nothing, and says so."""
    headers = {"Idempotency-Key": "once"}
    container.input = None

    first = send(api, ready, headers=headers)
    again = send(api, ready, headers=headers)

    assert ("node_unreachable", "already_done") == (first.json["code"], again.json["code"])


def test_a_line_that_was_not_delivered_may_be_sent_again(api, ready, container):
    """A repeat of a request that did nothing tries anew."""
    headers = {"Idempotency-Key": "once"}
    container.input = Delivery.UNREAD
    first = send(api, ready, headers=headers)
    container.input = Delivery.SENT

    again = send(api, ready, headers=headers)

    assert (409, 204, ["save-all"]) == (first.status, again.status, container.lines)


def test_stats_are_measured(api, ready):
    """What the node says, with the instance's limit."""
    answer = api.get(f"/api/instances/{ready}/stats")

    assert 200 == answer.status
    assert {
        "Id": ready,
        "power": "running",
        "cpu": 0.25,
        "memoryBytes": 32 * 2**20,
        "memoryLimitBytes": 128 * 2**20,
        "networkReceivedBytes": 2048,
        "networkSentBytes": 1024,
        "diskBytes": 4096,
        "startedAt": "2026-01-31T11:00:00Z",
    }.items() <= answer.json.items()
    assert answer.json["uptimeSeconds"] >= 0


def test_stats_of_what_does_not_run_are_zero(api, ready, container):
    """A chart goes on at zero."""
    container.power = Power.STOPPED

    found = api.get(f"/api/instances/{ready}/stats").json
    assert ("stopped", 0, 0, None) == (
        found["power"],
        found["cpu"],
        found["memoryBytes"],
        found["uptimeSeconds"],
    )


def test_stats_need_an_instance(api):
    """An unknown instance is a 404."""
    assert 404 == api.get("/api/instances/i00000000000/stats").status
