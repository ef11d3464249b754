"""Where nodes may be: when they are added, when they are called, when they send us elsewhere."""

import socket
import threading
from contextlib import closing, contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from ipaddress import IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.app import create_app, make_drivers
from service.drivers.dialing import Dialer
from service.drivers.docker.engine import DockerEngine
from service.drivers.skyportd.console import ConsoleError, read_last
from service.drivers.skyportd.daemon import Skyportd
from service.errors import NodeFailure, NodeUnreachable
from service.model.addresses import is_loopback, refusal
from service.serving import first_start
from tests.support import NOON, ApiClient, a_key, a_node, told
from tests.tls import Authority

LOOPBACK = ["127.0.0.1", "127.9.8.7", "::1", "0.0.0.0", "::"]
FORBIDDEN = {
    "link-local": ["169.254.1.1", "fe80::1", "fe80::1%lo", "febf::1"],
    "metadata": ["169.254.169.254", "fd00:ec2::254", "100.100.100.200", "168.63.129.16",
                 "192.0.0.192", "fd20:ce::254", "fd00:42::42"],
    "multicast": ["224.0.0.1", "239.1.2.3", "ff02::1"],
    "broadcast": ["255.255.255.255"],
    "reserved": ["240.0.0.1", "0.1.2.3", "64:ff9b:1::1", "100::1", "4000::1"],
    "wrapped": ["::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::1",
                "::169.254.169.254", "2001:0:a9fe:a9fe::1"],
}  # fmt: skip
WRAPPED_LOOPBACK = ["::ffff:127.0.0.1", "::ffff:0.0.0.0", "64:ff9b::7f00:1", "2002:7f00:1::1"]
ALLOWED = ["10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "8.8.8.8", "fd00::1",
           "2a01:4f8::1", "::ffff:10.0.0.1", "64:ff9b::808:808"]  # fmt: skip
ODD_LOOPBACK = ["2130706433", "127.1", "0x7f.1", "0177.0.0.1", "0", "localhost", "[::1]"]
ODD_METADATA = ["2852039166", "0xa9fea9fe", "169.254.43518", "[::ffff:169.254.169.254]"]
ALL_FORBIDDEN = [ip for ips in FORBIDDEN.values() for ip in ips if "%" not in ip]

AUTHORITY = Authority()
OURS = AUTHORITY.issue()
DOCKER = {
    "name": "n",
    "driver": "docker",
    "tls": {"ca": AUTHORITY.pem, "cert": OURS.cert, "key": OURS.key},
}
SKYPORTD = {
    "name": "n", "tags": "eu", "ram": "32", "disk": "500", "processor": "8", "port": 3002,
    "apiKey": "k" * 64,
}  # fmt: skip


