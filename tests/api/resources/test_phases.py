"""Waiting for programs over HTTP, and what is answered of them."""

import threading

import pytest

from service.model.lifecycle import NodeStatus, Power
from service.store.admin.migrations import begin_events
from tests.event_writing import writing
from tests.support import DEPLOY, NOON, a_body, a_node, an_image, eventually, run_due, told

LOG = {"kind": "log", "value": "Done (", "timeout_s": 300}
FIELDS = ("InternalState", "power", "phase", "notReadyReason")


@pytest.fixture(autouse=True)
def nobody_looks(database):
    """No worker has the duty, before and afterwards."""
    database["meta"].delete_one({"_id": "phases"})
    yield
    database["meta"].delete_one({"_id": "phases"})


@pytest.fixture
def paper(store, place):
    """What a deploy needs, with an image that says when it is ready."""
    return (*place[:2], an_image(store, ready=LOG))


@pytest.fixture
def starting(api, store, memory_nodes, paper):
    """The id of an instance that runs, and is not ready."""
    deployed = api.post(DEPLOY, a_body(paper)).json
    run_due(store, memory_nodes)
    return deployed["Id"]


def mark_ready(store):
    """Find that all are ready."""
    for each in store.phases.list_starting():
        assert store.phases.mark_ready(each, now=NOON)


def fields(answer):
    """Pick what these tests are about."""
    return [answer.json[name] for name in FIELDS]


@pytest.fixture
def later():
    """Return a function that does something in another thread, which is waited for at the end."""
    threads = []

    def do(work, *args):
        threads.append(threading.Thread(target=work, args=args))
        threads[-1].start()

    yield do
    for thread in threads:
        thread.join()


def when_asked(api, store):
    """Wait until somebody waits for a program."""
    assert eventually(lambda: store.changes._followed)


def test_a_program_starts_and_is_ready(api, store, starting):
    """Beside `InternalState`, which is what clients of the reference read."""
    path = f"/api/instances/{starting}"
    before = api.get(path)
    mark_ready(store)
    after = api.get(path)

    assert ["READY", "running", "starting", None] == fields(before)
    assert before.json["readyAt"] is None
    assert {"log": "Done (", "timeout": 300} == before.json["ready"]
    assert ["READY", "running", "ready", None] == fields(after)
    assert after.json["readyAt"].startswith("2026-01-31T12:00:00")
    assert before.headers["ETag"] != after.headers["ETag"]


@pytest.mark.parametrize("path", ["/api/getInstance", "/api/getUserInstance", "/api/instances"])
def test_it_is_in_every_answer(api, store, starting, paper, path):
    """Lists too."""
    bodies = {
        "/api/getInstance": {"id": starting},
        "/api/getUserInstance": {"userId": paper[0]["_id"]},
    }
    answer = api.post(path, bodies[path]) if path in bodies else api.get(path)

    found = answer.json if isinstance(answer.json, dict) else answer.json[0]
    assert "starting" == found["phase"]


def test_an_image_that_says_nothing_is_ready_at_once(api, store, memory_nodes, ready):
    """As soon as it runs; and nothing when it does not."""
    path = f"/api/instances/{ready}"
    assert ["READY", "running", "ready", None] == fields(api.get(path))
    assert api.get(path).json["ready"] is None

    api.post(f"{path}/stop")
    run_due(store, memory_nodes)

    assert ["READY", "stopped", None, None] == fields(api.get(path))


def test_what_a_node_cannot_see_is_warned_of(api, store, memory_nodes, place):
    """Where its driver lacks the check, it counts as ready when it runs."""
    node = a_node(store, memory_nodes, name="other")
    store.nodes.update(node["_id"], {"driver": "skyportd"})
    body = a_body((place[0], node, an_image(store, ready=LOG)))
    deployed = api.post(DEPLOY, body).json
    run_due(store, memory_nodes)

    answer = api.get(f"/api/instances/{deployed['Id']}")

    assert ["READY", "running", "ready", None] == fields(answer)
    assert 1 == len(answer.json["warnings"])
    [listed] = api.get("/api/instances").json
    assert answer.json["warnings"] == listed["warnings"]


