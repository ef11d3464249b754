"""Nodes over TLS: who must have it, what is kept of it, and who is believed."""

import json
import socket
import tempfile
from contextlib import closing
from dataclasses import replace

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from service import cli, probing
from service.app import create_app, make_drivers
from service.drivers.dialing import Dialer
from service.drivers.docker.engine import DockerEngine
from service.drivers.skyportd.console import ConsoleError, read_last
from service.errors import NodeUnreachable
from service.model.addresses import trust
from service.security import certificates
from service.security.vault import Vault
from tests.docker_images import SOCKET, ensure_image, require_engine
from tests.fake_skyportd import FakeSkyportd
from tests.support import (
    NOON,
    ApiClient,
    a_deploy,
    a_key,
    a_user,
    an_image,
    free_port,
    get,
    run_due,
    told,
)
from tests.tls import Authority, TlsProxy, print_key

SECRET_KEY = "a secret key of the tests"
AUTHORITY = Authority()
OURS, OTHERS = AUTHORITY.issue(), AUTHORITY.issue()
TLS = {"ca": AUTHORITY.pem, "cert": OURS.cert, "key": OURS.key}
DOCKER = {"name": "n", "driver": "docker", "address": "192.0.2.7", "tls": TLS}
SKYPORTD = {
    "name": "n", "driver": "skyportd", "tags": "eu", "ram": "32", "disk": "500",
    "processor": "8", "address": "127.0.0.1", "port": 3002,
}  # fmt: skip
LOCKED = print_key(ec.generate_private_key(ec.SECP256R1()), b"a password")
RSA = print_key(rsa.generate_private_key(65537, 2048))
WEAK = AUTHORITY.issue(key=rsa.generate_private_key(65537, 1024))
MISSING = ["Missing data for required field."]


@pytest.fixture
def settings(config):
    """Settings with a secret key."""
    return replace(config, secret_key=SECRET_KEY)


@pytest.fixture
def api(settings, store, memory_nodes):
    """A client of an app whose nodes are in memory."""
    return ApiClient(create_app(settings, store, memory_nodes).test_client(), a_key(store))


@pytest.fixture
def real_api(settings, store):
    """A client of an app with the real drivers."""
    return ApiClient(create_app(settings, store).test_client(), a_key(store))


@pytest.fixture
def engine():
    """The Docker Engine of this machine, behind TLS."""
    require_engine().close()
    with TlsProxy(AUTHORITY, SOCKET) as proxy:
        yield proxy


@pytest.fixture
def daemon():
    """The double of a node daemon, behind HTTPS."""
    with (
        FakeSkyportd() as daemon,
        TlsProxy(AUTHORITY, ("127.0.0.1", daemon.port), ask_client=False) as proxy,
    ):
        yield daemon, proxy


def create(api, **over):
    """Add a node."""
    return api.post("/api/nodes/create", {**DOCKER, **over})


# Who must have it


def test_an_engine_by_address_needs_certificates(api, store):
    """
    Whoever reaches a plain engine is root there: without TLS it is a 400 that names the field.
    """
    answer = create(api, tls=None)

    assert (400, "invalid_input", ["tls"], []) == (*told(answer), store.nodes.all())


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "localhost", "unix:///no/such.sock"])
def test_an_engine_of_this_machine_needs_none(api, address):
    """
    What never leaves the machine may be plain.
    """
    assert 201 == create(api, tls=None, address=address).status


def test_plain_engines_can_be_allowed(settings, store, memory_nodes):
    """
    With the setting an engine by address may be plain, and has Docker's plain port.
    """
    app = create_app(replace(settings, allow_plain_docker=True), store, memory_nodes)

    answer = create(ApiClient(app.test_client(), a_key(store)), tls=None)

    driver = make_drivers(settings)(store.nodes.get(answer.json["id"]))
    assert (201, False, "tcp://192.0.2.7:2375") == (
        answer.status,
        answer.json["tls"],
        driver._base_url,
    )


def test_a_name_that_was_loopback_is_not_called_in_the_clear_elsewhere(
    api, settings, store, monkeypatch
):
    """
    A plain engine on `localhost` is refused when that name comes to mean another machine.
    """
    node = store.nodes.get(create(api, tls=None, address="localhost").json["id"])
    there = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.7", 2375))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: there)

    with pytest.raises(NodeUnreachable) as raised:
        make_drivers(settings)(node).probe()

    assert "without TLS" in raised.value.reason