@pytest.fixture
def names(monkeypatch):
    """What names mean: one answer after the other, of which the last one stays."""
    real, answers = socket.getaddrinfo, {}

    def look_up(host, *args, **options):
        ips = answers.get(host, [host])
        return real(ips.pop(0) if len(ips) > 1 else ips[0], *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return answers


@pytest.fixture
def strict(config):
    """Settings that allow no nodes on this machine."""
    return replace(
        config,
        allow_loopback_nodes=False,
        secret_key="a secret key of the tests",
    )


@pytest.fixture
def api(strict, store, memory_nodes):
    """A client of an app that allows no nodes on this machine; the nodes are in memory."""
    return ApiClient(create_app(strict, store, memory_nodes).test_client(), a_key(store))


@pytest.fixture
def real_api(strict, store):
    """The same with the real drivers."""
    return ApiClient(create_app(strict, store).test_client(), a_key(store))


@pytest.fixture
def listener():
    """Something that listens where nobody may call it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        yield server


def was_called(listener):
    """Return whether anybody connected."""
    try:
        listener.accept()[0].close()
    except BlockingIOError:
        return False
    return True


# What is refused


@pytest.mark.parametrize("ip", [ip for ips in FORBIDDEN.values() for ip in ips])
def test_an_address_that_no_node_has_is_refused(ip):
    """
    Link-local, metadata, multicast and reserved addresses are refused whatever the settings say.
    """
    assert refusal(ip, allow_loopback=True)


@pytest.mark.parametrize("ip", [*LOOPBACK, *WRAPPED_LOOPBACK])
def test_loopback_is_refused_unless_it_is_allowed(ip):
    """
    This machine is refused with the name of the setting that allows it.
    """
    assert "SKYQUAY_ALLOW_LOOPBACK_NODES=1" in refusal(ip)
    assert refusal(ip, allow_loopback=True) is None


@pytest.mark.parametrize("ip", ALLOWED)
def test_nodes_may_be_where_nodes_are(ip):
    """
    Private and public addresses are allowed.
    """
    assert (None, False) == (refusal(ip), is_loopback(ip))


@given(st.ip_addresses(v=4))
def test_an_address_in_another_is_judged_as_itself(ip):
    """
    However an IPv4 address is wrapped up in an IPv6 one, the same reason is found.
    """
    low = int(ip)
    wrapped = [(0xFFFF << 32) | low, (0x64FF9B << 96) | low, (0x2002 << 112) | (low << 80)]

    assert {refusal(str(ip))} == {refusal(str(IPv6Address(number))) for number in wrapped}


# When a node is added


@pytest.mark.heavy
@pytest.mark.parametrize("body", [DOCKER, SKYPORTD], ids=["docker", "skyportd"])
def test_a_node_is_not_added_where_no_node_may_be(api, store, body):
    """
    Whatever its spelling, such an address is a 400 that names the field, and no node is added.
    """
    answers = {
        address: api.post("/api/nodes/create", {**body, "address": address})
        for address in (*LOOPBACK, *ODD_LOOPBACK, *ALL_FORBIDDEN, *ODD_METADATA)
    }

    refused = (400, ["address"])
    assert {} == {
        address: answer.json
        for address, answer in answers.items()
        if refused != (answer.status, list(answer.json.get("details", ())))
    }
    assert [] == store.nodes.all()


@pytest.mark.heavy
def test_loopback_nodes_can_be_allowed(config, store, memory_nodes):
    """
    With the setting this machine is a node like others, and the other addresses are refused still.
    """
    app = create_app(replace(config, secret_key="a secret key of the tests"), store, memory_nodes)
    api = ApiClient(app.test_client(), a_key(store))

    statuses = {
        address: api.post("/api/nodes/create", {**DOCKER, "address": address}).status
        for address in (*LOOPBACK, *ODD_LOOPBACK, *ALL_FORBIDDEN)
    }

    assert statuses == {
        **dict.fromkeys((*LOOPBACK, *ODD_LOOPBACK), 201),
        **dict.fromkeys(ALL_FORBIDDEN, 400),
    }


def test_a_socket_of_this_machine_is_loopback(api, store):
    """
    A path is more local than any address, so it needs the same setting.
    """
    body = {"name": "n", "driver": "docker", "address": "unix:///var/run/docker.sock"}

    answer = api.post("/api/nodes/create", body)

    assert (400, "invalid_input", ["address"]) == told(answer)
    assert "SKYQUAY_ALLOW_LOOPBACK_NODES=1" in str(answer.json["details"])


def test_a_process_node_is_called_by_no_address(api):
    """
    What is shown only is not checked.
    """
    body = {"name": "n", "driver": "process", "address": "127.0.0.1"}

    assert 201 == api.post("/api/nodes/create", body).status


def test_a_name_is_judged_by_what_it_means(api, names):
    """
    A name is refused when one of its addresses is.
    """
    names["node.test"] = ["169.254.169.254"]

    answer = api.post("/api/nodes/create", {**DOCKER, "address": "node.test"})

    assert (400, "invalid_input", ["address"]) == told(answer)


@pytest.mark.parametrize("address", ["nowhere.invalid", "a..b"])
def test_a_name_that_means_nothing_yet_is_taken(real_api, address):
    """
    It may mean something once the node is up; until then the node is Offline.
    """
    answer = real_api.post("/api/nodes/create", {**DOCKER, "address": address})

    assert (201, "Offline") == (answer.status, answer.json["status"])


# When a node is called


@pytest.mark.parametrize("body", [DOCKER, {**SKYPORTD, "tls": {}}, SKYPORTD])
@pytest.mark.parametrize("later", ["127.0.0.1", "::ffff:127.0.0.1", "0.0.0.0"])
def test_a_name_that_changes_its_meaning_gets_nothing(real_api, names, listener, body, later):
    """
    A name that meant a harmless address when the node was added is not called where it may not be.
    """
    names["node.test"] = ["192.0.2.1", later]
    port = listener.getsockname()[1]

    answer = real_api.post("/api/nodes/create", {**body, "address": "node.test", "port": port})

    assert (201, "Offline") == (answer.status, answer.json["status"])
    assert f"The node's address {later} is refused." in answer.json["error"]
    assert not was_called(listener)


def test_a_console_is_not_looked_for_where_no_node_may_be(listener):
    """
    The WebSocket goes through the same guard.
    """
    url = f"ws://127.0.0.1:{listener.getsockname()[1]}/exec/i1"

    with pytest.raises(NodeUnreachable):
        read_last(Dialer("node", refusal), url, "key", timeout_s=1)

    assert not was_called(listener)


@pytest.fixture
def two_addresses(monkeypatch):
    """Every name means ::1, where nobody listens, and 127.0.0.1."""
    real = socket.getaddrinfo

    def look_up(host, *args, **options):
        return [*real("::1", *args, **options), *real("127.0.0.1", *args, **options)]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)


def test_a_name_is_refused_for_any_of_its_addresses(listener, two_addresses):
    """
    Of several addresses none is tried when one is refused.
    """
    guard = Dialer("node", lambda ip: "No." if ip == "::1" else None)

    with pytest.raises(NodeUnreachable):
        guard.connect("node.test", listener.getsockname()[1], 1)

    assert not was_called(listener)


def test_who_answers_is_looked_at_too(listener):
    """
    A connection that ends somewhere else than it was sent to is closed, and nothing is sent.
    """
    reasons = iter([None, "Not here."])
    guard = Dialer("node", lambda ip: next(reasons))

    with pytest.raises(NodeUnreachable, match=r"Not here\."):
        guard.connect("127.0.0.1", listener.getsockname()[1], 1)

    connection, _ = listener.accept()
    with connection:
        assert b"" == connection.recv(1)


def test_the_next_address_is_tried(listener, two_addresses):
    """
    A name with an address that does not answer is called at its next one.
    """
    port = listener.getsockname()[1]

    Dialer("node", lambda ip: None).connect("node.test", port, 1).close()

    assert was_called(listener)


# Whom the operator added


@pytest.mark.heavy
def test_a_node_of_the_operator_s_may_be_anywhere(strict, store, listener):
    """
    A node that was added on the machine itself is called wherever it is.
    """
    port = listener.getsockname()[1]
    node = a_node(
        store, make_drivers(strict), driver="docker", address="127.0.0.1", port=port
    )  # fmt: skip
    store.nodes.update(node["_id"], {"trusted_address": True})
    assert not was_called(listener)

    with (
        closing(make_drivers(strict)(store.nodes.get(node["_id"]))) as driver,
        pytest.raises(NodeUnreachable),
    ):
        driver.probe()

    assert was_called(listener)


def test_a_socket_that_the_api_added_needs_the_setting(strict, config, store):
    """
    A worker without the setting does not call what one with it allowed.
    """
    node = a_node(store, make_drivers(config), driver="docker", address="unix:///no/such.sock")

    with pytest.raises(NodeUnreachable, match="SKYQUAY_ALLOW_LOOPBACK_NODES"):
        make_drivers(strict)(node)


def test_the_local_node_is_trusted(store, memory_nodes, config):
    """
    The node that `up` registers needs no setting.
    """
    node = first_start.find_or_make_node(
        store, memory_nodes, replace(config, local_node="docker"), now=NOON
    )

    assert ("unix:///var/run/docker.sock", True) == (node["address"], node["trusted_address"])


@pytest.mark.fresh_database
# Who sends us elsewhere


@contextmanager
def redirecting(status, target):
    """Run a server that sends everybody elsewhere."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status)
            self.send_header("Location", f"http://127.0.0.1:{target.getsockname()[1]}/version")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args):
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def a_docker_engine(where):
    """The driver of a Docker Engine there."""
    return DockerEngine(
        "node", base_url=f"tcp://{where}", connect_timeout_s=1, read_timeout_s=1
    )  # fmt: skip


