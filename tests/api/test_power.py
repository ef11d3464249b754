"""Start, stop, restart, kill and logs over HTTP."""

import pytest

from service.model.lifecycle import Power
from tests.support import DEPLOY, NOON, a_body, an_image, get, run_due, told


@pytest.fixture
def container(memory_nodes, place, ready):
    """The instance's container."""
    return memory_nodes[place[1]["_id"]].containers[ready]


@pytest.mark.parametrize(
    ("action", "power"),
    [("start", "running"), ("stop", "stopped"), ("restart", "running"), ("kill", "stopped")],
)
def test_power_is_changed(api, store, memory_nodes, ready, container, action, power):
    """What is asked for is done, and seen in the instance."""
    answer = api.post(f"/api/instances/{ready}/{action}")
    run_due(store, memory_nodes)

    assert (200, power, power) == (answer.status, container.power, get(api, ready)["power"])


@pytest.mark.parametrize("action", ["stop", "restart"])
def test_a_program_is_stopped_in_its_own_words(api, store, memory_nodes, place, action):
    """The image's stop command is tried first."""
    image = an_image(store, stop_command="save-all")
    deployed = api.post(DEPLOY, a_body((*place[:2], image))).json
    run_due(store, memory_nodes)

    api.post(f"/api/instances/{deployed['Id']}/{action}")
    run_due(store, memory_nodes)

    assert ["save-all"] == memory_nodes[place[1]["_id"]].stop_commands


def test_a_restart_stops_once(api, store, memory_nodes, place, ready):
    """A restart whose worker died after the stop goes on with the start."""
    here = memory_nodes[place[1]["_id"]]
    restart = api.post(f"/api/instances/{ready}/restart").json["operationId"]
    done = {"name": "stop", "started_at": NOON, "ended_at": NOON, "error": None}
    store.operations._collection.update_one({"_id": restart}, {"$set": {"steps": [done]}})

    run_due(store, memory_nodes)

    assert ["stop", "start"] == [step["name"] for step in store.operations.get(restart)["steps"]]
    assert Power.RUNNING == here.containers[ready].power


@pytest.mark.parametrize("action", ["start", "restart"])
def test_what_is_suspended_does_not_start(api, store, memory_nodes, ready, container, action):
    """A suspended instance is a 409, and stays as it is."""
    api.post(f"/api/instances/suspend/{ready}")
    run_due(store, memory_nodes)

    answer = api.post(f"/api/instances/{ready}/{action}")
    run_due(store, memory_nodes)

    assert (409, "instance_suspended", []) == told(answer)
    assert Power.STOPPED == container.power


@pytest.mark.parametrize("action", ["stop", "kill"])
def test_what_is_suspended_may_be_stopped(api, store, memory_nodes, ready, action):
    """Stopping what is suspended is harmless."""
    api.post(f"/api/instances/suspend/{ready}")

    assert 200 == api.post(f"/api/instances/{ready}/{action}").status


def test_suspending_overtakes_a_start_that_waits(api, store, memory_nodes, ready, container):
    """Whatever waits, what is suspended ends up stopped."""
    api.post(f"/api/instances/{ready}/start")
    api.post(f"/api/instances/suspend/{ready}")

    run_due(store, memory_nodes)

    assert Power.STOPPED == container.power


def test_what_is_installing_is_not_ready(api, place):
    """An instance without a container cannot be started: 409, with its state."""
    deployed = api.post(DEPLOY, a_body(place)).json

    answer = api.post(f"/api/instances/{deployed['Id']}/start")

    assert (409, "instance_not_ready", ["state"]) == told(answer)


def test_what_is_being_deleted_is_unknown(api, ready):
    """Nothing is started that is on its way out."""
    api.delete("/api/instance/delete", {"id": ready})

    answer = api.post(f"/api/instances/{ready}/start")

    assert (400, "instance_not_found", ["id"]) == told(answer)


@pytest.mark.parametrize("method", ["start", "stop", "restart", "kill"])
def test_a_node_that_is_down_is_not_asked(api, store, place, ready, method):
    """What cannot be done now is not put off without being told: 500, at once."""
    store.nodes.update(place[1]["_id"], {"status": "Offline"})

    answer = api.post(f"/api/instances/{ready}/{method}")

    assert (500, "node_offline", ["nodeId"]) == told(answer)


def test_the_container_id_is_accepted(api, ready):
    """As everywhere, the container's id means the instance."""
    container_id = get(api, ready)["ContainerId"]

    assert ready == api.post(f"/api/instances/{container_id}/stop").json["Id"]


def test_logs_are_read(api, ready, container):
    """The last lines, oldest first."""
    container.log = "one\ntwo\nthree\n"

    answer = api.get(f"/api/instances/{ready}/logs?tail=2")

    assert (200, {"Id": ready, "lines": ["two", "three"]}) == (answer.status, answer.json)


@pytest.mark.parametrize("tail", ["0", "1001", "all", ""])
def test_a_wrong_tail_is_named(api, ready, tail):
    """A number of lines that is none, or too many, is a 400."""
    answer = api.get(f"/api/instances/{ready}/logs?tail={tail}")

    assert (400, "invalid_input", ["tail"]) == told(answer)


def test_logs_of_a_node_that_is_down_are_not_waited_for(api, store, place, ready):
    """A node that is known to be down is not asked."""
    store.nodes.update(place[1]["_id"], {"status": "Offline"})

    assert (500, "node_offline", ["nodeId"]) == told(api.get(f"/api/instances/{ready}/logs"))


def test_a_failed_install_shows_the_last_lines(api, store, memory_nodes, place):
    """The reason comes first, and then what the program printed."""
    here = memory_nodes[place[1]["_id"]]
    deployed = api.post(DEPLOY, a_body(place)).json
    store.operations.retry_now(deployed["operationId"])
    run_due(store, memory_nodes)
    here.containers[deployed["Id"]].log = "Cannot open /app/data/eula.txt\n"
    store.instances._collection.update_one(
        {"_id": deployed["Id"]}, {"$set": {"state": "INSTALLING"}}
    )
    store.operations._collection.update_one(
        {"_id": deployed["operationId"]}, {"$set": {"status": "pending", "attempts": 5}}
    )
    here.faults.fail_times(1, "Host port 25565 is in use on the node by another program.")

    run_due(store, memory_nodes)

    assert (
        "Host port 25565 is in use on the node by another program.\n"
        "Its last lines:\nCannot open /app/data/eula.txt"
    ) == get(api, deployed["Id"])["error"]
