"""How Podman is told from a Docker Engine, and when it is refused: with doubles."""

import json
import threading
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from service import probing
from service.drivers.docker.engine import DockerEngine
from service.model.lifecycle import NodeStatus
from tests.support import NOON, a_node

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
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
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
