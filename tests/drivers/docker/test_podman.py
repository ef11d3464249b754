"""What of Podman is not as it is of a Docker Engine."""

import json
import threading
from contextlib import closing, contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from service import probing
from service.drivers import ContainerSpec, Delivery
from service.drivers.docker.engine import DockerEngine
from service.instances import make_id
from service.model.container import MAX_LINE_BYTES
from service.model.lifecycle import NodeStatus, Power, PowerAction
from service.model.ports import parse
from tests.podman_service import IMAGE, shared_podman
from tests.support import NOON, a_node, eventually, free_port


def uses_podman(test):
    """Mark a test that runs it."""
    return pytest.mark.docker(pytest.mark.spawns(test))


VERSION = {"ApiVersion": "1.41", "Components": [{"Name": "Podman Engine", "Version": "4.3.1"}]}
INFO = {"ServerVersion": "4.3.1", "MemTotal": 2**30, "NCPU": 2, "ID": "made-up"}
ROOTLESS = (
    "Rootless Podman can limit memory and CPU with cgroup v2 only, and the node has cgroup v1."
)


@contextmanager
def an_engine(version, **info):
    """The driver of an engine that answers probes with these."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self):
            body = json.dumps(version if self.path == "/version" else {**INFO, **info}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"tcp://127.0.0.1:{server.server_port}"
        with closing(DockerEngine("node", base_url=url, connect_timeout_s=2)) as engine:
            yield engine
        server.shutdown()


def test_podman_is_named_and_has_no_id():
    """Podman makes up another id for each answer, by which no engine is known."""
    with an_engine(VERSION) as engine:
        report = engine.probe()

    assert ("podman 4.3.1", None) == (report.engine, report.engine_id)


def test_rootless_podman_without_cgroup_v2_is_refused(store, memory_nodes):
    """Its node is Offline, and says why."""
    node = a_node(store, memory_nodes)
    with an_engine(VERSION, Rootless=True, CgroupVersion="1") as engine:
        after = probing.probe(store, lambda _: engine, node, now=NOON)

    assert NodeStatus.OFFLINE == after["status"]
    assert after["probe_error"].startswith(ROOTLESS)


@pytest.mark.parametrize(
    ("version", "info"),
    [
        (VERSION, {"Rootless": True, "CgroupVersion": "2"}),
        (VERSION, {"Rootless": False, "CgroupVersion": "1"}),
        ({"ApiVersion": "1.41"}, {"CgroupVersion": "1", "SecurityOptions": ["name=rootless"]}),
    ],
)
def test_who_can_limit_is_not_refused(version, info):
    """Podman with cgroup v2 or as root, and what is no Podman."""
    with an_engine(version, **info) as engine:
        assert 1024 == engine.probe().memory_mib


@pytest.mark.parametrize("components", ["Podman Engine", [None], [{}], [["Name"]], {"Name": "x"}])
def test_odd_components_are_no_podman(components):
    """Whatever an engine says it is made of, it is asked on."""
    with an_engine({"ApiVersion": "1.41", "Components": components}) as engine:
        assert engine.probe().engine.startswith("docker ")


@pytest.fixture
def engine():
    """The driver of a Podman here."""
    engine = DockerEngine(
        "node", base_url=f"unix://{shared_podman()}", connect_timeout_s=3, read_timeout_s=30
    )
    with closing(engine):
        yield engine


@pytest.fixture
def run(engine):
    """Run a program; answer its instance's id."""
    made = []

    def run(cmd, **over):
        ports = parse(f"80:{free_port()}")
        spec = ContainerSpec(
            instance_id=make_id(),
            image=IMAGE,
            cmd=cmd,
            env={},
            memory_mib=32,
            cpu_milli=250,
            ports=ports,
            primary=ports[0],
        )
        made.append(spec.instance_id)
        engine.create(replace(spec, **over), checkpoint=lambda: None)
        engine.power(spec.instance_id, PowerAction.START)
        return spec.instance_id

    yield run
    for instance_id in made:
        engine.remove(instance_id)


def read(engine, instance_id):
    """Read what the program printed."""
    return engine.logs(instance_id, tail=20)


LIMITS = """cd /sys/fs/cgroup; cat memory.max memory/memory.limit_in_bytes pids.max pids/pids.max
grep -E 'CapBnd|NoNewPrivs' /proc/self/status; exec sleep 600"""


@uses_podman
def test_limits_and_rights_are_as_on_docker(engine, run):
    """The kernel has the limits of memory and processes, and takes the rights away."""
    instance_id = run(f"({LIMITS}) 2>/dev/null")

    expected = [str(32 * 2**20), "512", "CapBnd:\t00000000000004eb", "NoNewPrivs:\t1"]
    assert eventually(lambda: read(engine, instance_id).splitlines() == expected), read(
        engine, instance_id
    )


@uses_podman
def test_what_ends_by_itself_is_started_again(engine, run):
    """A program that crashes runs again, until it is stopped."""
    instance_id = run("echo up; sleep 0.2; exit 3")

    assert eventually(lambda: read(engine, instance_id).count("up") > 2)


@uses_podman
def test_what_ends_at_its_command_is_stopped_in_the_end(engine, run):
    """Podman may start it again meanwhile, because a restart policy cannot be changed."""
    instance_id = run("read -r word; exit 1")

    stopped = engine.power(instance_id, PowerAction.STOP, stop_command="x", stop_timeout_s=4)

    assert Power.STOPPED == stopped.power
    assert not eventually(lambda: engine.status(instance_id).power == Power.RUNNING, timeout_s=1)


@uses_podman
def test_a_line_that_nobody_reads_is_left_out(engine, run):
    """A program whose input is full gets nothing more."""
    fill = "busybox dd if=/dev/zero of=/proc/1/fd/0 bs=4096 count=16; echo full"
    instance_id = run(f"{fill}; exec sleep 600")
    assert eventually(lambda: "full" in read(engine, instance_id))

    assert Delivery.UNREAD == engine.command(instance_id, "x" * MAX_LINE_BYTES)


@uses_podman
def test_there_is_no_input_without_a_shell(engine, run):
    """What has no shell is told nothing."""
    instance_id = run("rm /bin/sh; exec sleep 600")
    assert eventually(lambda: engine.command(instance_id, "x") == Delivery.NO_INPUT)
