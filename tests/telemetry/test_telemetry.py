"""What is seen from outside: log lines and metrics."""

import json
import logging
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
import structlog
from prometheus_client.parser import text_string_to_metric_families
from pymongo.errors import OperationFailure
from waitress.task import ThreadedTaskDispatcher

from service import instances, keys
from service.app import create_app
from service.config import Config
from service.drivers.skyportd.daemon import Skyportd
from service.errors import NotFound, StoreUnavailable
from service.model.lifecycle import OPEN, InstanceState, NodeStatus
from service.serving import embedded_mongod
from service.store import Store
from service.telemetry import logs
from tests.fake_skyportd import FakeSkyportd
from tests.support import (
    AT_NOON,
    DEPLOY,
    NOON,
    ApiClient,
    a_deploy,
    a_key,
    a_node,
    an_order,
    eventually,
    run_due,
)


@pytest.fixture
def lines(logged):
    """What is logged as JSON, line by line."""
    return lambda: [json.loads(line) for line in logged.getvalue().splitlines()]


class Again(OperationFailure):
    """What pymongo tries a whole transaction again for."""

    def __init__(self):
        super().__init__("again", details={"errorLabels": ["TransientTransactionError"]})


def measure(api):
    """Read the metrics: {(name, labels): value}."""
    text = api.flask.get("/metrics", headers={"x-api-key": api.key}).get_data(as_text=True)
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def find(measured, name, **labels):
    """Find one value; 0 where nothing was counted."""
    return measured.get((name, frozenset(labels.items())), 0)


# Logs


def test_a_request_is_one_line(api, store, lines):
    """
    With its id, key, route, status and duration; the id in the path and the query are not in it.
    """
    api.get("/api/instances/secret-looking/logs?tail=5&x=sesame", headers={"X-Request-Id": "r-1"})

    [line] = [line for line in lines() if line["event"] == "request.answered"]
    key = store.keys.find_by_digest(keys.digest(api.key))
    assert ("r-1", key["_id"], "GET", "/api/instances/<instance_id>/logs", 400, "info") == (
        line["request_id"], line["key_id"], line["method"], line["route"], line["status"],
        line["level"],
    )  # fmt: skip
    assert line["ms"] > 0
    assert "secret-looking" not in str(lines())
    assert "sesame" not in str(lines())


@pytest.mark.heavy
def test_the_id_of_a_request_follows_its_operation(api, store, memory_nodes, place, lines, worker):
    """
    What a worker logs of an operation has the id of the request that asked for it.
    """
    api.post(f"{DEPLOY}?wait=20", a_deploy(*place), headers={"X-Request-Id": "r-2"})

    eventually(lambda: "succeeded" in str(lines()))
    told = [line for line in lines() if line["event"] == "operation.moved"]
    assert [(None, "pending"), ("pending", "running"), ("running", "succeeded")] == [
        (line["from"], line["to"]) for line in told
    ]
    assert {("r-2", "deploy")} == {(line["requested_in"], line["kind"]) for line in told}
    assert ["r-2", "r-2"] == [told[0]["request_id"], told[2]["request_id"]]
    assert 1 == len({line["operation_id"] for line in told})


@pytest.mark.heavy
def test_each_move_is_a_line(api, store, memory_nodes, place, lines):
    """
    With what it was and became, also where no worker had to do with it; and never what was undone.
    """
    _, node, _ = place
    instance_id = api.post(DEPLOY, a_deploy(*place)).json["Id"]
    run_due(store, memory_nodes)
    api.post(f"/api/instances/suspend/{instance_id}", headers={"X-Request-Id": "r-4"})
    api.post(f"/api/instances/suspend/{instance_id}")
    api.post(f"/api/instances/unsuspend/{instance_id}")
    api.delete("/api/instance/delete", {"id": instance_id})
    run_due(store, memory_nodes)
    left_id = api.post(DEPLOY, a_deploy(*place)).json["Id"]
    api.delete("/api/nodes/delete?force=true", {"nodeId": node["_id"]})

    told = [line for line in lines() if line["event"] == "instance.moved"]
    assert [
        (instance_id, "INSTALLING", "READY"),
        (instance_id, "unsuspended", "suspended"),
        (instance_id, "suspended", "unsuspended"),
        (instance_id, "READY", "DELETING"),
        (instance_id, "DELETING", "gone"),
        (left_id, "INSTALLING", "gone"),
    ] == [(line["instance_id"], line["from"], line["to"]) for line in told]
    assert "r-4" == told[1]["request_id"]


