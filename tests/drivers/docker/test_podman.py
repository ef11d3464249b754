"""How Podman is told from a Docker Engine, and when it is refused: with doubles."""

import json
import threading
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType

import pytest

from service import probing
from service.app import make_drivers
from service.drivers.docker.engine import DockerEngine
from service.model.lifecycle import NodeStatus
from tests.support import NOON, a_node

VERSION = {"ApiVersion": "1.41", "Components": [{"Name": "Podman Engine", "Version": "4.3.1"}]}
INFO = {"ServerVersion": "4.3.1", "MemTotal": 2**30, "NCPU": 2, "ID": "made-up"}
ROOTLESS = (
    "Rootless Podman can limit memory and CPU with cgroup v2 only, and the node has cgroup v1."
)


@contextmanager
def an_engine(version, *, headers=MappingProxyType({}), asked=None, was_podman=False, **info):
    """The driver of an engine that answers probes with these; what it is asked is put down."""
    asked = [] if asked is None else asked

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            body = json.dumps(version if self.path == "/version" else {**INFO, **info}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        url = f"tcp://127.0.0.1:{server.server_port}"
        with closing(
            DockerEngine("node", base_url=url, connect_timeout_s=2, was_podman=was_podman)
        ) as engine:
            yield engine
        server.shutdown()


def test_podman_is_named_and_has_no_id():
    """Podman makes up another id for each answer, by which no engine is known."""
    with an_engine(VERSION) as engine:
        report = engine.probe()

    assert ("podman 4.3.1", None) == (report.engine, report.engine_id)


LIBPOD = {"Api-Version": "1.41", "Libpod-Api-Version": "4.3.1"}


def test_who_was_podman_is_asked_for_less():
    """To say its version takes Podman long."""
    asked = []
    with an_engine(None, headers=LIBPOD, asked=asked, was_podman=True) as engine:
        report = engine.probe()

    assert (["/_ping", "/v1.41/info"], "podman 4.3.1") == (asked, report.engine)


def test_who_is_podman_no_more_is_noticed():
    """There may be another engine at the address by now."""
    with an_engine({"ApiVersion": "1.41"}, was_podman=True) as engine:
        assert engine.probe().engine.startswith("docker ")


def test_who_answered_as_podman_is_remembered():
    """A driver asks once."""
    asked = []
    with an_engine(VERSION, headers=LIBPOD, asked=asked) as engine:
        engine.probe()
        engine.probe()

    assert 1 == asked.count("/version")


def test_the_report_of_a_node_says_who_it_was(store, memory_nodes, config):
    """So each driver of a Podman node asks for less."""
    asked = []
    with an_engine(None, headers=LIBPOD, asked=asked) as engine:
        port = int(engine._base_url.rpartition(":")[2])
        node = a_node(store, memory_nodes)
        node |= {"driver": "docker", "address": "127.0.0.1", "port": port}
        node["report"] = {**node["report"], "engine": "podman 4.3.1"}
        with closing(make_drivers(config)(node)) as driver:
            driver.probe()

    assert "/version" not in asked


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
