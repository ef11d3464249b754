"""What only a Docker Engine has: limits that the kernel enforces, hardening, pulls, errors."""

import http.client
import json
import socket
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import docker
import pytest
import requests
import urllib3
from docker.errors import APIError, DockerException

from service.drivers import ContainerSpec
from service.drivers.docker.client import find_taken_port, translate
from service.drivers.docker.engine import DockerEngine
from service.drivers.docker.labels import LABEL
from service.errors import NodeFailure, NodeRefused, NodeUnreachable
from service.instances import make_id
from service.model.lifecycle import PowerAction
from service.model.ports import parse
from service.worker.interruptions import OperationSuperseded
from tests.docker_images import print_inside, run_inside
from tests.sick_engines import STOPPED
from tests.support import eventually, free_port, need

SLACK_S = 1.5
"""What a busy machine may add to a bound."""
MISSING = (404, {"message": "no such thing"})


pytestmark = pytest.mark.docker


def test_memory_is_limited_by_the_kernel(running):
    """The container's cgroup holds the memory limit."""
    printed = print_inside(
        running,
        "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null",
    )

    assert 32 * 2**20 == int(printed)


def test_more_memory_than_allowed_is_killed(running):
    """A program that takes more than its memory is killed by the kernel."""
    code, _ = run_inside(running, "x=a; while true; do x=$x$x; done")

    assert 137 == code


def test_there_is_no_swap_on_top(running):
    """Memory and swap together are as much as memory."""
    assert 32 * 2**20 == running.attrs["HostConfig"]["MemorySwap"]


def test_processor_is_limited_by_the_kernel(running):
    """A quarter of a core is a quarter of each period."""
    printed = print_inside(
        running,
        "cat /sys/fs/cgroup/cpu.max 2>/dev/null || "
        "cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us /sys/fs/cgroup/cpu/cpu.cfs_period_us",
    )

    assert ["25000", "100000"] == printed.split()


def test_processes_are_limited(running):
    """A fork bomb ends at the limit."""
    assert 512 == running.attrs["HostConfig"]["PidsLimit"]
    printed = print_inside(
        running, "cat /sys/fs/cgroup/pids.max /sys/fs/cgroup/pids/pids.max 2>/dev/null"
    )
    assert "512" == printed.strip()


def test_no_new_privileges(running):
    """The kernel keeps the program from gaining privileges."""
    printed = print_inside(running, "cat /proc/1/status")

    assert "NoNewPrivs:\t1" in printed


def test_few_capabilities(running):
    """Root inside has the listed capabilities and no more: it can neither mount nor sniff."""
    printed = print_inside(running, "cat /proc/1/status")
    bits = {"CHOWN": 0, "DAC_OVERRIDE": 1, "FOWNER": 3, "KILL": 5, "SETGID": 6, "SETUID": 7,
            "NET_BIND_SERVICE": 10}  # fmt: skip

    [line] = [line for line in printed.splitlines() if line.startswith("CapBnd")]
    assert sum(1 << bit for bit in bits.values()) == int(line.split()[1], 16)


def test_an_init_reaps(running):
    """The first process is an init, not the program."""
    printed = print_inside(running, "cat /proc/1/cmdline")

    assert "init" in printed


def test_it_comes_back_after_a_reboot(running):
    """The engine starts it again, unless it was stopped."""
    assert "unless-stopped" == running.attrs["HostConfig"]["RestartPolicy"]["Name"]


def test_logs_rotate(running):
    """A program that prints for ever does not fill the disk."""
    assert {
        "Type": "json-file",
        "Config": {"max-size": "10m", "max-file": "3"},
    } == running.attrs["HostConfig"]["LogConfig"]


def test_udp_is_published_too(running, spec):
    """Each mapping publishes TCP and UDP."""
    assert {"80/tcp", "80/udp"} == set(running.ports)


def test_the_volume_is_the_instance_s_own(running, spec):
    """The folder of the files is a volume of the instance's name."""
    [mount] = running.attrs["Mounts"]

    assert (spec.instance_id, "/app/data") == (mount["Name"], mount["Destination"])