def test_what_is_undone_is_no_line(store, memory_nodes, place, lines):
    """
    Of a transaction that is tried again each move is told once, and of one that fails none.
    """
    instance, _ = instances.deploy(store, an_order(*place), origin=AT_NOON)
    attempts = []

    def delete(session):
        attempts.append(store.instances.move(
            instance["_id"], InstanceState.DELETING, now=NOON, session=session
        ))  # fmt: skip
        if len(attempts) == 1:
            raise Again
        if len(attempts) == 2:
            raise NotFound("node", "n")

    with pytest.raises(NotFound):
        store.transaction(delete)
    told = [line for line in lines() if line["event"] == "instance.moved"]
    store.transaction(delete)

    assert [] == told
    assert [True] * 3 == attempts
    assert ["DELETING"] == [line["to"] for line in lines() if line["event"] == "instance.moved"]


@pytest.mark.heavy
def test_operations_that_end_before_they_begin_count(api, store, memory_nodes, place, lines):
    """
    What is cancelled or superseded while it waits ends too, with a line.
    """
    _, node, _ = place
    before = measure(api)
    first = api.post(DEPLOY, a_deploy(*place)).json
    api.post(f"/api/operations/{first['operationId']}/cancel")
    second = api.post(DEPLOY, a_deploy(*place, ports="80:8081", primary="8081")).json
    api.delete("/api/instance/delete", {"id": second["Id"]})
    api.delete("/api/nodes/delete?force=true", {"nodeId": node["_id"]})
    after = measure(api)

    name = "skyquay_operation_duration_seconds_count"
    ends = [("deploy", "cancelled"), ("deploy", "superseded"), ("delete", "superseded")]
    assert [1, 1, 1] == [
        find(after, name, kind=kind, outcome=outcome)
        - find(before, name, kind=kind, outcome=outcome)
        for kind, outcome in ends
    ]
    assert ends == [
        (line["kind"], line["to"])
        for line in lines()
        if line["event"] == "operation.moved" and line["from"] == "pending"
    ]


def test_the_id_of_a_request_goes_to_the_node():
    """
    A daemon is told in which request an operation was asked for, and nothing otherwise.
    """
    with FakeSkyportd() as daemon:
        for context in ({"request_id": "r-3"}, {}):
            with structlog.contextvars.bound_contextvars(**context):
                driver = Skyportd(
                    "n", base_url=daemon.url, key=daemon.key, connect_timeout_s=1, read_timeout_s=5
                )
                with closing(driver):
                    driver.probe()

        assert {"r-3", None} == daemon.request_ids


def test_health_is_not_told_of(api, lines):
    """
    Those who watch over us leave no line above DEBUG.
    """
    api.get("/healthz")

    assert {"debug"} == {line["level"] for line in lines() if line["event"] == "request.answered"}


def test_an_unexpected_error_is_a_line_with_its_traceback(api, store, lines, monkeypatch):
    """
    A mistake of ours is one JSON object too.
    """
    monkeypatch.setattr(store.users, "short_versions", lambda _: 1 / 0)

    answer = api.get("/api/users")

    [line] = [line for line in lines() if line["event"] == "request.crashed"]
    assert answer.headers["X-Request-Id"] == line["request_id"]
    assert "ZeroDivisionError" in line["exception"]


def test_requests_that_wait_for_a_thread_are_no_lines(lines):
    """
    In a busy second hundreds of them wait, and none is worth a line of its own.
    """
    without_threads = ThreadedTaskDispatcher()

    without_threads.add_task("a request")

    assert [] == lines()


def test_libraries_do_not_tell_documents(api, lines):
    """
    Even at DEBUG no command of the database is logged, with the hash of a password in it.
    """
    api.post(
        "/api/auth/create-user", {"username": "a", "email": "a@example.org", "password": "sesame-1"}
    )

    assert "argon2" not in str(lines())
    assert "sesame" not in str(lines())