def test_an_engine_over_tls_has_docker_s_own_port(api, store, settings):
    """
    Unless another is given it is 2376.
    """
    node = store.nodes.get(create(api).json["id"])

    assert "tcp://192.0.2.7:2376" == make_drivers(settings)(node)._base_url


@pytest.mark.parametrize(
    ("tls", "details"),
    [
        ({}, {"ca": MISSING, "cert": MISSING, "key": MISSING}),
        ({"ca": AUTHORITY.pem}, {"cert": MISSING, "key": MISSING}),
        ({"cert": OURS.cert, "key": OURS.key}, {"ca": MISSING}),
        ({"ca": AUTHORITY.pem, "cert": OURS.cert}, {"key": MISSING}),
        ({"ca": AUTHORITY.pem, "key": OURS.key}, {"cert": MISSING}),
        ({**TLS, "ca": "no PEM"}, {"ca": ["Must be certificates in PEM."]}),
        ({**TLS, "ca": OURS.key}, {"ca": ["Must be certificates in PEM."]}),
        ({**TLS, "cert": "é"}, {"cert": ["Must be certificates in PEM."]}),
        ({**TLS, "cert": ""}, {"cert": ["Must be certificates in PEM."]}),
        ({**TLS, "key": "no PEM"}, {"key": ["Must be a private key in PEM."]}),
        ({**TLS, "key": OURS.cert}, {"key": ["Must be a private key in PEM."]}),
        ({**TLS, "key": LOCKED}, {"key": ["Must not need a password."]}),
        ({**TLS, "key": OTHERS.key}, {"key": ["Is not the key of the certificate."]}),
        ({**TLS, "key": RSA}, {"key": ["Is not the key of the certificate."]}),
        (
            {**TLS, "cert": WEAK.cert, "key": WEAK.key},
            {"key": ["Cannot be used with the certificate: EE_KEY_TOO_SMALL."]},
        ),
        ({**TLS, "key": None}, {"key": ["Field may not be null."]}),
        ({**TLS, "key": 7}, {"key": ["Not a valid string."]}),
        ({**TLS, "ca": "x" * 65537}, {"ca": ["Longer than maximum length 65536."]}),
    ],
)
def test_a_wrong_part_is_named(api, store, tls, details):
    """
    What is missing, is no PEM or does not belong together is a 400 that names the part.
    """
    answer = create(api, tls=tls)

    assert (400, {"tls": details}, []) == (
        answer.status,
        answer.json["details"],
        store.nodes.all(),
    )


@pytest.mark.parametrize("tls", ["yes", True, [], 7])
def test_tls_is_an_object(api, tls):
    """
    Anything else is a 400 that names the field.
    """
    assert (400, "invalid_input", ["tls"]) == told(create(api, tls=tls))


@pytest.mark.parametrize(
    "over", [{"driver": "process"}, {"address": "unix:///var/run/docker.sock"}]
)
def test_nodes_without_a_connection_have_none(api, over):
    """
    Certificates that would not be used are a 400 that names the field.
    """
    assert (400, "invalid_input", ["tls"]) == told(create(api, **over))


# What is kept of it


def test_the_key_is_in_no_answer(api):
    """
    A node tells whether it is called over TLS, and nothing more.
    """
    created, listed = create(api), api.get("/api/nodes")

    assert (True, True) == (created.json["tls"], listed.json[0]["tls"])
    assert "-----" not in str([created.json, listed.json])


def test_the_key_is_not_stored_in_clear(api, look):
    """
    The database has the certificates and the key encrypted.
    """
    create(api)

    stored = str(look())
    assert "PRIVATE KEY" not in stored
    assert OURS.key.splitlines()[1] not in stored


@pytest.mark.parametrize("body", [DOCKER, {**SKYPORTD, "tls": {}}])
def test_without_a_secret_key_nothing_is_kept(config, store, memory_nodes, body):
    """
    Certificates that cannot be encrypted are refused, and no node is added.
    """
    app = create_app(replace(config, secret_key=""), store, memory_nodes)

    answer = create(ApiClient(app.test_client(), a_key(store)), **body)

    assert (500, "no_secret_key", []) == (
        answer.status,
        answer.json["code"],
        store.nodes.all(),
    )