def test_the_primary_port_is_the_one_inside(engine, client, spec):
    """On docker the program listens on the container's side, whatever the variables say."""
    engine.create(replace(spec, env={"PRIMARY_PORT": "1"}), checkpoint=lambda: None)

    env = client.containers.get(spec.instance_id).attrs["Config"]["Env"]
    assert ["PRIMARY_PORT=80"] == [line for line in env if line.startswith("PRIMARY_PORT=")]


def test_a_command_that_does_not_exist_says_so(engine, spec):
    """A program that is not in the image ends with the shell's code for that, again and again."""
    engine.create(replace(spec, cmd=("no-such-program",)), checkpoint=lambda: None)
    engine.power(spec.instance_id, PowerAction.START)

    assert eventually(lambda: "exit code 127" in (engine.status(spec.instance_id).reason or ""))


def test_a_program_that_ended_says_how(engine, spec):
    """An exit code that is not 0 is the reason for standing still."""
    engine.create(replace(spec, cmd=("sh", "-c", "exit 3")), checkpoint=lambda: None)
    engine.power(spec.instance_id, PowerAction.START)

    assert eventually(lambda: "exit code 3" in (engine.status(spec.instance_id).reason or ""))


def test_a_stranger_s_container_is_left_alone(engine, client, spec):
    """What has an instance's name without our label is neither adopted nor removed."""
    stranger = client.containers.create(spec.image, "sleep 1", name=spec.instance_id)

    with pytest.raises(NodeRefused):
        engine.create(spec, checkpoint=lambda: None)
    with pytest.raises(NodeRefused):
        engine.remove(spec.instance_id)

    assert stranger.id == client.containers.get(spec.instance_id).id
    stranger.remove()


def test_a_stranger_s_volume_is_left_alone(engine, client, spec):
    """What has an instance's name without our label is not taken for its files."""
    stranger = client.volumes.create(spec.instance_id)

    with pytest.raises(NodeRefused):
        engine.create(spec, checkpoint=lambda: None)

    stranger.remove()


def test_everything_bears_our_label(client, running, spec):
    """Container and volume tell whose they are."""
    volume = client.volumes.get(spec.instance_id)

    assert [spec.instance_id] * 2 == [running.labels[LABEL], volume.attrs["Labels"][LABEL]]


def test_creating_at_once_makes_one_container(engine, spec):
    """Of several who create the same instance at the same time, one makes it and all adopt it."""
    with ThreadPoolExecutor(4) as pool:
        made = pool.map(lambda _: engine.create(spec, checkpoint=lambda: None), range(4))

        assert 1 == len({status.container_id for status in made})


def test_the_volume_goes_with_the_container(engine, client, spec):
    """A removal leaves no volume of the instance's name."""
    engine.create(spec, checkpoint=lambda: None)

    engine.remove(spec.instance_id)

    with pytest.raises(docker.errors.NotFound):
        client.volumes.get(spec.instance_id)


def test_volumes_that_an_image_declares_go_too(engine, client, spec):
    """Docker makes a nameless volume for each VOLUME of an image; a removal takes them."""
    reference = "skyquay-test/volume:1"
    declares = {"Volumes": {"/more": {}}}
    with a_container(client, spec.image) as base:
        base.commit(*reference.split(":"), conf=declares)
    engine.create(replace(spec, image=reference), checkpoint=lambda: None)
    mounts = client.containers.get(spec.instance_id).attrs["Mounts"]
    [nameless] = [mount["Name"] for mount in mounts if mount["Destination"] == "/more"]

    engine.remove(spec.instance_id)
    client.images.remove(reference)

    with pytest.raises(docker.errors.NotFound):
        client.volumes.get(nameless)


@contextmanager
def a_container(client, image):
    """A container that is not ours."""
    container = client.containers.create(image, ["true"])
    try:
        yield container
    finally:
        container.remove()


def test_a_port_that_a_program_holds_is_named(engine, spec):
    """A start that fails because of a program of the node says which port it is, and no more."""
    engine.create(spec, checkpoint=lambda: None)

    with socket.create_server(("0.0.0.0", spec.primary.host)), pytest.raises(NodeRefused) as caught:
        engine.power(spec.instance_id, PowerAction.START)

    expected = f"Host port {spec.primary.host} is in use on the node by another program."
    assert expected == caught.value.reason


