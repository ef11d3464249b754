"""Whatever a node says, only our own errors leave a driver, and what it says can be stored."""

import asyncio
import json
import threading
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import bson
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from service import drift, instances, probing
from service.drivers import ContainerSpec
from service.drivers.boundary import CALLS
from service.drivers.docker.engine import DockerEngine
from service.drivers.docker.labels import LABEL, SPEC_LABEL
from service.drivers.process.runner import ProcessRunner
from service.drivers.skyportd.daemon import Skyportd
from service.errors import NodeFailure
from service.model.lifecycle import NodeStatus, Power, PowerAction
from service.model.ports import parse
from service.worker.loop import Worker
from service.worker.reconcile import reconcile
from tests.support import AT_NOON, NOON, a_node, an_order, eventually, run_due

PORTS = parse("80:8080")
SPEC = ContainerSpec(
    instance_id="i1", image="web:1", cmd=None, env={}, memory_mib=32, cpu_milli=250,
    ports=PORTS, primary=PORTS[0],
)  # fmt: skip


class OddNode(ThreadingHTTPServer):
    """A node that answers everything with `body`, except the version of its API."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Request)
        self.status, self.body, self.headers = 200, b"", {}

    def say(self, value, status=200, **headers):
        """Answer this from now on."""
        self.body = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.status, self.headers = status, headers


class _Request(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        node = self.server
        status, body, headers = node.status, node.body, node.headers
        if self.path == "/version" and status != 302:
            status, body, headers = 200, b'{"ApiVersion": "1.41"}', {}
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_DELETE = do_GET

    def log_message(self, *args):
        """Say nothing."""


@contextmanager
def a_server():
    """Run an odd node on a loopback port."""
    with OddNode() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def odd():
    """A node that says whatever it is told to say."""
    with a_server() as server:
        yield server


def a_docker(server):
    """The driver of a Docker Engine there."""
    return DockerEngine(
        "node",
        base_url=f"tcp://127.0.0.1:{server.server_port}",
        connect_timeout_s=2,
        read_timeout_s=2,
    )


def a_skyportd(server):
    """The driver of a daemon there."""
    return Skyportd(
        "node",
        base_url=f"http://127.0.0.1:{server.server_port}",
        key="k",
        connect_timeout_s=2,
        read_timeout_s=0.5,
    )


MAKERS = {"docker": a_docker, "skyportd": a_skyportd}


@pytest.fixture(autouse=True)
def retry_now(monkeypatch):
    """Wait for nothing."""
    for module in ("docker.settling", "docker.images", "docker.power", "skyportd.timing"):
        for name in ("_POLL_S", "POLL_S", "MAX_POLL_S", "SETTLE_TIMEOUT_S", "STEADY_S",
                     "APPEAR_TIMEOUT_S", "GLITCH_S", "INSTALL_TIMEOUT_S",
                     "CHECKPOINT_EVERY_S"):  # fmt: skip
            monkeypatch.setattr(f"service.drivers.{module}.{name}", 0.01, raising=False)
    monkeypatch.setattr("service.drivers.skyportd.console.QUIET_S", 0.01)


def read_feed(driver):
    """Read once of what follows the power of its containers."""
    with closing(driver.follow_power(None)) as feed:
        return list(feed.read(0))


def press_all(driver):
    """Try every action."""
    return [
        driver.power("i1", action, stop_command="stop", stop_timeout_s=0) for action in PowerAction
    ]


ASKED = {
    "probe": lambda driver: driver.probe(),
    "list": lambda driver: driver.list(),
    "create": lambda driver: driver.create(SPEC, checkpoint=lambda: None),
    "logs": lambda driver: driver.logs("i1", tail=5),
    "read_logs": lambda driver: list(driver.read_logs("i1", tail=5)),
    "follow_logs": lambda driver: driver.follow_logs("i1", tail=5).close(),
    "command": lambda driver: driver.command("i1", "save-all"),
    "sample": lambda driver: driver.sample(["i1"]),
    "measure_volumes": lambda driver: driver.measure_volumes(["i1"]),
    "read_volume": lambda driver: list(driver.read_volume("i1")),
    "write_volume": lambda driver: driver.write_volume("i1", [bytes(1024)]),
    "power": press_all,
    "follow_power": read_feed,
}
"""Calls of more than the instance's id, or of less."""