def test_the_key_is_in_no_file(tmp_path, monkeypatch):
    """
    Not for a moment: programs of `process` nodes read what lies in the folder of temporary files.
    """
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    tmp_path.chmod(0o500)
    made = tmp_path.stat().st_mtime_ns

    certificates.make_context(**TLS)

    assert made == tmp_path.stat().st_mtime_ns


# Who is believed


@pytest.mark.docker
def test_an_instance_is_deployed_over_tls(real_api, store, settings, engine):
    """
    A container is made, runs and goes, on an engine that only who has a certificate may call.
    """
    node = create(real_api, address="127.0.0.1", port=engine.port).json
    with closing(require_engine()) as client:
        image = an_image(store, image=ensure_image(client, "skyquay-test/python:1"),
                         cmd=["sleep", "300"])  # fmt: skip
        port = free_port()
        body = a_deploy(
            a_user(store), {"_id": node["id"]}, image, ports=f"80:{port}", primary=str(port)
        )
        instance_id = real_api.post("/api/instances/deploy", body).json["Id"]
        run_due(store, make_drivers(settings, store))
        deployed = get(real_api, instance_id)
        status = client.containers.get(instance_id).status
        real_api.delete("/api/instance/delete", {"id": instance_id})
        run_due(store, make_drivers(settings, store))
        left = client.containers.list(all=True, filters={"name": instance_id})

    assert ("Online", "READY", "running", []) == (
        node["status"],
        deployed["InternalState"],
        status,
        left,
    )


def probe(port, tls, *, host="127.0.0.1"):
    """Probe the engine behind a proxy."""
    driver = DockerEngine(
        "node",
        base_url=f"tcp://{host}:{port}",
        connect_timeout_s=1,
        read_timeout_s=1,
        tls=certificates.make_context(**tls) if tls is not None else None,
    )
    with closing(driver):
        return driver.probe()


STRANGER = Authority()
STRANGERS = STRANGER.issue()


@pytest.mark.docker
@pytest.mark.parametrize(
    ("tls", "host"),
    [
        pytest.param(None, "127.0.0.1", id="plain"),
        pytest.param({"ca": AUTHORITY.pem}, "127.0.0.1", id="no client certificate"),
        pytest.param(
            {"ca": AUTHORITY.pem, "cert": STRANGERS.cert, "key": STRANGERS.key},
            "127.0.0.1",
            id="a stranger's client certificate",
        ),
        pytest.param({**TLS, "ca": STRANGER.pem}, "127.0.0.1", id="another authority"),
        pytest.param({"cert": OURS.cert, "key": OURS.key}, "127.0.0.1", id="the system's CAs"),
        pytest.param(TLS, "localhost", id="another name"),
    ],
)
def test_who_is_not_known_is_not_talked_to(engine, tls, host):
    """
    Without the right certificates on both sides, and the right name, there is no connection.
    """
    with pytest.raises(NodeUnreachable):
        probe(engine.port, tls, host=host)


def test_a_daemon_is_called_over_https(real_api, daemon):
    """
    A skyportd node with a CA is probed over HTTPS.
    """
    behind, proxy = daemon

    answer = create(
        real_api,
        **{**SKYPORTD, "port": proxy.port, "apiKey": behind.key},
        tls={"ca": AUTHORITY.pem},
    )

    assert (201, "Online", True) == (
        answer.status,
        answer.json["status"],
        answer.json["tls"],
    )


def test_a_daemon_that_is_not_known_gets_no_key(real_api, daemon):
    """
    Whose certificate is signed by nobody that the system trusts is not talked to.
    """
    behind, proxy = daemon

    answer = create(
        real_api,
        **{**SKYPORTD, "port": proxy.port, "apiKey": behind.key},
        tls={},
    )

    assert (201, "Offline", []) == (answer.status, answer.json["status"], behind.calls)