def test_a_port_that_a_container_holds_is_named(engine, running, spec):
    """A start that fails because of another container says which port it is, and no more."""
    rival = replace(spec, instance_id=make_id())
    engine.create(rival, checkpoint=lambda: None)

    with pytest.raises(NodeRefused) as caught:
        engine.power(rival.instance_id, PowerAction.START)
    engine.remove(rival.instance_id)

    expected = f"Host port {spec.primary.host} is in use on the node by another program."
    assert expected == caught.value.reason


@pytest.mark.parametrize(
    ("reason", "port"),
    [
        ("listen tcp4 0.0.0.0:8080: bind: address already in use", 8080),
        ("Bind for 0.0.0.0:8080 failed: port is already allocated", 8080),
        ("bind host port for [::]:8080:172.17.0.2:80/tcp: address already in use", 8080),
        ("driver failed programming external connectivity: address already in use", None),
        ("no space left on device, 0.0.0.0:8080", None),
    ],
)
def test_a_taken_port_is_found_in_docker_s_words(reason, port):
    """The host's port is told from the container's, and from ports in other complaints."""
    assert port == find_taken_port(reason)


@contextmanager
def a_registry(folder):
    """Run a registry on a loopback port."""
    program = need("docker-registry")
    port = free_port()
    config = folder / "registry.yml"
    config.write_text(
        f"version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {folder}/registry\n"
        f"http:\n  addr: 127.0.0.1:{port}\n"
    )
    with (folder / "registry.log").open("w") as log:
        process = subprocess.Popen([program, "serve", config], stdout=log, stderr=log)
    try:
        assert eventually(lambda: answers(port))
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


def answers(port):
    """Return whether something listens."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


@pytest.mark.spawns
def test_an_image_is_pulled_when_it_is_missing(engine, client, spec, tmp_path):
    """What is not on the node comes from the registry."""
    with a_registry(tmp_path) as registry:
        reference = f"{registry}/web:1"
        image = client.images.get(spec.image)
        image.tag(reference)
        client.images.push(reference)
        client.images.remove(reference)
        told = []

        engine.pull(reference, checkpoint=lambda: None, report=told.append)

    assert reference in client.images.get(reference).tags
    assert "The image is there already." == told[-1]
    client.images.remove(reference)


@pytest.mark.spawns
def test_an_image_that_no_registry_has_is_refused(engine, tmp_path):
    """An image that does not exist is no reason to try again, and is named."""
    with (
        a_registry(tmp_path) as registry,
        pytest.raises(NodeRefused, match=f"Image {registry}/nope:1 not found on the registry"),
    ):
        pull(engine, f"{registry}/nope:1")


def test_a_registry_that_is_away_may_come_back(engine):
    """A registry that does not answer is an error that may pass."""
    with pytest.raises(NodeFailure) as caught:
        pull(engine, f"127.0.0.1:{free_port()}/nope:1")

    assert NodeFailure is type(caught.value)


@pytest.mark.parametrize("url", ["unix:///no/such.sock", "tcp://127.0.0.1:1"])
def test_an_engine_that_is_away_is_unreachable(url):
    """A socket that is missing and a port that is closed are no answer."""
    engine = DockerEngine("node", base_url=url, connect_timeout_s=1, read_timeout_s=1)

    with pytest.raises(NodeUnreachable):
        engine.probe()


def test_an_engine_that_never_answers_is_given_up():
    """A probe of what accepts and is silent ends with the connect timeout."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
        engine = DockerEngine("node", base_url=url, connect_timeout_s=0.5, read_timeout_s=60)
        began = time.monotonic()

        with pytest.raises(NodeUnreachable):
            engine.probe()

    assert time.monotonic() - began < 0.5 + 1 + SLACK_S


def pull(driver, image="web:1", *, checkpoint=lambda: None, report=lambda _: None):
    """Have the driver pull an image."""
    driver.pull(image, checkpoint=checkpoint, report=report)


class FakeEngine(ThreadingHTTPServer):
    """Something that speaks like a Docker Engine, and says what a test wants it to say.

    `answers` maps a path's end to the answers that come one after the other; the last one stays.
    An answer is a status and a value; None is silence. A pull's value is a list, and streamed;
    "trickle" is progress without an end.
    """

    daemon_threads = True

    def __init__(self, **answers):
        super().__init__(("127.0.0.1", 0), _FakeEngineRequest)
        self.answers = {"version": [(200, {"ApiVersion": "1.41"})], **answers}
        self.ended = threading.Event()
        self.note = lambda path: None
        self.hung_up = threading.Event()

    def driver(self, **over):
        """A driver of this engine."""
        timeouts = {"connect_timeout_s": 2, "read_timeout_s": 30, **over}
        return DockerEngine("node", base_url=f"tcp://127.0.0.1:{self.server_port}", **timeouts)