def ask(driver, call):
    """Make a call, whatever it is."""
    return ASKED[call](driver) if call in ASKED else getattr(driver, call)("i1")


def check(driver, call):
    """Make a call; whatever comes of it, it is one of ours and fit to be stored."""
    try:
        answer = ask(driver, call)
    except NodeFailure as failure:
        text = failure.reason
        assert not any(word in text for word in ("Error", "Exception", "0x", "<class", "Pool("))
        answer = text
    bson.encode({"answer": simple(answer)})


def simple(value):
    """Make what can be stored of values."""
    if isinstance(value, dict):
        return [[str(key), simple(each)] for key, each in value.items()]
    if isinstance(value, (list, tuple)):
        return [simple(each) for each in value]
    if hasattr(value, "__dataclass_fields__"):
        return [simple(getattr(value, name)) for name in value.__dataclass_fields__]
    return value


ANY = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**31), 10**31) | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


def some(**fields):
    """An object with some of these fields, each right or wrong."""
    return st.fixed_dictionaries({}, optional={n: v | ANY for n, v in fields.items()})


LABELS = some(**{LABEL: st.just("i1"), SPEC_LABEL: st.just('{"cmd": 1, "ports": [null]}')})
STATE = some(
    Running=st.booleans(), Restarting=st.booleans(), Paused=st.booleans(),
    StartedAt=st.just("2026-01-01T00:00:00Z"), ExitCode=st.integers(0, 255),
    Error=st.just(""), OOMKilled=st.booleans(), Status=st.sampled_from(["running", "exited"]),
)  # fmt: skip
THING = some(
    ServerVersion=st.just("27"), MemTotal=st.just(2**30), NCPU=st.just(2),
    docker=some(status=st.just("running"), systemInfo=some(MemTotal=st.just(1))),
    versionRelease=st.just("skyportd 1"), state=st.sampled_from(["READY", "INSTALLING"]),
    Id=st.just("c1"), State=STATE, Labels=LABELS, Names=st.just(["/i1"]),
    Config=some(Labels=LABELS, Env=st.just(["A=1", "PRIMARY_PORT=8080"]), Tty=st.booleans()),
    HostConfig=some(
        RestartPolicy=some(Name=st.just("no")),
        PortBindings=some(**{"80/tcp": st.just([{"HostPort": "8080"}])}),
        Memory=st.just(2**25),
    ),
    Mounts=st.lists(
        some(Source=st.just("/x/volumes/i1"), Destination=st.just("/app/data")), max_size=2
    ),
    files=st.lists(some(name=st.just("file")), max_size=2),
    message=st.text(), error=st.text(), Env=st.just(["A=1"]),
)  # fmt: skip
DEEP = b"[" * 100_000
OURS = {"Id": "c1", "Config": {"Labels": {LABEL: "i1"}}, "Labels": {LABEL: "i1"}, "Names": ["/i1"]}