def a_skyportd(where):
    """The driver of a daemon there."""
    url = f"http://{where}"
    return Skyportd("node", base_url=url, key="k", connect_timeout_s=1, read_timeout_s=1)


@pytest.mark.parametrize("make_driver", [a_docker_engine, a_skyportd])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(listener, make_driver, status):
    """
    A node that sends us to another address is a failure, and the other is not called.
    """
    with (
        redirecting(status, listener) as where,
        closing(make_driver(where)) as driver,
        pytest.raises(NodeFailure) as caught,
    ):
        driver.probe()

    assert NodeFailure is type(caught.value)
    assert not was_called(listener)


def test_a_redirected_console_is_not_followed(listener):
    """
    A WebSocket is not looked for elsewhere either.
    """
    with redirecting(302, listener) as where, pytest.raises(ConsoleError):
        read_last(Dialer("node", lambda ip: None), f"ws://{where}/exec/i1", "key", timeout_s=1)

    assert not was_called(listener)


def test_a_redirect_from_a_socket_is_not_followed(listener, tmp_path):
    """
    What listens on a local socket sends us nowhere, either.
    """
    path = tmp_path / "docker.sock"
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/version"
    answer = f"HTTP/1.1 302 Found\r\nLocation: {url}\r\nContent-Length: 0\r\n\r\n"

    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()

        def serve():
            connection, _ = server.accept()
            with connection:
                if connection.recv(65536):
                    connection.sendall(answer.encode())

        thread = threading.Thread(target=serve)
        thread.start()
        engine = DockerEngine(
            "node", base_url=f"unix://{path}", connect_timeout_s=1, read_timeout_s=1
        )
        with closing(engine), pytest.raises(NodeFailure, match="redirects elsewhere"):
            engine.probe()
        thread.join()

    assert not was_called(listener)