class _FakeEngineRequest(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        path = self.path.partition("?")[0]
        self.server.note(self.path)
        answers = next(
            (found for end, found in self.server.answers.items() if path.endswith(end)),
            [(404, {"message": "no such thing"})],
        )
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if answer is None:
            while not self.server.ended.wait(0.05) and not self._is_hung_up():
                pass
            self.close_connection = True
        elif answer == "trickle":
            self._answer(200, "Transfer-Encoding", "chunked")
            with suppress(OSError):
                while not self.server.ended.wait(0.1):
                    self.wfile.write(b"4\r\n{}\r\n\r\n")
            self.close_connection = True
        elif path.endswith("images/create") and answer[0] == 200:
            lines = [json.dumps(part).encode() + b"\r\n" for part in answer[1]]
            self._answer(200, "Transfer-Encoding", "chunked")
            self.wfile.write(b"".join(b"%x\r\n%b\r\n" % (len(x), x) for x in [*lines, b""]))
        else:
            body = json.dumps(answer[1]).encode()
            self._answer(answer[0], "Content-Length", str(len(body)))
            self.wfile.write(body)

    def _is_hung_up(self):
        self.connection.setblocking(False)
        with suppress(BlockingIOError):
            if self.connection.recv(1, socket.MSG_PEEK) == b"":
                self.server.hung_up.set()
                return True
        return False

    def _answer(self, status, header, value):
        self.send_response(status)
        self.send_header(header, value)
        self.send_header("Connection", "close")
        self.end_headers()

    do_POST = do_DELETE = do_GET

    def log_message(self, *args):
        """Say nothing."""


@contextmanager
def a_fake_engine(**answers):
    """Run a fake engine on a loopback port."""
    with FakeEngine(**answers) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.ended.set()
            server.shutdown()
            thread.join()


def an_order(**over):
    """A spec for engines that make nothing of it."""
    ports = parse("80:8080")
    fields = {"instance_id": "i1", "image": "web:1", "cmd": None, "env": {}, "memory_mib": 32,
              "cpu_milli": 250, "ports": ports, "primary": ports[0]}  # fmt: skip
    return ContainerSpec(**{**fields, **over})


def test_an_engine_that_stops_answering_is_given_up():
    """A probe's timeout covers all its questions together."""
    with a_fake_engine(version=[(200, {"ApiVersion": "1.41"})], info=[None]) as server:
        began = time.monotonic()

        with pytest.raises(NodeUnreachable):
            server.driver(connect_timeout_s=0.5).probe()

    assert time.monotonic() - began < 0.5 + 1 + SLACK_S


@pytest.mark.parametrize("value", [[], {}, "x", None, {"ServerVersion": "1", "MemTotal": None}])
def test_what_is_no_engine_is_a_failure(value):
    """Answers of something else than a Docker Engine are an error of ours."""
    with a_fake_engine(info=[(200, value)]) as server, pytest.raises(NodeFailure) as caught:
        server.driver().probe()

    assert NodeFailure is type(caught.value)


def test_a_pull_that_stalls_can_be_left():
    """Who waits for a registry that says nothing still notices that nobody wants it any more."""
    looks = iter([None])

    def unwanted_later():
        if next(looks, "none left") == "none left":
            raise OperationSuperseded("deleted meanwhile")

    began = time.monotonic()
    with (
        a_fake_engine(**{"images/create": [None]}) as server,
        pytest.raises(OperationSuperseded),
    ):
        pull(server.driver(), checkpoint=unwanted_later)

    assert time.monotonic() - began < 3 + SLACK_S


def test_a_pull_tells_its_progress():
    """Of what the engine says of each layer, one line is made for people."""
    layers = [
        {"status": "Pulling from web", "id": "1"},
        {"status": "Pulling fs layer", "id": "aaa"},
        {"status": "Already exists", "id": "bbb"},
        {"status": "Downloading", "id": "aaa", "progressDetail": {"current": 1, "total": 10**30}},
        {"status": "Downloading", "id": "aaa", "progressDetail": None},
        {
            "status": "Downloading",
            "id": "aaa",
            "progressDetail": {"current": 1_500_000, "total": 4_000_000},
        },
    ]
    told = []
    with (
        a_fake_engine(**{"images/create": [(200, layers)]}) as server,
        pytest.raises(NodeFailure),
    ):
        pull(server.driver(), report=told.append)

    assert "1 of 2 layers, 1.5 of 4.0 MB" == told[-1]


def test_a_pull_has_a_total_time():
    """A registry that says nothing for ever is given up in plain words, and not tried again."""
    with (
        a_fake_engine(**{"images/create": [None]}) as server,
        pytest.raises(NodeRefused, match=r"The pull of web:1 did not end within 1.5 s"),
    ):
        pull(server.driver(pull_timeout_s=1.5))


def test_a_pull_that_trickles_has_a_total_time():
    """The bound is on all of the pull, however often the engine says something."""
    with (
        a_fake_engine(**{"images/create": ["trickle"]}) as server,
        pytest.raises(NodeRefused, match=r"The pull of web:1 did not end within 1.5 s"),
    ):
        pull(server.driver(pull_timeout_s=1.5))


def test_a_silent_registry_is_no_silent_engine():
    """While the engine itself answers, a pull may be silent for longer than an answer may."""
    with (
        a_fake_engine(**{"images/create": [None]}) as server,
        pytest.raises(NodeRefused, match="did not end within 4 s"),
    ):
        pull(server.driver(pull_timeout_s=4, read_timeout_s=1))


def test_an_engine_that_is_gone_in_a_pull_is_unreachable():
    """An engine that says nothing is asked whether it is there, long before the pull's time."""
    with (
        a_fake_engine(**{"images/create": [None], "images/web:1/json": [MISSING, None]}) as server,
        pytest.raises(NodeUnreachable),
    ):
        pull(server.driver(pull_timeout_s=600, read_timeout_s=1))


def test_a_pull_ends_with_what_report_raises():
    """It is no word about the node, so it goes through as it is."""

    def unwanted(_):
        raise OperationSuperseded("deleted meanwhile")

    layers = [{"status": "Pulling fs layer", "id": "aaa"}]
    with (
        a_fake_engine(**{"images/create": [(200, layers)]}) as server,
        pytest.raises(OperationSuperseded),
    ):
        pull(server.driver(), report=unwanted)


def test_a_pull_that_is_left_is_hung_up():
    """The engine sees its client go at once, also while the registry says nothing."""

    def unwanted():
        raise OperationSuperseded("deleted meanwhile")

    with a_fake_engine(**{"images/create": [None]}) as server:
        with pytest.raises(OperationSuperseded):
            pull(server.driver(), checkpoint=unwanted)

        assert server.hung_up.wait(5)


@pytest.mark.parametrize("line", [[], 5, "x", None, {"error": {"a": 1}}])
def test_odd_progress_is_a_failure(line):
    """A pull that answers no progress ends with an error of ours."""
    with (
        a_fake_engine(**{"images/create": [(200, [line])]}) as server,
        pytest.raises(NodeFailure) as caught,
    ):
        pull(server.driver())

    assert NodeFailure is type(caught.value)


def test_a_pull_that_says_much_is_not_asked_much():
    """However much progress an engine tells of, a checkpoint comes about once a second."""
    looks = []
    progress = [{"status": "Downloading"}] * 2000
    with (
        a_fake_engine(**{"images/create": [(200, progress)]}) as server,
        pytest.raises(NodeFailure),
    ):
        pull(server.driver(), checkpoint=lambda: looks.append(1))

    assert 1 <= len(looks) < 30


@pytest.mark.parametrize("error", [OSError("mine"), ValueError("mine"), KeyError("mine")])
def test_whatever_a_checkpoint_raises_goes_through(error):
    """An error of the checkpoint is no word about the node, whatever its type."""

    def broken():
        raise error

    with a_fake_engine(**{"images/create": [None]}) as server, pytest.raises(type(error)) as caught:
        pull(server.driver(), checkpoint=broken)

    assert error is caught.value


def test_an_error_inside_the_progress_is_noticed():
    """A pull that begins with success and ends with an error has failed."""
    progress = [{"status": "Pulling"}, {"error": "no space left on device"}]

    with (
        a_fake_engine(**{"images/create": [(200, progress)]}) as server,
        pytest.raises(NodeFailure, match="Cannot pull web:1: no space left on device"),
    ):
        pull(server.driver())


@pytest.mark.parametrize(("status", "kind"), [(400, NodeRefused), (500, NodeFailure)])
def test_a_pull_that_does_not_begin_says_that_it_was_one(status, kind):
    """The engine's own words do not always name the image. A client's error is not tried again."""
    said_no = (status, {"message": "Get https://registry.example.org: no route to host"})

    with (
        a_fake_engine(**{"images/create": [said_no]}) as server,
        pytest.raises(NodeFailure, match=r"^Cannot pull web:1: Get https://reg") as caught,
    ):
        pull(server.driver())

    assert kind is type(caught.value)


def test_a_removal_under_way_is_waited_for():
    """While somebody else removes the container, the engine answers 409, and then 404."""
    ours = {"Id": "c", "Config": {"Labels": {LABEL: "i1"}}, "State": STOPPED}
    busy = (409, {"message": "removal of container i1 is already in progress"})
    gone = (404, {"message": "no such container"})
    with a_fake_engine(
        **{"containers/i1/json": [(200, ours)], "containers/i1": [busy, busy, gone]}
    ) as server:
        server.driver().remove("i1")

        assert [gone] == server.answers["containers/i1"]


@pytest.mark.parametrize(("command", "signal_s"), [(None, 8), ("^C", 2)])
def test_a_stop_has_eight_seconds(command, signal_s):
    """A program's stop command and SIGTERM share them: the engine is told what is left."""
    asked = []
    ours = {
        "Id": "c",
        "Config": {"Labels": {LABEL: "i1"}},
        "HostConfig": {"RestartPolicy": {"Name": "no"}},
        "State": STOPPED,
    }
    with a_fake_engine(
        **{
            "containers/i1/json": [(200, ours)],
            "containers/i1/kill": [(200, {})],
            "containers/i1/stop": [(200, {})],
        }
    ) as server:
        server.note = asked.append
        server.driver().power("i1", PowerAction.STOP, stop_command=command)

    assert [f"/v1.41/containers/i1/stop?t={signal_s}"] == [p for p in asked if "/stop" in p]


def an_api_error(status):
    """Make the docker package's own error for an HTTP status."""
    response = requests.Response()
    response.status_code = status
    response.url = "http+docker://localhost"
    return APIError("said no", response=response, explanation="said no")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (an_api_error(400), NodeRefused),
        (an_api_error(404), NodeRefused),
        (an_api_error(409), NodeRefused),
        (an_api_error(500), NodeFailure),
        (an_api_error(503), NodeFailure),
        (DockerException("x"), NodeUnreachable),
        (docker.errors.TLSParameterError("x"), NodeUnreachable),
        (requests.ConnectionError("x"), NodeUnreachable),
        (requests.ConnectTimeout("x"), NodeUnreachable),
        (requests.ReadTimeout("x"), NodeUnreachable),
        (requests.exceptions.ChunkedEncodingError("x"), NodeUnreachable),
        (requests.exceptions.JSONDecodeError("x", "", 0), NodeFailure),
        (urllib3.exceptions.ProtocolError("x"), NodeUnreachable),
        (urllib3.exceptions.ReadTimeoutError(None, "/", "x"), NodeUnreachable),
        (FileNotFoundError("x"), NodeUnreachable),
        (PermissionError("x"), NodeUnreachable),
        (http.client.IncompleteRead(b""), NodeUnreachable),
        (http.client.RemoteDisconnected("x"), NodeUnreachable),
        (docker.errors.InvalidVersion("x"), NodeFailure),
        (KeyError("ServerVersion"), NodeFailure),
        (IndexError("x"), NodeFailure),
        (TypeError("x"), NodeFailure),
        (AttributeError("x"), NodeFailure),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else type(value).__name__,
)
def test_every_error_becomes_one_of_ours(error, kind):
    """What the docker package and those below it raise is translated, by its type and status."""
    assert kind is type(translate("node", error))