@pytest.mark.heavy
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("kind", MAKERS)
@given(value=THING | st.lists(THING, max_size=2) | ANY, status=st.sampled_from([200, 404, 500]))
@example(value=DEEP, status=200)
@example(value=DEEP, status=404)
@example(value=b'{"ServerVersion": "\\ud800"}', status=200)
@example(value=b"\xff\xfe\x00", status=500)
@example(value=[{"Mounts": [None]}], status=200)
@example(value={**OURS, "State": {"Running": False, "ExitCode": 10**30}}, status=200)
@example(value={"ServerVersion": "1", "MemTotal": float("nan"), "NCPU": 1}, status=200)
@example(value={"ServerVersion": "1", "MemTotal": 10**30, "NCPU": 10**30}, status=200)
@settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_no_answer_is_too_odd(odd, kind, call, value, status):
    """
    Any JSON, of any shape, becomes a value that can be stored, or an error of ours.
    """
    odd.say(value, status)

    with closing(MAKERS[kind](odd)) as driver:
        check(driver, call)


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("status", "body", "headers"),
    [
        pytest.param(200, b"hello", {}, id="no JSON"),
        pytest.param(200, b"\x1f\x8b" + bytes(99), {"Content_Encoding": "gzip"}, id="compressed"),
        pytest.param(302, b"", {"Location": "http://127.0.0.1:1/"}, id="a redirect"),
        pytest.param(200, b"{}", {"Content_Length": "1e9"}, id="a length that is none"),
        pytest.param(200, b"zz\r\n", {"Transfer_Encoding": "chunked"}, id="broken chunks"),
        pytest.param(200, b"[" + b"{}," * 10**6 + b"{}]", {}, id="too many values"),
    ],
)
def test_what_is_no_answer_is_an_error_of_ours(odd, kind, call, status, body, headers):
    """
    So is what is no JSON, or no proper HTTP.
    """
    odd.say(body, status, Connection="close", **headers)

    with closing(MAKERS[kind](odd)) as driver:
        check(driver, call)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("record", ["null", "[]", "{}", '{"process": 5, "wanted": true}', "x"])
def test_a_damaged_record_is_an_error_of_ours(tmp_path, call, record):
    """
    A `process` node may find anything in its folders, too.
    """
    folder = tmp_path / "i1"
    folder.mkdir()
    (folder / "instance.json").write_text(record)

    check(ProcessRunner("node", root=tmp_path), call)


def test_a_node_that_cannot_list_is_offline(store, memory_nodes, odd):
    """
    A worker's probe that is answered well, with a list that makes no sense, leaves it Offline.
    """
    node = a_node(store, memory_nodes)
    store.nodes.update(node["_id"], {"probed_at": None})
    odd.say({"ServerVersion": "27", "MemTotal": 2**30, "NCPU": 2})
    worker = Worker(
        store, lambda _: a_docker(odd), threads=1, node_operations=1, lease_s=30,
        probe_interval_s=30, now=lambda: NOON,
    )  # fmt: skip

    assert worker.probe_one()

    after = eventually(lambda: find_probed(store, node["_id"]))
    assert (NodeStatus.OFFLINE, "What answers there is no Docker Engine.") == (
        after["status"],
        after["probe_error"],
    )


def find_probed(store, node_id):
    """Find the node when its probe has ended."""
    node = store.nodes.get(node_id)
    return node if node["probing"] is None and node["probed_at"] is not None else None


class Broken:
    """A driver with a bug."""

    def probe(self):
        """Raise what nobody expects."""
        raise asyncio.InvalidStateError("0x7f")

    def close(self):
        """Let go of nothing."""


def test_a_bug_in_a_probe_leaves_no_node_online(store, memory_nodes):
    """
    An error that nobody expected takes the node Offline, with a sentence.
    """
    node = a_node(store, memory_nodes)

    after = probing.probe(store, lambda _: Broken(), node, now=NOON)

    assert (NodeStatus.OFFLINE, probing.UNEXPECTED) == (after["status"], after["probe_error"])


def test_one_odd_container_does_not_hide_the_others(store, memory_nodes, place):
    """
    A node that says nothing sensible of one instance is believed in what it says of others.
    """
    user, node, image = place
    here = memory_nodes[node["_id"]]
    deployed = []
    for port in (8080, 8081):
        order = an_order(user, node, image, ports=parse(f"80:{port}"), primary=str(port))
        deployed.append(instances.deploy(store, order, origin=AT_NOON)[0]["_id"])
    run_due(store, memory_nodes)
    for instance_id in deployed:
        here.power(instance_id, PowerAction.STOP)
    found = drift.compare(store, here, node["_id"])

    here.faults.fail_times(1, "not understood")
    reconcile(store, memory_nodes, node, drift=found, now=NOON)

    seen = sorted(store.instances.get(instance_id)["power"] for instance_id in deployed)
    assert [Power.RUNNING, Power.STOPPED] == seen