@pytest.mark.spawns
@pytest.mark.parametrize(
    ("settings", "is_json"), [({}, True), ({"SKYQUAY_LOG_FORMAT": "text"}, False)]
)
def test_what_is_no_terminal_gets_json(settings, is_json):
    """
    Without a terminal a line is a JSON object, unless text is asked for.
    """
    code = (
        "import os, logging; from service.telemetry import logs; from service.config import Config;"
        "logs.set_up(Config.from_env(os.environ)); logging.getLogger('x').warning('hello %s', 1)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**settings, "PYTHONPATH": str(Path(__file__).resolve().parent.parent.parent)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip

    assert "hello 1" in done.stderr
    assert is_json == done.stderr.startswith("{")


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_tracebacks_do_not_show_values(log_format, monkeypatch, capsys):
    """
    What a variable holds when a mistake is met may be a key.
    """
    root = logging.getLogger()
    before = root.handlers[:]
    logs.set_up(Config(log_format=log_format))
    try:
        key = "sesame".upper()
        1 / len(key[99:])
    except ZeroDivisionError:
        logging.getLogger("x").exception("a mistake")
    finally:
        root.handlers[:] = before

    told = capsys.readouterr().err
    assert "ZeroDivisionError" in told
    assert "SESAME" not in told


# Metrics


def test_requests_are_measured(api):
    """
    By method, route and status, and those that were not let by their reason.
    """
    before = measure(api)

    api.get("/api/users")
    replace(api, key="wrong").get("/api/users")
    replace(api, key="wrong").get("/nope-1")

    after = measure(api)
    name = "skyquay_request_duration_seconds_count"
    for route, method, status in [
        ("/api/users", "GET", "200"), ("/api/users", "GET", "401"), ("(none)", "(any)", "401")
    ]:  # fmt: skip
        labels = {"method": method, "route": route, "status": status}
        assert 1 == find(after, name, **labels) - find(before, name, **labels)
    name = "skyquay_refused_requests_total"
    assert 2 == find(after, name, code="unauthorized") - find(before, name, code="unauthorized")


def test_operations_are_measured(api, store, memory_nodes, place):
    """
    By kind and outcome, with how long they took; and those that wait.
    """
    labels = {"kind": "deploy", "outcome": "succeeded"}
    name = "skyquay_operation_duration_seconds_count"
    before = measure(api)
    api.post(DEPLOY, a_deploy(*place))
    waiting = measure(api)
    run_due(store, memory_nodes)
    after = measure(api)

    assert 1 == find(after, name, **labels) - find(before, name, **labels)
    assert (1, 0) == tuple(
        find(each, "skyquay_queue", status="pending") for each in (waiting, after)
    )


def test_the_queue_is_as_old_as_what_is_due(api, store, memory_nodes, place):
    """
    What a worker should have taken makes it old; what waits for a node that is down does not.
    """
    _, node, _ = place
    api.post(DEPLOY, a_deploy(*place))
    due = measure(api)
    store.nodes.update(node["_id"], {"status": NodeStatus.OFFLINE})
    waiting = measure(api)

    name = "skyquay_queue_oldest_seconds"
    assert (True, 0) == (find(due, name) > 0, find(waiting, name))
    assert 1 == find(waiting, "skyquay_queue", status="pending")


def test_what_there_is_none_of_is_told(api):
    """
    Each status and state has a series from the start: a gap is no 0.
    """
    measured = measure(api)

    told = {
        (name, value)
        for name, labels in measured
        for _, value in labels
        if name in ("skyquay_nodes", "skyquay_instances", "skyquay_queue")
    }
    assert told == {
        *(("skyquay_nodes", status) for status in NodeStatus),
        *(("skyquay_instances", state) for state in InstanceState),
        *(("skyquay_queue", status) for status in OPEN),
    }
    assert 0 == measured["skyquay_probe_oldest_seconds", frozenset()]
    assert "_created" not in str(measured.keys())


def test_nodes_that_nobody_probes_are_told(api, store, memory_nodes):
    """
    The age of the oldest probe grows while no worker runs; nodes that never enrolled have none.
    """
    a_node(store, memory_nodes, driver="skyportd", name="new", address="192.0.2.1")
    ages = []
    for seconds in (10, 1000):
        node = a_node(store, memory_nodes)
        probed_at = store.server_time() - timedelta(seconds=seconds)
        store.nodes.update(node["_id"], {"probed_at": probed_at})
        ages.append(find(measure(api), "skyquay_probe_oldest_seconds"))

    assert [True, True] == [10 <= ages[0] < 100, 1000 <= ages[1] < 1100]


def test_what_the_database_knows_is_measured(api, store, memory_nodes, place):
    """
    Nodes by status, instances by state, and how long the database takes.
    """
    api.post(DEPLOY, a_deploy(*place))
    run_due(store, memory_nodes)

    measured = measure(api)

    assert 1 == find(measured, "skyquay_nodes", status="Online")
    assert 1 == find(measured, "skyquay_instances", state="READY")
    assert 1 == find(measured, "skyquay_database_up")


def test_commands_of_the_database_are_measured(config, store, memory_nodes):
    """
    Each command counts, by its name and how it ended.
    """
    told = []
    watched = Store(
        config.mongodb_uri, config.database, record_command=lambda *note: told.append(note)
    )
    watched.users.all()
    watched.close()

    assert ("find", "ok") in {(command, outcome) for command, outcome, _ in told}
    assert all(seconds >= 0 for *_, seconds in told)


@pytest.mark.spawns
@pytest.mark.parametrize("away", ["suspend", "kill"])
def test_a_database_that_is_away_is_told(config, memory_nodes, tmp_path, away):
    """
    Who read the metrics before reads that the database is away, and sooner than a call gives up.

    A call gives up after ten seconds, which is Prometheus's timeout.
    """
    with embedded_mongod.start(tmp_path) as mongod, closing(Store(mongod.uri, "x")) as store:
        app = create_app(replace(config, mongodb_uri=mongod.uri), store, memory_nodes)
        _, value = keys.create(store, name="p", grant={"scopes": ["metrics:read"]}, now=NOON)
        _, unknown = keys.create(store, name="q", grant={"scopes": ["metrics:read"]}, now=NOON)
        api = ApiClient(app.test_client(), value)
        before = measure(api)

        getattr(mongod.process, away)()

        with ThreadPoolExecutor(1) as pool:
            users = pool.submit(lambda: ApiClient(app.test_client(), value).get("/api/users"))
            after = measure(api)
            came_first = not users.done()
        others = replace(api, key=unknown).get("/metrics").status, users.result().status

    assert (1, 0) == tuple(find(each, "skyquay_database_up") for each in (before, after))
    assert find(after, "skyquay_request_duration_seconds_count", route="/metrics", method="GET",
                status="200") >= 1  # fmt: skip
    assert came_first
    assert (503, 503) == others


def test_what_is_known_of_a_key_is_not_more_than_it_may(config, store, memory_nodes, monkeypatch):
    """
    While the database is away a key that expired, or was found to be revoked, reads no metrics.
    """
    clock = [NOON]
    app = create_app(config, store, memory_nodes, now=lambda: clock[0])
    expires_at = NOON + timedelta(hours=1)
    given = [{}, {"expires_at": expires_at}, {"scopes": ["users:read"]}, {}]
    made = [keys.create(store, name="p", grant=grant, now=NOON) for grant in given]
    apis = [ApiClient(app.test_client(), value) for _, value in made]
    assert [200, 200, 403, 200] == [api.get("/metrics").status for api in apis]
    keys.revoke(store, made[3][0]["_id"])
    assert 401 == apis[3].get("/api/users").status

    def fail(*args, **kwargs):
        raise StoreUnavailable("away")

    monkeypatch.setattr(store.keys, "find_by_digest", fail)
    clock[0] = expires_at

    assert [200, 401, 503, 503] == [api.get("/metrics").status for api in apis]


def test_prometheus_shows_its_key_as_a_bearer(config, store, memory_nodes):
    """
    A key of the scope alone reads the metrics, in the header that Prometheus has for it.
    """
    _, value = keys.create(store, name="p", grant={"scopes": ["metrics:read"]}, now=NOON)
    api = ApiClient(create_app(config, store, memory_nodes).test_client(), None)

    allowed = api.get("/metrics", headers={"Authorization": f"Bearer {value}"})
    refused = api.get("/api/users", headers={"Authorization": f"Bearer {value}"})

    assert (200, 403) == (allowed.status, refused.status)
    assert allowed.headers["Content-Type"].startswith("text/plain")


@pytest.mark.spawns
def test_processes_are_added_up(tmp_path):
    """
    What two processes counted in one folder is told as one count.
    """
    code = (
        "from service.telemetry import metrics; metrics.REJECTED.labels('unauthorized').inc();"
        "from tests.telemetry.test_telemetry import Away;"
        "print(metrics.render(Away(), most=1).decode())"
    )
    environ = {
        "PROMETHEUS_MULTIPROC_DIR": str(tmp_path),
        "PYTHONPATH": str(Path(__file__).resolve().parent.parent.parent),
    }
    printed = [
        subprocess.run(
            [sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True
        ).stdout
        for _ in range(2)
    ]

    assert [
        f'skyquay_refused_requests_total{{code="unauthorized"}} {count}.0' in text
        for count, text in enumerate(printed, start=1)
    ] == [True, True]


class Away:
    """A store whose database is away."""

    def __getattr__(self, name):
        raise StoreUnavailable("away")


def test_a_key_without_the_scope_reads_no_metrics(api, store):
    """
    The metrics are not for everybody.
    """
    assert 401 == replace(api, key=None).get("/metrics").status
    assert 200 == replace(api, key=a_key(store)).get("/metrics").status