def test_a_daemon_may_have_a_certificate_that_everybody_trusts(
    real_api, daemon, monkeypatch, tmp_path
):
    """
    Without a CA of its own a node is trusted as the system trusts others.
    """
    behind, proxy = daemon
    tmp_path.joinpath("system.pem").write_text(AUTHORITY.pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "system.pem"))

    answer = create(
        real_api,
        **{**SKYPORTD, "port": proxy.port, "apiKey": behind.key},
        tls={},
    )

    assert (201, "Online") == (answer.status, answer.json["status"])


@pytest.mark.parametrize(
    ("ca", "host"),
    [
        pytest.param(STRANGER.pem, "127.0.0.1", id="another authority"),
        pytest.param(AUTHORITY.pem, "localhost", id="another name"),
    ],
)
def test_a_console_that_is_not_known_gets_no_key(daemon, ca, host):
    """
    The WebSocket asks for the same certificate, and for the same name.
    """
    behind, proxy = daemon
    guard = Dialer("node", trust, certificates.make_context(ca=ca))

    with pytest.raises(ConsoleError):
        read_last(guard, f"wss://{host}:{proxy.port}/exec/i1", behind.key, timeout_s=1)

    assert [] == behind.calls


# Other certificates later

AGAIN = AUTHORITY.issue()
RENEWED = {"ca": AUTHORITY.pem, "cert": AGAIN.cert, "key": AGAIN.key}
REFUSED = {"ca": AUTHORITY.pem, "cert": STRANGERS.cert, "key": STRANGERS.key}


def set_tls(api, node_id, body):
    """Replace what a node is called with."""
    return api.send("PUT", f"/api/nodes/{node_id}/tls", json=body)


def read_tls(store, node_id):
    """Read what a node is called with."""
    return json.loads(Vault(SECRET_KEY).open(store.nodes.get(node_id)["tls"]))


@pytest.mark.docker
def test_certificates_are_replaced(real_api, store, engine):
    """
    The node is called with the new ones from then on, and is probed at once.
    """
    node_id = create(real_api, address="127.0.0.1", port=engine.port).json["id"]

    answer = set_tls(real_api, node_id, RENEWED)

    assert (200, RENEWED, None) == (
        answer.status,
        read_tls(store, node_id),
        store.nodes.get(node_id)["probed_at"],
    )
    assert "-----" not in str(answer.json)


@pytest.mark.docker
def test_certificates_that_the_engine_refuses_replace_nothing(real_api, store, engine):
    """
    A mistake does not cut a node off that works.
    """
    node_id = create(real_api, address="127.0.0.1", port=engine.port).json["id"]

    answer = set_tls(real_api, node_id, REFUSED)

    assert (500, "node_unreachable", TLS) == (
        answer.status,
        answer.json["code"],
        read_tls(store, node_id),
    )


@pytest.mark.docker
def test_a_node_whose_certificates_are_no_good_is_reached_again(real_api, store, settings, engine):
    """
    What has expired, or was wrong from the start, can be put right while instances are there.
    """
    order = {"address": "127.0.0.1", "port": engine.port, "tls": REFUSED}
    node_id = create(real_api, **order).json["id"]

    set_tls(real_api, node_id, TLS)
    probing.probe(store, make_drivers(settings), store.nodes.get(node_id), now=NOON)

    assert "Online" == store.nodes.get(node_id)["status"]


def test_a_daemon_is_called_over_https_from_now_on(real_api, store, daemon):
    """
    A skyportd node that was called in the clear need not be added anew.
    """
    behind, proxy = daemon
    order = {**SKYPORTD, "port": proxy.port, "apiKey": behind.key}
    node_id = create(real_api, **order, tls=None).json["id"]

    answer = set_tls(real_api, node_id, {"ca": AUTHORITY.pem})

    assert (200, True, {"ca": AUTHORITY.pem}) == (
        answer.status,
        answer.json["tls"],
        read_tls(store, node_id),
    )


def test_a_daemon_that_never_enrolled_is_not_asked(real_api, store):
    """
    It has no key yet that it could be asked with.
    """
    node_id = create(real_api, **SKYPORTD, tls=None).json["id"]

    answer = set_tls(real_api, node_id, {})

    assert (200, "Unconfigured", {}) == (
        answer.status,
        answer.json["status"],
        read_tls(store, node_id),
    )