def test_a_get_waits_until_it_is_ready(api, store, starting, later):
    """And answers at once then."""

    def become_ready():
        when_asked(api, store)
        mark_ready(store)

    later(become_ready)
    answer = api.get(f"/api/instances/{starting}?wait=30&untilPhase=ready")

    assert (200, "ready") == (answer.status, answer.json["phase"])


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"not_ready": "timeout", "ready_by": None}, "timeout"),
        ({"power": Power.STOPPED, "error": "It ended by itself."}, "exited"),
        ({"power": Power.STOPPED}, "stopped"),
    ],
)
def test_a_get_ends_when_it_is_known_that_it_will_not_be(api, store, starting, later, changes, why):
    """With the reason."""

    def end():
        when_asked(api, store)
        store.instances.update(starting, changes)

    later(end)
    answer = api.get(f"/api/instances/{starting}?wait=30&untilPhase=ready")

    assert (200, why) == (answer.status, answer.json["notReadyReason"])


def test_a_get_of_what_does_not_run_does_not_wait(api, store, memory_nodes, ready):
    """Nobody starts it."""
    api.post(f"/api/instances/{ready}/stop")
    run_due(store, memory_nodes)

    answer = api.get(f"/api/instances/{ready}?wait=60&untilPhase=ready")

    assert (200, None) == (answer.status, answer.json["phase"])


def test_a_get_waits_for_the_start_that_is_under_way(api, store, memory_nodes, starting, later):
    """What is known until that is of the start before."""
    mark_ready(store)
    api.post(f"/api/instances/{starting}/restart")

    def restart():
        when_asked(api, store)
        run_due(store, memory_nodes)
        mark_ready(store)

    later(restart)
    answer = api.get(f"/api/instances/{starting}?wait=30&untilPhase=ready")

    assert "ready" == answer.json["phase"]
    assert [] == [each for each in store.operations.all() if each["status"] == "pending"]


@pytest.mark.heavy
def test_a_get_of_what_is_deleted_meanwhile_is_a_404(api, store, starting, later):
    """As with any other wait."""

    def delete():
        when_asked(api, store)
        store.transaction(lambda session: store.instances.remove(starting, session=session))

    later(delete)
    answer = api.get(f"/api/instances/{starting}?wait=30&untilPhase=ready")

    assert (404, "instance_not_found", ["id"]) == told(answer)


def test_without_wait_nothing_is_waited_for(api, starting):
    """It says how it is."""
    answer = api.get(f"/api/instances/{starting}?untilPhase=ready")

    assert (200, "starting") == (answer.status, answer.json["phase"])


@pytest.mark.parametrize("phase", ["starting", "READY", "", "x"])
def test_only_ready_can_be_waited_for(api, starting, phase):
    """Anything else is a 400 that names it."""
    answer = api.get(f"/api/instances/{starting}?wait=1&untilPhase={phase}")

    assert (400, "invalid_input", ["untilPhase"]) == told(answer)


@pytest.mark.heavy
@pytest.mark.parametrize("path", [DEPLOY, "/api/instances"])
def test_a_deploy_waits_until_it_is_ready(api, store, worker, here, paper, later, path):
    """With the worker that looks."""

    def print_it():
        assert eventually(lambda: here.containers)
        [container] = here.containers.values()
        assert eventually(lambda: container.power == Power.RUNNING)
        container.log += "Done (1s)\n"

    later(print_it)
    answer = api.post(f"{path}?wait=30&untilPhase=ready", a_body(paper))

    assert 201 == answer.status
    assert "ready" == api.get(f"/api/instances/{answer.json['Id']}").json["phase"]


@pytest.mark.heavy
@pytest.mark.parametrize("action", ["start", "restart"])
def test_a_start_waits_until_it_is_ready(api, store, starting, worker, here, later, action):
    """Of that start."""
    container = here.containers[starting]
    container.log = "Done (0s)\n"
    assert eventually(lambda: api.get(f"/api/instances/{starting}").json["phase"] == "ready")
    if action == "start":
        api.post(f"/api/instances/{starting}/stop?wait=30")
    before = container.log_begin

    def print_it():
        assert eventually(
            lambda: (
                container.power == Power.RUNNING
                and (action == "start" or container.log_begin > before)
            )
        )
        container.log += "Done (1s)\n"

    later(print_it)
    answer = api.post(f"/api/instances/{starting}/{action}?wait=30&untilPhase=ready")

    assert (200, "ready") == (answer.status, answer.json["phase"])