@pytest.mark.parametrize(
    ("over", "body", "fields"),
    [
        ({}, {}, ["ca", "cert", "key"]),
        ({}, {"ca": AUTHORITY.pem}, ["cert", "key"]),
        ({}, {**TLS, "key": OTHERS.key}, ["key"]),
        ({"address": "unix:///no/such.sock", "tls": None}, TLS, ["nodeId"]),
        ({"driver": "process", "address": None, "tls": None}, TLS, ["nodeId"]),
    ],
)
def test_wrong_certificates_later_are_named(api, look, over, body, fields):
    """
    A 400 names the part, or the node that has none, and nothing is changed.
    """
    node_id = create(api, **over).json["id"]
    before = look()

    answer = set_tls(api, node_id, body)

    assert (400, "invalid_input", fields) == told(answer)
    assert before == look()


def test_certificates_of_no_node_are_a_400(api):
    """
    An unknown node is named.
    """
    assert (400, "node_not_found", ["nodeId"]) == told(set_tls(api, "nothing", TLS))


# On the command line


@pytest.fixture
def skyquay(config, store, monkeypatch):
    """Run the command on the test's database."""
    monkeypatch.setenv("SKYQUAY_MONGODB_URI", config.mongodb_uri)
    monkeypatch.setenv("SKYQUAY_DATABASE", config.database)
    monkeypatch.setenv("SKYQUAY_SECRET_KEY", SECRET_KEY)
    monkeypatch.setenv("SKYQUAY_ALLOW_LOOPBACK_NODES", "0")

    def run(*words):
        return CliRunner().invoke(cli.main, ["nodes", "add", "n", *map(str, words)])

    return run


@pytest.fixture
def files(tmp_path):
    """The options that name the files of certificates and key."""
    options = []
    for part, text in TLS.items():
        path = tmp_path / f"{part}.pem"
        path.write_text(text)
        options += [f"--tls-{part}", path]
    return options


@pytest.mark.docker
def test_the_command_adds_an_engine_over_tls(skyquay, store, engine, files):
    """
    The operator names files, and needs no setting for an address of this machine.
    """
    outcome = skyquay("--address", "127.0.0.1", "--port", engine.port, *files)

    [node] = store.nodes.all()
    assert f"{node['_id']}  Online" in outcome.output
    assert (True, True) == (node["trusted_address"], node["tls"] is not None)


@pytest.mark.docker
def test_the_command_replaces_certificates(skyquay, store, engine, files, tmp_path):
    """
    The operator names the files of the new ones; refused ones are a sentence.
    """
    skyquay("--address", "127.0.0.1", "--port", engine.port, *files)
    [node] = store.nodes.all()
    outcomes = []

    for tls in (RENEWED, REFUSED):
        for part, text in tls.items():
            (tmp_path / f"{part}.pem").write_text(text)
        words = ["nodes", "set-tls", node["_id"], *map(str, files)]
        outcomes.append(CliRunner().invoke(cli.main, words))

    assert [0, 1] == [outcome.exit_code for outcome in outcomes]
    assert "It does not answer to them" in outcomes[1].output
    assert RENEWED == read_tls(store, node["_id"])


def test_the_command_asks_for_certificates(skyquay, store):
    """
    An engine elsewhere needs them, whoever adds it.
    """
    outcome = skyquay("--address", "192.0.2.7")

    assert (1, []) == (outcome.exit_code, store.nodes.all())
    assert "SKYQUAY_ALLOW_PLAIN_DOCKER=1" in outcome.output


def test_the_command_asks_for_all_files(skyquay, store, files):
    """
    A file that is missing is named.
    """
    outcome = skyquay("--address", "192.0.2.7", *files[:4])

    assert (1, True, []) == (outcome.exit_code, "tls.key: " in outcome.output, store.nodes.all())


def test_the_command_adds_a_daemon_over_https(skyquay, store):
    """
    `--tls` alone trusts whom the system trusts.
    """
    words = ("--driver", "skyportd", "--tags", "eu", "--ram", "32", "--disk", "1",
             "--processor", "8", "--address", "127.0.0.1", "--port", "3002", "--tls")  # fmt: skip

    outcome = skyquay(*words)

    [node] = store.nodes.all()
    assert (0, True) == (outcome.exit_code, node["tls"] is not None)