@pytest.mark.heavy
def test_a_stop_waits_for_no_program(api, starting, worker):
    """It will not be ready."""
    answer = api.post(f"/api/instances/{starting}/stop?wait=60&untilPhase=ready")

    assert ["READY", "stopped", None, "stopped"] == fields(answer)


@pytest.mark.heavy
def test_another_image_says_otherwise(api, store, memory_nodes, starting):
    """The change takes over what it says, and begins anew."""
    mark_ready(store)
    other = an_image(store, ready={"kind": "port", "value": "", "timeout_s": 5})

    api.send("PATCH", f"/api/instances/{starting}", json={"image": other["_id"]})
    run_due(store, memory_nodes)

    answer = api.get(f"/api/instances/{starting}")
    assert {"port": True, "timeout": 5} == answer.json["ready"]
    assert "starting" == answer.json["phase"]


@pytest.mark.parametrize("change", [{"memory": 256}, {"variables": {}}])
def test_another_change_keeps_what_the_image_said(api, store, memory_nodes, starting, change):
    """It is the instance's, like its command."""
    api.send("PATCH", f"/api/instances/{starting}", json=change)
    run_due(store, memory_nodes)

    assert {"log": "Done (", "timeout": 300} == api.get(f"/api/instances/{starting}").json["ready"]


def test_a_reinstallation_begins_anew(api, store, memory_nodes, starting):
    """It is another start."""
    mark_ready(store)

    api.post(f"/api/instances/{starting}/reinstall")
    run_due(store, memory_nodes)

    assert "starting" == api.get(f"/api/instances/{starting}").json["phase"]


def test_an_image_that_changes_changes_no_instance(api, store, starting, paper):
    """Those that were made of it stay as they are."""
    api.send("PATCH", f"/api/images/{paper[2]['_id']}", json={"ready": None})

    assert {"log": "Done (", "timeout": 300} == api.get(f"/api/instances/{starting}").json["ready"]


def test_a_patch_of_an_image_may_replace_the_check(api, paper):
    """The old one goes with null, as RFC 7396 has it; two are too many."""
    path = f"/api/images/{paper[2]['_id']}"
    two = api.send("PATCH", path, json={"ready": {"port": True}})
    one = api.send("PATCH", path, json={"ready": {"port": True, "log": None}})

    assert (400, "invalid_input", ["ready"]) == told(two)
    assert (200, {"port": True, "timeout": 300}) == (one.status, one.json["ready"])


@pytest.mark.parametrize(("method", "path"), [("PATCH", ""), ("PUT", ""), ("POST", "import")])
def test_a_pattern_that_is_none_is_refused(api, paper, method, path):
    """Beside what else is wrong; nothing is stored."""
    image = f"/api/images/{paper[2]['_id']}"
    before = api.get(image).json
    body = {**api.get(f"{image}/export").json, "ready": {"log": {"pattern": "(["}}}

    answer = api.send(method, "/api/images/import" if path else image, json=body)

    assert (400, "invalid_input", ["ready"]) == told(answer)
    assert "RE2" in answer.json["details"]["ready"]["log"][0]
    assert before == api.get(image).json


@pytest.mark.heavy
def test_it_is_told(api, store, database, memory_nodes, paper):
    """Each phase is an event; why a program is not ready is one more."""
    begin_events(database)
    with writing(store):
        deployed = api.post(DEPLOY, a_body(paper)).json
        run_due(store, memory_nodes)
        mark_ready(store)
        store.instances.update(deployed["Id"], {"power": Power.STOPPED})
        store.instances.update(deployed["Id"], {"power": Power.RUNNING})
        store.instances.update(deployed["Id"], {"power": Power.STOPPED, "error": "It ended."})
        query = {"instance": deployed["Id"], "types": "instance.phase,instance.not_ready"}

        def read():
            found = api.get("/api/events", query_string=query).json["events"]
            return [event["type"].partition(".")[2] for event in found]

        assert eventually(lambda: "not_ready" in read())
        # starting, ready, null, starting, null
        assert ["not_ready", *["phase"] * 5] == sorted(read())


def test_a_node_that_is_offline_keeps_the_phase(api, store, starting, node):
    """As it was last seen."""
    store.nodes.update(node["_id"], {"status": NodeStatus.OFFLINE})

    assert "starting" == api.get(f"/api/instances/{starting}").json["phase"]
